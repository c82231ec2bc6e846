"""Kernel ridge regression against NumPy."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.kernels import ridge as kernel_ridge
from ddjax.kernels.classical import rbf

RIDGE = 1e-3
KERNEL = rbf(1.0)


def _set(seed, size, num_classes=3):
  rng = np.random.default_rng(seed)
  labels = np.eye(num_classes)[rng.integers(num_classes, size=size)] - 1 / num_classes
  return SimpleNamespace(
    images=jnp.asarray(rng.normal(size=(size, 3, 3, 1)), jnp.float32),
    labels=jnp.asarray(labels, jnp.float32),
    weights=jnp.asarray(rng.uniform(size=size), jnp.float32),
  )


def _numpy_prediction(support, images):
  k_ss, k_ts = (np.asarray(KERNEL(x, support.images), np.float64) for x in (support.images, images))
  size = len(k_ss)
  regularised = k_ss + RIDGE * np.trace(k_ss) / size * np.eye(size)
  return k_ts @ np.linalg.solve(regularised, np.asarray(support.labels, np.float64))


def test_prediction_is_that_of_numpy():
  support, target = _set(0, 8), _set(1, 20)
  ours = kernel_ridge.predict(KERNEL, support, target.images, RIDGE)
  np.testing.assert_allclose(ours, _numpy_prediction(support, target.images), rtol=1e-3, atol=1e-4)


def test_loss_and_accuracy_are_weighted_means():
  support, target = _set(0, 8), _set(1, 20)
  loss, metrics = kernel_ridge.kernel_ridge_loss(KERNEL, support, target, RIDGE)
  logits, labels, weights = _numpy_prediction(support, target.images), target.labels, target.weights
  errors = ((logits - labels) ** 2).mean(axis=1)
  is_right = logits.argmax(1) == np.asarray(labels).argmax(1)
  assert float(loss) == pytest.approx(0.5 * np.average(errors, weights=weights), rel=1e-3)
  assert float(metrics["accuracy"]) == pytest.approx(
    np.average(is_right, weights=weights), rel=1e-5
  )


def test_mean_over_equal_shares_is_the_whole():
  support, target = _set(0, 8), _set(1, 20)
  shares = [jax.tree.map(lambda x, i=i: x[5 * i : 5 * i + 5], vars(target)) for i in range(4)]
  mean_weight = jnp.sum(target.weights) / 4
  parts = [
    kernel_ridge.kernel_ridge_loss(KERNEL, support, SimpleNamespace(**share), RIDGE, mean_weight)[0]
    for share in shares
  ]
  whole = kernel_ridge.kernel_ridge_loss(KERNEL, support, target, RIDGE)[0]
  assert float(np.mean(parts)) == pytest.approx(float(whole), rel=1e-5)


def test_gradient_against_finite_differences():
  with jax.enable_x64(True):
    support, target = (
      jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), vars(_set(seed, 8))) for seed in (0, 1)
    )
    target = SimpleNamespace(**target)
    direction = jnp.asarray(np.random.default_rng(2).normal(size=(8, 3, 3, 1)), jnp.float64)

    @jax.jit
    def loss(step):
      moved = SimpleNamespace(**support | {"images": support["images"] + step * direction})
      return kernel_ridge.kernel_ridge_loss(KERNEL, moved, target, RIDGE)[0]

    slope, step = float(jax.grad(loss)(0.0)), 1e-5
    difference = float(loss(step) - loss(-step)) / (2 * step)
  assert slope == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("ridge", [0.0, -1e-6, float("nan")])
def test_a_ridge_that_is_not_positive_is_refused(ridge):
  support = _set(0, 4)
  with pytest.raises(ValueError, match=f"ridge={ridge}"):
    kernel_ridge.predict(KERNEL, support, support.images, ridge)


def test_label_widths_must_agree():
  with pytest.raises(ValueError, match="3 columns, target labels 4"):
    kernel_ridge.kernel_ridge_loss(KERNEL, _set(0, 4), _set(1, 4, num_classes=4), RIDGE)
