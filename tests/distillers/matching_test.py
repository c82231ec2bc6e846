"""Distances, real batches and gradient matching against slow and obvious loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers import class_batches, matching
from ddjax.models.build import build
from ddjax.types import Synthetic
from tests.distillers.cases import Case, initial_variables, make_distiller
from tests.models.draws import draw

AUGMENTATION = siamese.parse("color_crop_cutout_scale_rotate")
IMAGE = (8, 8, 1)


def _data():
  return jax.tree.map(jnp.asarray, make_distiller(Case("dm", "dm", {}))[1])


def test_row_cosine_is_the_sum_over_output_units():
  a, b = draw((6, 4), seed=0), draw((6, 4), seed=1)
  expected = 0.0
  for unit in range(4):
    x, y = a[:, unit], b[:, unit]
    expected += 1 - x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-6)
  np.testing.assert_allclose(matching.row_cosine_distance(a, b), expected, rtol=1e-5)
  np.testing.assert_allclose(matching.row_cosine_distance(a, 3 * a), 0, atol=1e-5)


def test_a_dead_unit_counts_one_and_has_no_gradient():
  a, b = draw((6, 3), seed=0), draw((6, 3), seed=1)
  a[:, 1] = 0
  value, gradient = jax.value_and_grad(matching.row_cosine_distance)(a, b)
  alive = matching.row_cosine_distance(a[:, ::2], b[:, ::2])
  np.testing.assert_allclose(value, alive + 1, rtol=1e-6)
  assert np.isfinite(gradient).all()


def test_other_distances():
  a, b = draw((6, 4), seed=0), draw((6, 4), seed=1)
  np.testing.assert_allclose(matching.find_distance("squared")(a, b), ((a - b) ** 2).sum(), 1e-5)
  np.testing.assert_allclose(matching.find_distance("absolute")(a, b), abs(a - b).sum(), 1e-5)
  with pytest.raises(ValueError, match="'cosin'.*'cosine'"):
    matching.find_distance("cosin")


def test_kernels_alone_are_matched_with_a_column_for_each_output_unit():
  network = build("convnet(depth=1)", num_classes=3, width=2)
  params = initial_variables(network, jax.random.key(0), (4, 4, 1))["params"]
  shapes = sorted(leaf.shape for leaf in matching.matched_kernels(params))
  assert shapes == [(8, 3), (9, 2)]  # 2 x 2 x 2 features to 3 classes; 3 x 3 x 1 pixels to 2
  (kernel,) = matching.matched_kernels(params, only_convolutions=True)
  np.testing.assert_array_equal(kernel, params["conv_0"]["kernel"].reshape(9, 2))


@pytest.mark.parametrize("size", [5, 16, 40])
def test_a_class_batch_holds_its_class_without_repetition(size):
  data = _data()
  data = data.replace(mask=jnp.arange(64) % 8 < 5)
  batch = class_batches.draw_class_batches(jax.random.key(0), data, size)
  index, weights = np.asarray(batch.index), np.asarray(batch.weights)
  assert index.shape == (4, min(size, 16))
  for label in range(4):
    assert (np.asarray(data.labels)[index[label]] == label).all()
    assert len(set(index[label].tolist())) == index.shape[1]
  np.testing.assert_array_equal(weights, np.asarray(data.mask)[index])
  other = class_batches.draw_class_batches(jax.random.key(1), data, size)
  assert (np.asarray(other.index) != index).any()


def test_a_smaller_class_gives_all_it_has_once():
  data = _data()
  data = data.replace(class_counts=jnp.array([16, 3, 16, 16]))
  batch = class_batches.draw_class_batches(jax.random.key(0), data, 10)
  assert batch.weights[1].sum() == 3
  counted = np.asarray(batch.index)[1][np.asarray(batch.weights)[1] > 0]
  assert set(counted.tolist()) == set(np.asarray(data.class_index)[1, :3].tolist())


def test_each_class_has_its_own_draw_for_all_of_its_images():
  images = jnp.asarray(draw((3, 5, *IMAGE), seed=0))
  draws = class_batches.draw_siamese(jax.random.key(4), AUGMENTATION, 3, IMAGE)
  together = class_batches.augment_classes(images, draws, AUGMENTATION)
  for label in range(3):
    own = jax.tree.map(lambda leaf, label=label: leaf[label], draws)
    alone = siamese.apply(images[label], own, AUGMENTATION)
    np.testing.assert_allclose(together[label], alone, rtol=1e-5, atol=1e-6)
  assert len(set(np.asarray(draws.drawn).tolist())) > 1


@jax.jit
def _draws(data):
  batch = class_batches.draw_class_batches(jax.random.key(2), data, 7)
  return batch, class_batches.draw_siamese(jax.random.key(3), AUGMENTATION, 4, IMAGE)


def _problem(name="convnet(depth=1)", num_synthetic=2):
  data = _data()
  network = build(name, num_classes=4, width=3)
  variables = initial_variables(network, jax.random.key(1), IMAGE)
  data = data.replace(mask=jnp.arange(64) % 8 < 6)
  batch, draws = _draws(data)
  images = jnp.asarray(draw((4, num_synthetic, *IMAGE), seed=5))
  labels = jax.nn.softmax(jnp.asarray(draw((4, num_synthetic, 4), seed=6)))
  return data, network, variables, batch, draws, images, labels


def _matcher(network, **changes):
  fields = dict(
    network=network,
    augmentation=AUGMENTATION,
    distance=matching.row_cosine_distance,
    only_convolutions=False,
    view=lambda images, labels: (images, labels),
    classes_at_once=4,
    images_at_once=None,
    axis_name=None,
  )
  return matching.Matcher(**fields | changes)


def _slow(data, network, variables, batch, draws, images, labels):
  """Class by class and example by example, every gradient by itself."""
  params = variables["params"]
  total = 0.0
  for label in range(4):
    own = jax.tree.map(lambda leaf, label=label: leaf[label], draws)

    def loss(params, image, target, own=own):
      logits = network.apply({"params": params}, siamese.apply(image[None], own, AUGMENTATION))
      return optax.softmax_cross_entropy(logits[0], target)

    rows = [int(i) for i, w in zip(batch.index[label], batch.weights[label]) if w > 0]
    gradient = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
    hard = jnp.tile(jnp.eye(4)[label], (len(rows), 1))
    real = gradient(params, standardise(data.images[np.array(rows)], data), hard)
    made = gradient(params, images[label], labels[label])
    for layer in ("conv_0", "readout"):
      pair = (one[layer]["kernel"].mean(axis=0) for one in (made, real))
      total += matching.row_cosine_distance(*(x.reshape(-1, x.shape[-1]) for x in pair))
  return total


@functools.cache
def _slow_gradients():
  data, network, variables, batch, draws, images, labels = _problem()

  batch = jax.tree.map(np.asarray, batch)

  def slow(images, labels):
    return _slow(data, network, variables, batch, draws, images, labels)

  return jax.jit(jax.value_and_grad(slow, (0, 1)))(images, labels)


@pytest.mark.parametrize("classes_at_once,images_at_once", [(1, 3), (2, None), (4, 5)])
def test_gradient_matching_is_that_of_a_slow_loop(classes_at_once, images_at_once):
  data, network, variables, *rest = _problem()
  matcher = _matcher(network, classes_at_once=classes_at_once, images_at_once=images_at_once)
  distances, gradients = jax.jit(
    lambda batch, draws, *of_set: matching.match_gradients(
      matcher, variables, data, batch, draws, Synthetic(*of_set)
    )
  )(*rest)
  expected, expected_gradients = _slow_gradients()
  np.testing.assert_allclose(distances.sum(), expected, rtol=1e-4)
  for ours, theirs in zip(gradients, expected_gradients, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * np.abs(theirs).max())


def test_gradient_matching_against_finite_differences():
  data, network, variables, batch, draws, images, labels = _problem(num_synthetic=1)
  matcher = _matcher(network, distance=matching.squared_distance, only_convolutions=True)

  @jax.jit
  def match(images):
    learned = Synthetic(images, labels)
    return matching.match_gradients(matcher, variables, data, batch, draws, learned)

  _, (gradient, _) = match(images)
  direction = jnp.asarray(draw(images.shape, seed=9))
  step = 1e-2 / jnp.linalg.norm(direction)
  above, below = (match(images + sign * step * direction)[0].sum() for sign in (1, -1))
  slope = (above - below) / (2 * step)
  np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=2e-2)


def test_statistics_for_batch_norm_are_those_of_real_members():
  data = _data()
  data = data.replace(mask=jnp.arange(64) % 8 < 6)
  network = build("convnet(depth=1,norm=batch)", num_classes=4, width=3)
  variables = initial_variables(network, jax.random.key(0), IMAGE)
  frozen = matching.freeze_statistics(jax.random.key(1), network, variables, data)
  members = standardise(data.images, data)[np.asarray(data.mask)]  # 16 a class: all of them
  kernel = variables["params"]["conv_0"]
  _, seen = network.apply(
    variables, members, is_training=True, mutable=["batch_stats", "intermediates"],
    capture_intermediates=True,
  )  # fmt: skip
  (values,) = seen["intermediates"]["conv_0"]["__call__"]
  assert kernel["kernel"].shape == (3, 3, 1, 3)
  statistics = frozen["batch_stats"]["norm_0"]
  np.testing.assert_allclose(statistics["mean"], values.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(statistics["var"], values.var((0, 1, 2), ddof=1), rtol=1e-3)
  no_member = data.replace(mask=jnp.zeros(64, bool))
  kept = matching.freeze_statistics(jax.random.key(1), network, variables, no_member)
  jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])
  plain = build("convnet(depth=1)", num_classes=4, width=3)
  variables = initial_variables(plain, jax.random.key(0), IMAGE)
  assert matching.freeze_statistics(jax.random.key(1), plain, variables, data) is variables
