"""GSAM by NumPy on a function whose gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from ddjax.fitting.sharpness import gsam

_PARAMS = {"a": np.float32([0.3, -1.2]), "b": np.float32([[0.7], [2.0], [-0.4]])}


def _loss(params):
  flat = jnp.concatenate([params["a"], params["b"].ravel()])
  return jnp.sum(jnp.sin(2 * flat) * flat) + jnp.prod(flat)


def _flat(tree):
  return np.concatenate([np.ravel(tree["a"]), np.ravel(tree["b"])]).astype(np.float64)


def _slope(w):
  """The gradient of `_loss` by hand."""
  products = np.array([np.prod(np.delete(w, i)) for i in range(len(w))])
  return np.sin(2 * w) + 2 * w * np.cos(2 * w) + products


def _step(optimiser):
  gradient = jax.grad(_loss)
  update, _ = optimiser.update(
    gradient(_PARAMS), optimiser.init(_PARAMS), _PARAMS, grad_fn=lambda params, _: gradient(params)
  )
  return -_flat(update)


@pytest.mark.parametrize("is_adaptive", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_a_step_is_that_of_algorithm_1(alpha, is_adaptive):
  w, radius = _flat(_PARAMS), 0.3
  gradient = _slope(w)
  scale = w if is_adaptive else np.ones_like(w)
  worst = _slope(w + radius * scale**2 * gradient / np.linalg.norm(scale * gradient))
  along = np.dot(gradient, worst) / np.dot(worst, worst) * worst
  upright = gradient - along
  np.testing.assert_allclose(np.dot(upright, worst), 0, atol=1e-9)
  assert np.linalg.norm(upright) > 0.05 * np.linalg.norm(gradient)
  found = _step(gsam(optax.sgd(1.0), radius, alpha, is_adaptive))
  np.testing.assert_allclose(found, worst - alpha * upright, rtol=1e-4, atol=1e-5)


def test_without_its_parts_it_is_plain_sam():
  ascent = optax.normalize_by_update_norm(scale_factor=-0.3)
  plain = optax.contrib.sam(optax.sgd(1.0), ascent, opaque_mode=True)
  np.testing.assert_allclose(_step(gsam(optax.sgd(1.0), 0.3, 0.0, False)), _step(plain), rtol=1e-5)
