"""FairDD against slow loops over groups, finite differences, and groups that nobody can match."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.api import get_config
from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data
from ddjax.distillers import class_batches, matching
from ddjax.distillers.fairdd import check_groups, make_fairdd
from ddjax.models.build import build
from ddjax.types import Synthetic
from tests.distillers.cases import Case, initial_state, initial_variables, make_distiller
from tests.models.draws import draw

_CASE = Case(
  "fairdd",
  "fairdd",
  {"network.name": "convnet(depth=1)", "synthetic.init": "noise", "outer.real_batch_size": 12},
)
_AUGMENTATION = siamese.parse("color_crop_cutout_scale_rotate")
_SHAPE = (8, 8, 3)


def _rows_by_group(data, batch, label):
  """The drawn members of a class, group by group; groups without any are left out."""
  index, is_used = np.asarray(batch.index[label]), np.asarray(batch.weights[label]).sum(-1) > 0
  groups = np.asarray(data.groups)[index]
  found = [index[is_used & (groups == group)] for group in range(4)]
  return [rows for rows in found if len(rows)]


def test_the_loss_of_dm_is_that_of_a_slow_loop_over_groups():
  distiller, data, info = make_distiller(_CASE)
  data = data.replace(mask=np.arange(64) % 8 < 5)
  state = initial_state(distiller, data)
  _, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  rngs = jax.random.split(jax.random.fold_in(state.rng, state.step), 3)
  network_rng, batch_rng, augment_rng = rngs
  network = build("convnet(depth=1)", num_classes=4, width=4)
  init_rng, _ = jax.random.split(network_rng)
  variables = initial_variables(network, init_rng, info.image_shape)

  @jax.jit
  def drawn(data, batch_rng, augment_rng):
    batch = class_batches.draw_class_batches(batch_rng, data, 12, num_groups=4)
    return batch, class_batches.draw_siamese(augment_rng, _AUGMENTATION, 4, info.image_shape)

  batch, draws = drawn(data, batch_rng, augment_rng)

  @jax.jit
  def feature(image, own):
    image = siamese.apply(image[None], own, _AUGMENTATION)
    return network.apply(variables, image, return_features=True)[1][0]

  loss, num_terms = 0.0, 0
  for label in range(4):
    own = jax.tree.map(lambda leaf, label=label: leaf[label], draws)
    made = [feature(image, own) for image in state.synthetic.images[2 * label : 2 * label + 2]]
    for rows in _rows_by_group(data, batch, label):
      real = [feature(standardise(data.images[row], data), own) for row in rows]
      loss += np.sum((np.mean(real, axis=0) - np.mean(made, axis=0)) ** 2)
      num_terms += 1
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
  assert 8 < num_terms < 16  # some group is missing, and most are not


def _problem():
  data = jax.tree.map(jnp.asarray, make_distiller(_CASE)[1])
  data = data.replace(mask=jnp.arange(64) % 8 < 6)
  network = build("convnet(depth=1)", num_classes=4, width=3)
  variables = initial_variables(network, jax.random.key(1), _SHAPE)

  @jax.jit
  def drawn(data):
    batch = class_batches.draw_class_batches(jax.random.key(2), data, 9, num_groups=4)
    return batch, class_batches.draw_siamese(jax.random.key(3), _AUGMENTATION, 4, _SHAPE)

  batch, draws = drawn(data)
  images = jnp.asarray(draw((4, 2, *_SHAPE), seed=5))
  labels = jax.nn.softmax(jnp.asarray(draw((4, 2, 4), seed=6)))
  return data, network, variables, batch, draws, images, labels


def _matcher(network, **changes):
  fields = dict(network=network, augmentation=_AUGMENTATION, classes_at_once=4, images_at_once=None)
  return matching.Matcher(**fields | dict(axis_name=None) | changes)


def _slow_gradients(data, network, variables, batch, draws, images, labels):
  """Group by group and example by example, every gradient by itself."""
  total = 0.0
  for label in range(4):
    own = jax.tree.map(lambda leaf, label=label: leaf[label], draws)

    def loss(params, image, target, own=own):
      logits = network.apply({"params": params}, siamese.apply(image[None], own, _AUGMENTATION))
      return optax.softmax_cross_entropy(logits[0], target)

    gradient = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
    made = gradient(variables["params"], images[label], labels[label])
    for rows in _rows_by_group(data, batch, label):
      hard = jnp.tile(jnp.eye(4)[label], (len(rows), 1))
      real = gradient(variables["params"], standardise(data.images[rows], data), hard)
      for layer in ("conv_0", "readout"):
        pair = (one[layer]["kernel"].mean(axis=0) for one in (made, real))
        total += matching.row_cosine_distance(*(x.reshape(-1, x.shape[-1]) for x in pair))
  return total


@pytest.mark.parametrize("classes_at_once,images_at_once", [(1, None), (4, 7)])
def test_gradients_of_groups_are_those_of_a_slow_loop(classes_at_once, images_at_once):
  data, network, variables, batch, *rest = _problem()
  matcher = _matcher(network, classes_at_once=classes_at_once, images_at_once=images_at_once)
  distances, gradients = jax.jit(
    lambda batch, draws, *of_set: matching.match_gradients(
      matcher, variables, data, batch, draws, Synthetic(*of_set)
    )
  )(batch, *rest)
  held = jax.tree.map(np.asarray, batch)
  draws, images, labels = rest

  def slow(images, labels):
    return _slow_gradients(data, network, variables, held, draws, images, labels)

  expected, expected_gradients = jax.jit(jax.value_and_grad(slow, (0, 1)))(images, labels)
  np.testing.assert_allclose(distances.sum(), expected, rtol=1e-4)
  for ours, theirs in zip(gradients, expected_gradients, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("of_gradients", [False, True])
def test_against_finite_differences(of_gradients):
  data, network, variables, batch, draws, images, labels = _problem()
  matcher = _matcher(network, distance=matching.squared_distance)

  @jax.jit
  def match(images):
    if not of_gradients:
      return matching.match_means(matcher, variables, data, batch, draws, images)
    learned = Synthetic(images, labels)
    found = matching.match_gradients(matcher, variables, data, batch, draws, learned)
    return found[0], found[1][0]

  gradient = match(images)[1]
  # Half of it uphill: along a random direction alone the slope is lost in float32.
  direction = jnp.asarray(draw(images.shape, seed=9))
  direction = gradient / jnp.linalg.norm(gradient) + direction / jnp.linalg.norm(direction)
  step = 1e-2 / jnp.linalg.norm(direction)
  above, below = (match(images + sign * step * direction)[0].sum() for sign in (1, -1))
  np.testing.assert_allclose(jnp.sum(gradient * direction), (above - below) / (2 * step), rtol=2e-2)


def test_groups_weigh_alike_however_large_they_are():
  """Three images of one group and one of another, whose means are matched at the middle."""
  data, network, variables, batch, draws, images, _ = _problem()
  weights = jnp.zeros((4, 9, 4)).at[:, :3, 0].set(1.0).at[:, 3, 1].set(1.0)
  batch = batch.replace(weights=weights)
  matcher = _matcher(network, augmentation=siamese.parse("none"))

  def slope(images):
    return jax.jit(lambda *a: matching.match_means(matcher, variables, data, *a))(
      batch, draws, images
    )[1]

  def mean_feature(rows):
    seen = standardise(data.images[rows], data)
    return network.apply(variables, seen, return_features=True)[1].mean(axis=0)

  @jax.jit
  @jax.grad
  def expected(image):
    feature = network.apply(variables, image, return_features=True)[1].mean(axis=0)
    index = batch.index[0]
    return sum(jnp.sum((feature - mean_feature(rows)) ** 2) for rows in (index[:3], index[3:4]))

  np.testing.assert_allclose(slope(images)[0], expected(images[0]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("base", ["dm", "dc", "dsa", "idc"])
def test_every_base_takes_a_step(base):
  config = get_config(f"configs/fairdd.py:fake,ipc=1,base={base},smoke")
  config.network.name, config.augmentation = "convnet(depth=1)", "crop"
  real = load_real_data(config.data)
  distiller = make_fairdd(config, real.info)
  assert f"4 groups are matched by {base}, each with weight one." in distiller.remarks


def test_rates_are_divided_by_the_number_of_groups_unless_that_is_off():
  moves = []
  for divides in (True, False):
    case = Case("", "fairdd", {"network.name": "mlp", "fair.divides_rate": divides})
    distiller, data, _ = make_distiller(case)
    state = initial_state(distiller, data)
    moves.append(jax.jit(distiller.step)(state, data, jnp.int32(0))[1]["image_change"])
  np.testing.assert_allclose(moves[1], 4 * moves[0], rtol=1e-4)


_INFO = make_distiller(_CASE)[2]


def test_a_data_set_without_groups_is_refused():
  with pytest.raises(ValueError, match="'fairdd' needs groups, and fake has none: set data.col"):
    check_groups(_INFO._replace(group_counts=()), False)


def test_a_class_without_an_example_of_a_group_is_refused_or_said():
  info = _INFO._replace(group_counts=((3, 2), (1, 0), (0, 4), (2, 2)))
  with pytest.raises(ValueError, match=r"Class 1 has no train example of group 1 \(2 such pairs"):
    check_groups(info, False)
  assert check_groups(info, True) == (2, [(1, 1), (2, 0)])


def test_one_group_a_class_is_nothing_to_balance():
  info = _INFO._replace(group_counts=((3, 0), (0, 2), (1, 0), (0, 1)))
  with pytest.raises(ValueError, match=r"\[3, 0\] by group\): there is nothing"):
    check_groups(info, True)


def test_an_unknown_base_is_refused_with_the_nearest_known_one():
  with pytest.raises(ValueError, match="Unknown base method 'dmm'. Did you mean 'dm'"):
    get_config("configs/fairdd.py:digits,base=dmm")


def test_what_may_stand_behind_the_colon():
  config = get_config("configs/fairdd.py:mnist,ipc=10,width=16")
  assert config.data.colour_bias == 0.9 and config.data.preprocessing == "standardise"
  assert (config.method, config.fair.base, config.network.width) == ("fairdd", "dm", 16)
  assert config.variant == "dm-bias0.9-width16"
  grey = get_config("configs/fairdd.py:npz,base=idc")
  assert grey.data.colour_bias is None and grey.matching.only_convolutions
