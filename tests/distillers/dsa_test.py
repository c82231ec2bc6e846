"""The loops of DC and DSA against plain ones."""

import re

import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.augment import siamese
from ddjax.config.loops import loops_of
from ddjax.distillers import class_batches, matching
from ddjax.fitting import train
from ddjax.models.build import build
from tests.distillers.cases import Case, initial_state, initial_variables, make_distiller


def test_loops_are_the_published_ones_and_lines_between():
  published = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
  assert {ipc: loops_of(ipc) for ipc in published} == published
  assert loops_of(15) == (15, 38) and loops_of(45) == (45, 12)
  assert loops_of(5) == (5, 23)
  assert loops_of(200) == (50, 10)


@pytest.mark.parametrize(
  "changes,words",
  [
    (
      {"outer.outer_loop": 0, "outer.inner_loop": 0, "synthetic.ipc": 1},
      "a fresh network for every update .*as published, ipc 1",
    ),
    ({"outer.outer_loop": 0, "outer.inner_loop": 0}, "interpolated, ipc 2"),
    ({"outer.outer_loop": 7, "outer.inner_loop": 3}, "7 updates .* 3 epochs .*from the config"),
  ],
)
def test_the_log_says_where_the_loops_come_from(changes, words):
  distiller, _, _ = make_distiller(Case("dsa", "dsa", changes))
  assert any(re.search(words, remark) for remark in distiller.remarks)


def _dc(**changes):
  fields = {"outer.outer_loop": 3, "outer.inner_loop": 2, "network.name": "convnet(depth=1)"}
  return make_distiller(Case("dc", "dc", fields | changes))


def test_an_outer_iteration_is_that_of_a_plain_loop():
  """Match, update the images, train on them for two epochs of one batch, match again."""
  distiller, data, info = _dc()
  step = jax.jit(distiller.step)
  state = initial_state(distiller, data)
  network = build("convnet(depth=1)", num_classes=4, width=4)
  labels = jnp.repeat(jnp.eye(4), 2, axis=0)

  @jax.jit
  @jax.grad
  def network_gradient(params, images):
    logits = network.apply({"params": params}, images)
    return optax.softmax_cross_entropy(logits, labels).mean()

  params = None
  for position in range(4):
    keys = jax.random.split(jax.random.fold_in(state.rng, state.step), 5)
    images = state.synthetic.images
    if position % 3 == 0:
      params = initial_variables(network, keys[0], info.image_shape)["params"]
    else:
      for _ in range(2):
        gradient = network_gradient(params, images)
        params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
    batch = class_batches.draw_class_batches(keys[2], data, 16)
    expected = _distance(network, params, data, batch, images)
    state, metrics = step(state, data, jnp.int32(0))
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)
    for ours, theirs in zip(jax.tree.leaves(state.extra["params"]), jax.tree.leaves(params)):
      np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_network_of_dsa_is_trained_on_augmented_images():
  """Two epochs of two minibatches, every image with draws of its own."""
  changes = {
    "outer.outer_loop": 3,
    "outer.inner_loop": 2,
    "outer.network_batch_size": 6,  # of 8 images, so that the second minibatch is a smaller one
    "network.name": "convnet(depth=1)",
    "augmentation": "color_crop_cutout_flip_scale_rotate",
  }
  distiller, data, _ = make_distiller(Case("dsa", "dsa", changes))
  step = jax.jit(distiller.step)
  before, _ = step(initial_state(distiller, data), data, jnp.int32(0))
  after, _ = step(before, data, jnp.int32(0))

  network = build("convnet(depth=1)", num_classes=4, width=4)
  augmentation = siamese.parse(changes["augmentation"])
  params = before.extra["params"]
  labels = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
  rng = jax.random.split(jax.random.fold_in(before.rng, before.step), 5)[1]
  own = jax.random.fold_in(jax.random.fold_in(rng, 0), 0)
  order_rng = jax.random.split(own)[1]
  drawing = jax.random.fold_in(own, train._AUGMENT_STREAM)

  @jax.jit
  @jax.grad
  def network_gradient(params, images, labels):
    logits = network.apply({"params": params}, images)
    return optax.softmax_cross_entropy(logits, labels).mean()

  @jax.jit
  def augmented(rng, images):
    return siamese.augment(rng, images, augmentation, per_example=True)

  for number in range(4):
    epoch, is_second = divmod(number, 2)
    order = jax.random.permutation(jax.random.fold_in(order_rng, epoch), 8)
    rows = np.asarray(order[6:] if is_second else order[:6])
    # Draws are made for a whole batch; what the second one lacks is filled with the first row.
    filled = np.concatenate([rows, np.zeros(6 - len(rows), int)])
    augment_rng, _ = jax.random.split(jax.random.fold_in(drawing, number))
    images = before.synthetic.images[filled]
    images = augmented(augment_rng, images)[: len(rows)]
    gradient = network_gradient(params, images, labels[rows])
    params = jax.tree.map(lambda p, g: p - 0.01 * g, params, gradient)
  trees = before.extra["params"], after.extra["params"], params
  start, own, other = (ravel_pytree(tree)[0] for tree in trees)
  assert np.linalg.norm(own - other) < 1e-3 * np.linalg.norm(other - start)


def _distance(network, params, data, batch, images):
  """Without augmentation: the sum over classes of the distance of kernel gradients."""
  mean, std = np.asarray(data.mean), np.asarray(data.std)

  @jax.jit
  def gradient(images, label):
    def loss(params):
      target = jnp.broadcast_to(jax.nn.one_hot(label, 4), (len(images), 4))
      return optax.softmax_cross_entropy(network.apply({"params": params}, images), target).mean()

    return jax.grad(loss)(params)

  total = 0.0
  for label in range(4):
    real = (np.asarray(data.images)[np.asarray(batch.index[label])] - mean) / std
    target = gradient(jnp.asarray(real, jnp.float32), label)
    own = gradient(images[2 * label : 2 * label + 2], label)
    for layer in ("conv_0", "readout"):
      pair = (one[layer]["kernel"] for one in (own, target))
      total += matching.row_cosine_distance(*(x.reshape(-1, x.shape[-1]) for x in pair))
  return total


def test_the_images_move_by_sgd_with_momentum():
  distiller, data, _ = _dc()
  state = initial_state(distiller, data)
  step = jax.jit(distiller.step)
  changes = []
  for _ in range(2):
    after, metrics = step(state, data, jnp.int32(0))
    changes.append((after.synthetic.images - state.synthetic.images, metrics["gradient_norm"]))
    state = after
  np.testing.assert_allclose(np.linalg.norm(changes[0][0]), 0.1 * changes[0][1], rtol=1e-4)
  second = changes[1][0] - 0.5 * changes[0][0]  # what is left is the new gradient's
  np.testing.assert_allclose(np.linalg.norm(second), 0.1 * changes[1][1], rtol=1e-3)


def test_learned_labels_are_probabilities_that_move():
  changes = {"synthetic.learn_labels": True, "outer.label_learning_rate": 1.0}
  distiller, data, _ = _dc(**changes)
  assert distiller.label_kind == "probabilities"
  state = initial_state(distiller, data)
  start = np.asarray(distiller.extract(state).labels)
  expected = 0.9 * np.repeat(np.eye(4), 2, axis=0) + 0.025
  np.testing.assert_allclose(start, expected, rtol=1e-5)
  state, _ = jax.jit(distiller.step)(state, data, jnp.int32(0))
  labels = np.asarray(distiller.extract(state).labels)
  np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)
  assert np.abs(labels - start).max() > 1e-4


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"outer.outer_loop": -1}, "outer.outer_loop=-1"),
    ({"outer.outer_loop": 1, "outer.inner_loop": 3}, "outer.inner_loop=3"),
    ({"outer.momentum": 1.0}, "outer.momentum=1.0"),
    ({"outer.learning_rate": 0.0}, "outer.learning_rate=0.0"),
    ({"synthetic.init": "saved"}, "synthetic.init='saved'"),
    ({"synthetic.init": "grid"}, "'grid'"),
    ({"matching.distance": "l2"}, "'l2'"),
    ({"classes_at_once": 5}, "classes_at_once=5"),
    ({"augmentation": "rotat"}, "'rotat'"),
  ],
)
def test_impossible_settings_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    _dc(**changes)
