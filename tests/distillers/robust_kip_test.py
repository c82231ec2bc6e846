"""Robust KIP with the linear kernel, which NumPy can follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.augment import targets
from ddjax.data.batches import draw_class_balanced, standardise
from ddjax.distillers.kip import _MOVE_STREAM
from tests.distillers.cases import Case, make_config, make_distiller

_LINEAR = {
  "kernel.family": "linear",
  "kernel.bias_std": 0.1,
  "outer.target_batch_size": 64,
  "robust.epsilon": 0.1,
  "robust.num_steps": 3,
}


def _made(**changes):
  case = Case("linear", "robust_kip", _LINEAR | changes)
  return make_distiller(case), make_config(case)


def _kernels(images, config):
  w, b = config.kernel.weight_std, config.kernel.bias_std
  rows = images.reshape(len(images), -1)

  def kernel(a):
    return w**2 * a @ rows.T / rows.shape[1] + b**2

  k_ss = kernel(rows)
  return kernel, k_ss + config.ridge * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss)), rows


def _loss(images, labels, moved, target_labels, config):
  kernel, k_ss, _ = _kernels(images, config)
  predicted = kernel(moved.reshape(len(moved), -1)) @ np.linalg.solve(k_ss, labels)
  return 0.5 * np.mean((predicted - target_labels) ** 2)


def _attacked(state, data, config):
  """The target batch, all 64 examples, moved in plain NumPy; in float64 network units."""
  images = np.asarray(state.synthetic.images, np.float64)
  labels = np.asarray(state.synthetic.labels, np.float64)
  kernel, k_ss, support = _kernels(images, config)
  solved = np.linalg.solve(k_ss, labels)
  # The order of the batch and its starts, as the distiller draws them.
  step_rng = jax.random.fold_in(state.rng, state.step)
  index_rng, _ = jax.random.split(step_rng)
  index = np.asarray(draw_class_balanced(index_rng, data, 16).T.reshape(-1))
  move_rng = jax.random.fold_in(step_rng, _MOVE_STREAM)
  pixels = np.asarray(data.images)[index] / 255
  epsilon = config.robust.epsilon
  starts = [
    jax.random.uniform(jax.random.fold_in(move_rng, i), (8, 8, 1), jnp.float32, -epsilon, epsilon)
    for i in range(64)
  ]
  points = np.clip(pixels + np.stack(starts), 0, 1)
  mean, std = np.asarray(data.mean, np.float64), np.asarray(data.std, np.float64)
  targets_ = np.eye(4)[np.asarray(data.labels)[index]] - 0.25
  for _ in range(config.robust.num_steps):
    seen = ((points * 255 - mean) / std).reshape(64, -1)
    error = kernel(seen) @ solved - targets_  # the gradient of half its mean square
    slope = (error @ solved.T) @ support * config.kernel.weight_std**2 / support.shape[1] / 4
    slope = slope.reshape(points.shape) * 255 / std
    points = points + 0.25 * epsilon * np.sign(slope)
    points = np.clip(points, np.maximum(pixels - epsilon, 0), np.minimum(pixels + epsilon, 1))
  return (points * 255 - mean) / std, (pixels * 255 - mean) / std, targets_


def test_loss_is_that_of_plain_numpy_on_the_attacked_batch():
  (distiller, data, _), config = _made()
  state = distiller.init(jax.random.key(0), data)
  _, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  moved, clean, labels = _attacked(state, data, config)
  start = np.asarray(state.synthetic.images, np.float64), np.asarray(state.synthetic.labels)
  expected = _loss(*start, moved, labels, config)
  np.testing.assert_allclose(metrics["loss"], expected, rtol=2e-3)
  assert expected > 1.02 * _loss(*start, clean, labels, config)  # the attack does something


def test_first_update_goes_against_the_finite_difference_gradient_at_the_attacked_batch():
  """The support set is differentiated, the adversary's answer to it is not (Danskin)."""
  (distiller, data, _), config = _made()
  state = distiller.init(jax.random.key(0), data)
  after, _ = jax.jit(distiller.step)(state, data, jnp.int32(0))
  moved, _, target_labels = _attacked(state, data, config)
  changes = jax.tree.map(lambda a, b: np.asarray(a - b), after.synthetic, state.synthetic)
  images = np.asarray(state.synthetic.images, np.float64)
  labels = np.asarray(state.synthetic.labels, np.float64)
  rng, num_checked = np.random.default_rng(0), 0
  for _ in range(20):
    place = tuple(rng.integers(size) for size in images.shape)
    bump = np.zeros_like(images)
    bump[place] = 1e-4
    slope = _loss(images + bump, labels, moved, target_labels, config)
    slope -= _loss(images - bump, labels, moved, target_labels, config)
    if abs(slope) > 1e-8:
      assert np.sign(changes.images[place]) == -np.sign(slope)
      num_checked += 1
  assert num_checked > 10 and np.abs(changes.labels).max() > 0


def test_the_adversary_sees_through_the_augmentation():
  """A flipped example is attacked as it is seen: its loss is higher than under another's attack."""
  flips = {"augment.fraction": 1.0, "augment.flip": True, "augment.max_shift": 2}
  losses = []
  for num_steps in (1, 8):
    (distiller, data, _), _ = _made(**flips, **{"robust.num_steps": num_steps})
    state = distiller.init(jax.random.key(0), data)
    losses.append(jax.jit(distiller.step)(state, data, jnp.int32(0))[1]["loss"])
  assert losses[1] > losses[0]


def test_images_at_hand_are_augmented_as_rows_of_the_set_are():
  (_, data, _), _ = _made()
  options = targets.TargetAugmentation(0.8, True, 2, 10.0, 0.2)
  draws = targets.draw(jax.random.key(1), 9, 1, options)
  data = jax.tree.map(jnp.asarray, data)
  index = jnp.arange(3, 12)
  images = standardise(data.images[index], data)
  np.testing.assert_allclose(
    targets.augment(images, draws, options),
    targets.take_augmented(data, index, draws, options),
    rtol=1e-5,
    atol=1e-5,
  )


def test_images_and_labels_learn():
  config = get_config("configs/robust_kip.py:digits,epsilon=0.1,attack_steps=3,smoke")
  assert config.synthetic.learn_labels and config.method == "robust_kip"
  assert (config.robust.epsilon, config.robust.num_steps) == (0.1, 3)
  assert config.variant == "eps0.1-k3-smoke" and "robustness" in config.evaluators
  with pytest.raises(ValueError, match="Unknown name 'epsilo'"):
    get_config("configs/robust_kip.py:digits,epsilo=0.1")
