"""Robust DM against a slow loop, finite differences, and what its adversary is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers import class_batches, dm
from ddjax.distillers.robust_dm import margins
from ddjax.models.build import build
from tests.distillers.cases import Case, initial_state, initial_variables, make_distiller
from tests.models.draws import draw

_CHANGES = {
  "network.name": "convnet(depth=1)",
  "synthetic.init": "noise",
  "outer.real_batch_size": 6,
  "robust.epsilon": 0.1,
  "robust.num_steps": 2,
}
_AUGMENTATION = siamese.parse("color_crop_cutout_scale_rotate")


def _drawn(state, data, info):
  """What the first step draws: network, batch, one augmentation, and the key of the attack."""
  rngs = jax.random.split(jax.random.fold_in(state.rng, state.step), 3)
  network_rng, batch_rng, augment_rng = rngs
  network = build("convnet(depth=1)", num_classes=4, width=4)
  init_rng, _ = jax.random.split(network_rng)
  variables = initial_variables(network, init_rng, info.image_shape)

  @jax.jit
  def draws_of(data, batch_rng, augment_rng):
    batch = class_batches.draw_class_batches(batch_rng, data, 6)
    draws = class_batches.draw_siamese(augment_rng, _AUGMENTATION, 4, info.image_shape)
    return batch, jax.tree.map(lambda leaf: leaf[0], draws)

  batch, draws = draws_of(data, batch_rng, augment_rng)
  attack_rng = jax.random.fold_in(network_rng, dm._MOVE_STREAM)

  @jax.jit
  def feature(image):
    image = siamese.apply(image[None], draws, _AUGMENTATION)
    return network.apply(variables, image, return_features=True)[1][0]

  return batch, feature, attack_rng


def _slow_loss(state, data, info):
  """Image by image: clean class means, then each image up its own margin, then the distances."""
  batch, feature, attack_rng = _drawn(state, data, info)
  pixels = np.asarray(data.images)[np.asarray(batch.index)] / np.float32(255)
  used = np.asarray(batch.weights) > 0

  def seen(pixels):
    return standardise(pixels * 255, data)

  means = [
    np.mean([feature(seen(x)) for x, u in zip(pixels[c], used[c]) if u], 0) for c in range(4)
  ]

  def margin(pixels, label):
    f = feature(seen(pixels))
    others = jnp.stack([jnp.sum((f - means[c]) ** 2) for c in range(4) if c != label])
    return jnp.sum((f - means[label]) ** 2) - others.min()

  slope = jax.jit(jax.grad(margin), static_argnums=1)
  loss, clean_loss = 0.0, 0.0
  for label in range(4):
    moved = []
    for row in np.flatnonzero(used[label]):
      centre = pixels[label, row]
      own = jax.random.fold_in(attack_rng, 6 * label + int(row))
      point = centre + jax.random.uniform(own, centre.shape, jnp.float32, -0.1, 0.1)
      point = np.clip(point, 0, 1)
      for _ in range(2):
        point = point + 0.025 * np.sign(slope(point, label))
        point = np.clip(point, np.maximum(centre - 0.1, 0), np.minimum(centre + 0.1, 1))
      moved.append(feature(seen(point)))
    made = [feature(image) for image in state.synthetic.images[2 * label : 2 * label + 2]]
    loss += np.sum((np.mean(moved, 0) - np.mean(made, 0)) ** 2)
    clean_loss += np.sum((means[label] - np.mean(made, 0)) ** 2)
  return loss, clean_loss


def test_the_loss_is_that_of_a_slow_loop():
  distiller, data, info = make_distiller(Case("", "robust_dm", _CHANGES | {"classes_at_once": 3}))
  data = data.replace(mask=np.arange(64) % 8 < 6)
  state = initial_state(distiller, data)
  _, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  loss, clean_loss = _slow_loss(state, data, info)
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-3)
  assert abs(loss / clean_loss - 1) > 0.01  # the attack does something


def test_against_finite_differences():
  """Of the images, which the adversary does not see."""
  changes = _CHANGES | {"outer.learning_rate": 1.0, "outer.momentum": 0.0}
  distiller, data, _ = make_distiller(Case("", "robust_dm", changes))
  state = initial_state(distiller, data)
  step = jax.jit(distiller.step)
  images = state.synthetic.images
  gradient = images - step(state, data, jnp.int32(0))[0].synthetic.images
  other = jnp.asarray(draw(images.shape, seed=3))
  direction = gradient / jnp.linalg.norm(gradient) + other / jnp.linalg.norm(other)
  size = 1e-2 / jnp.linalg.norm(direction)

  def loss(sign):
    bumped = state.synthetic.replace(images=images + sign * size * direction)
    return float(step(state.replace(synthetic=bumped), data, jnp.int32(0))[1]["loss"])

  slope = (loss(1) - loss(-1)) / (2 * float(size))
  np.testing.assert_allclose(float(jnp.sum(gradient * direction)), slope, rtol=2e-2)


def test_a_tiny_ball_gives_dm_with_one_augmentation_for_all_classes():
  changes = {"network.name": "mlp", "augmentation": "none", "synthetic.init": "noise"}
  plain, data, _ = make_distiller(Case("", "dm", changes))
  robust, _, _ = make_distiller(Case("", "robust_dm", changes | {"robust.epsilon": 1e-6}))
  state = initial_state(plain, data)
  expected = jax.jit(plain.step)(state, data, jnp.int32(0))
  found = jax.jit(robust.step)(state, data, jnp.int32(0))
  np.testing.assert_allclose(found[1]["loss"], expected[1]["loss"], rtol=1e-4)
  np.testing.assert_allclose(
    found[0].synthetic.images, expected[0].synthetic.images, rtol=1e-3, atol=1e-4
  )


def test_margins_are_those_of_the_nearest_other_class():
  features, means = draw((5, 7), seed=0), draw((4, 7), seed=1)
  classes, is_known = np.array([0, 1, 2, 3, 0]), np.array([True, True, False, True])
  found = margins(jnp.asarray(features), jnp.asarray(classes), jnp.asarray(means), is_known)
  distances = ((features[:, None] - means[None]) ** 2).sum(-1)
  for row, label in enumerate(classes):
    others = [distances[row, c] for c in range(4) if c != label and is_known[c]]
    np.testing.assert_allclose(found[row], distances[row, label] - min(others), rtol=1e-4)


def test_without_another_class_the_margin_is_finite():
  features, means = jnp.ones((2, 3)), jnp.ones((2, 3))
  only = jnp.array([True, False])
  assert np.isfinite(margins(features, jnp.array([0, 0]), means, only)).all()


def test_labels_that_the_loss_does_not_see_are_not_learned():
  with pytest.raises(ValueError, match="does not depend on the labels"):
    make_distiller(Case("", "robust_dm", {"synthetic.learn_labels": True}))
