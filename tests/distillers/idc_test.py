"""IDC: grids, pixels, and the training of its network, against plain ones."""

import functools

import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.augment import siamese
from ddjax.augment.mix import draw_cutmix
from ddjax.data.batches import standardise
from ddjax.distillers import class_batches, synthetic
from ddjax.fitting import train
from ddjax.models.build import build
from tests.distillers.cases import Case, initial_state, initial_variables, make_distiller

_FAST = {"augmentation": "none", "mix.probability": 0.0}  # to compile


def _idc(**changes):
  return make_distiller(
    Case("idc", "idc", {"network.name": "convnet(depth=1)", "synthetic.factor": 2} | changes)
  )


def test_images_begin_as_grids_of_every_second_pixel_of_real_ones():
  distiller, data, info = _idc()
  make = jax.jit(lambda rng, data: synthetic.init_grids(rng, data, info, 2, 2))
  grids = np.asarray(make(jax.random.key(0), data))
  real = np.asarray(standardise(data.images, data))
  assert grids.shape == (8, 8, 8, 1)
  for number, grid in enumerate(grids):
    found = set()
    for row in (0, 4):
      for column in (0, 4):
        cell = grid[row : row + 4, column : column + 4]
        same = np.isclose(real[:, ::2, ::2], cell, atol=1e-5).all((1, 2, 3))
        assert (np.asarray(data.labels)[same] == number // 2).all()
        found |= set(np.flatnonzero(same))
    assert len(found) == 4


def test_a_published_image_is_the_clamped_pixels_as_the_networks_see_them():
  distiller, data, info = _idc()
  state = initial_state(distiller, data)
  wild = state.synthetic.replace(images=state.synthetic.images * 3 - 1)
  published = np.asarray(distiller.extract(state.replace(synthetic=wild)).images)
  pixels = np.clip(np.asarray(wild.images), 0, 1)
  expected = (pixels * 255 - np.asarray(data.mean)) / np.asarray(data.std)
  np.testing.assert_allclose(published, expected, rtol=1e-4, atol=1e-5)
  assert distiller.decode_factor == 2


def test_pixels_are_clamped_before_every_fresh_network():
  distiller, data, _ = _idc(**{"outer.inner_loop": 2, "outer.learning_rate": 1e-9})
  state = initial_state(distiller, data)
  step = jax.jit(distiller.step)
  for number, is_clamped in enumerate((True, False, True)):
    wild = state.synthetic.replace(images=state.synthetic.images + 2)
    state, _ = step(state.replace(synthetic=wild), data, jnp.int32(0))
    assert (float(state.synthetic.images.max()) <= 1.001) == is_clamped, number


def test_the_network_is_trained_on_real_examples_and_its_momentum_lives_on():
  changes = {
    "outer.inner_loop": 3,
    "outer.network_examples": 64,
    "outer.network_batch_size": 64,  # one batch of all, so that its order does not matter
    "augmentation": "none",
    "mix.probability": 0.0,
  }
  distiller, data, info = _idc(**changes)
  data = data.replace(mask=np.arange(64) % 8 < 6)
  network = build("convnet(depth=1)", num_classes=4, width=4)
  images = standardise(data.images, data)[np.asarray(data.mask)]
  labels = jax.nn.one_hot(np.asarray(data.labels)[np.asarray(data.mask)], 4)

  @jax.jit
  @jax.grad
  def network_gradient(params):
    logits = network.apply({"params": params}, images)
    return optax.softmax_cross_entropy(logits, labels).mean()

  state = initial_state(distiller, data)
  step = jax.jit(distiller.step)
  for position in range(4):
    rng = jax.random.split(jax.random.fold_in(state.rng, state.step), 5)[0]
    if position % 3 == 0:
      params = initial_variables(network, rng, info.image_shape)["params"]
      velocity = jax.tree.map(jnp.zeros_like, params)
    else:
      gradient = jax.tree.map(lambda g, p: g + 5e-4 * p, network_gradient(params), params)
      velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
      params = jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity)
    state, _ = step(state, data, jnp.int32(0))
    ours = jax.tree.map(lambda leaf: leaf[0], state.extra.variables["params"])
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(params), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_the_network_sees_real_examples_augmented_and_mixed(mix):
  """Two minibatches, each image with draws of its own, a box of its partner's pasted by hand."""
  changes = {
    "outer.network_examples": 64,
    "outer.network_batch_size": 32,
    "augmentation": "color_crop_cutout",  # of which networks are trained without cutout
    "mix.probability": mix,
  }
  distiller, data, info = _idc(**changes)
  step = jax.jit(distiller.step)
  before, _ = step(initial_state(distiller, data), data, jnp.int32(0))
  after, _ = step(before, data, jnp.int32(0))

  network = build("convnet(depth=1)", num_classes=4, width=4)
  augmentation = siamese.parse("color_crop", "idc")
  params = jax.tree.map(lambda leaf: leaf[0], before.extra.variables["params"])
  velocity = jax.tree.map(jnp.zeros_like, params)
  rng = jax.random.split(jax.random.fold_in(before.rng, before.step), 5)[1]
  own = jax.random.fold_in(jax.random.fold_in(rng, 0), 0)
  epoch_rng = jax.random.fold_in(jax.random.split(own)[1], 0)
  order = np.asarray(jax.random.permutation(epoch_rng, info.num_train))
  drawing = jax.random.fold_in(own, train._AUGMENT_STREAM)
  shares = []

  @jax.jit
  def gradient(params, images, labels):
    def loss(params):
      return optax.softmax_cross_entropy(network.apply({"params": params}, images), labels).mean()

    return jax.grad(loss)(params)

  @jax.jit
  def augmented(rng, images):
    return siamese.augment(rng, images, augmentation, per_example=True)

  for number in range(2):
    rows = order[32 * number : 32 * number + 32]
    augment_rng, mix_rng = jax.random.split(jax.random.fold_in(drawing, number))
    images = standardise(data.images[rows], data)
    images = np.array(augmented(augment_rng, images))
    labels = np.eye(4, dtype=np.float32)[data.labels[rows]]
    if mix:
      everyone = jnp.ones(32, bool)
      draws = draw_cutmix(mix_rng, 32, height=8, width=8, probability=1.0, mask=everyone)
      (top, left), (bottom, right) = np.asarray(draws.start), np.asarray(draws.stop)
      whole = images.copy()
      for row, partner in enumerate(np.asarray(draws.partner)):
        images[row, top:bottom, left:right] = whole[partner, top:bottom, left:right]
      shares.append(1 - (bottom - top) * (right - left) / 64)
      labels = shares[-1] * labels + (1 - shares[-1]) * labels[np.asarray(draws.partner)]
    slope = jax.tree.map(lambda g, p: g + 5e-4 * p, gradient(params, images, labels), params)
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, slope)
    params = jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity)
  assert not mix or max(shares) < 1, shares  # else nothing was pasted
  trees = before.extra.variables["params"], after.extra.variables["params"], params
  start, own, other = (ravel_pytree(tree)[0] for tree in trees)
  assert np.linalg.norm(own - other) < 1e-3 * np.linalg.norm(other - start)


def test_the_loss_is_that_of_a_slow_loop():
  """Decode, normalise, augment, and compare the gradients of the convolution, class by class."""
  distiller, data, info = _idc(**{"augmentation": "color_crop_cutout"})
  state = initial_state(distiller, data)
  _, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  keys = jax.random.split(jax.random.fold_in(state.rng, state.step), 5)
  network = build("convnet(depth=1)", num_classes=4, width=4)
  params = initial_variables(network, keys[0], info.image_shape)["params"]
  augmentation = siamese.parse("color_crop_cutout", "idc")

  @jax.jit
  def drawn(data, batch_rng, augment_rng):
    batch = class_batches.draw_class_batches(batch_rng, data, 16)
    return batch, class_batches.draw_siamese(augment_rng, augmentation, 4, info.image_shape)

  batch, draws = drawn(data, keys[2], keys[3])

  @jax.jit
  def gradient(images, label, own):
    def loss(params):
      seen = siamese.apply(images, own, augmentation)
      target = jnp.broadcast_to(jax.nn.one_hot(label, 4), (len(images), 4))
      return optax.softmax_cross_entropy(network.apply({"params": params}, seen), target).mean()

    return jax.grad(loss)(params)["conv_0"]["kernel"]

  total = 0.0
  for label in range(4):
    own = jax.tree.map(lambda leaf, label=label: leaf[label], draws)
    grids = np.asarray(state.synthetic.images)[2 * label : 2 * label + 2]
    cells = [grids[:, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
    cells = np.asarray(jax.image.resize(np.concatenate(cells), (8, 8, 8, 1), "bilinear"))
    seen = (cells * 255 - np.asarray(data.mean)) / np.asarray(data.std)
    real = standardise(data.images[batch.index[label]], data)
    missed = gradient(seen, label, own) - gradient(real, label, own)
    total += float(jnp.sum(missed**2))
  np.testing.assert_allclose(metrics["loss"], total, rtol=1e-3)


def test_a_step_sees_as_many_decoded_images_as_it_may():
  """With one of a class's eight, one cell of one of its two grids moves; which one changes."""
  changes = {"outer.synthetic_batch_size": 1, "outer.momentum": 0.0}
  distiller, data, _ = _idc(**_FAST, **changes)
  assert any("1 of the 8 of a class" in remark for remark in distiller.remarks)
  state = initial_state(distiller, data)
  clamped = jnp.clip(state.synthetic.images, 0.0, 1.0)  # as the first step does
  state = state.replace(synthetic=state.synthetic.replace(images=clamped))
  step, seen = jax.jit(distiller.step), set()
  for _ in range(4):
    before = state.synthetic.images
    state, _ = step(state, data, jnp.int32(0))
    moved = np.asarray(state.synthetic.images - before).reshape(4, 2, 2, 4, 2, 4, -1)
    cells = np.abs(moved).sum(axis=(3, 5, 6)) > 0  # of each class: grid, row, column
    assert (cells.sum(axis=(1, 2, 3)) == 1).all()
    seen.add(tuple(np.argwhere(cells[0])[0]))
  assert len(seen) > 1


def test_the_learning_rate_grows_with_the_area_of_the_images():
  def moved(base_side):
    distiller, data, _ = _idc(**_FAST, **{"outer.base_side": base_side})
    state = initial_state(distiller, data)
    after, _ = jax.jit(distiller.step)(state, data, jnp.int32(0))
    return np.asarray(after.synthetic.images - jnp.clip(state.synthetic.images, 0.0, 1.0))

  np.testing.assert_allclose(moved(4), 4 * moved(8), rtol=1e-3, atol=1e-6)


def test_batch_norm_takes_statistics_of_real_images():
  name = "convnet(depth=1,norm=batch)"
  distiller, data, _ = _idc(**_FAST, **{"network.name": name})
  state = initial_state(distiller, data)
  _, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  keys = jax.random.split(jax.random.fold_in(state.rng, state.step), 6)
  network = build(name, num_classes=4, width=4)
  variables = initial_variables(network, keys[0], data.images.shape[1:])
  real = standardise(data.images, data)  # 16 of each class are all of the 64
  apply = jax.jit(functools.partial(network.apply, is_training=True, mutable=["batch_stats"]))
  _, statistics = apply(variables, real)
  by_hand = jax.tree.map(
    lambda old, new: old + 10 * (new - old), variables["batch_stats"], statistics["batch_stats"]
  )

  @jax.jit
  def gradient(images, label):
    def loss(params):
      logits = network.apply({"params": params, "batch_stats": by_hand}, images)
      target = jax.nn.one_hot(jnp.full(len(images), label), 4)
      return optax.softmax_cross_entropy(logits, target).mean()

    return jax.grad(loss)(variables["params"])["conv_0"]["kernel"]

  total = 0.0
  for label in range(4):
    grids = np.asarray(jnp.clip(state.synthetic.images, 0.0, 1.0))[2 * label : 2 * label + 2]
    cells = [grids[:, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
    cells = np.asarray(jax.image.resize(np.concatenate(cells), (8, *grids.shape[1:]), "bilinear"))
    seen = (cells * 255 - np.asarray(data.mean)) / np.asarray(data.std)
    total += float(
      jnp.sum((gradient(seen, label) - gradient(real[data.labels == label], label)) ** 2)
    )
  np.testing.assert_allclose(metrics["loss"], total, rtol=1e-3)


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"network.name": "mlp"}, "network.name='mlp' has no convolution"),
    ({"outer.synthetic_batch_size": 0}, "outer.synthetic_batch_size=0"),
    ({"outer.base_side": -8}, "outer.base_side=-8"),
    ({"data.preprocessing": "zca_kornia"}, "'zca_kornia'"),
    ({"synthetic.factor": 3}, "factor 3"),
    ({"outer.inner_loop": 0}, "outer.inner_loop=0"),
    ({"outer.network_examples": 0}, "outer.network_examples=0"),
    ({"outer.network_batch_size": -1}, "outer.network_batch_size=-1"),
    ({"mix.probability": 1.5}, "mix.probability=1.5"),
    ({"mix.beta": 0.0}, "mix.beta=0.0"),
  ],
)
def test_impossible_settings_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    _idc(**changes)
