"""Classical kernels against scikit-learn and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import pairwise

from ddjax.kernels import classical

SIZE = 12


def _images(seed, num_images):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(num_images, 2, 2, 3)), jnp.float32)


def _flat(x):
  return np.asarray(x, np.float64).reshape(len(x), -1)


def test_rbf():
  x1, x2 = _images(0, 4), _images(1, 3)
  expected = pairwise.rbf_kernel(_flat(x1), _flat(x2), gamma=1 / (2 * SIZE * 0.7**2))
  np.testing.assert_allclose(classical.rbf(0.7)(x1, x2), expected, rtol=1e-5)


def test_laplace():
  x1, x2 = _images(0, 4), _images(1, 3)
  distance = pairwise.euclidean_distances(_flat(x1), _flat(x2))
  expected = np.exp(-distance / (np.sqrt(SIZE) * 0.7))
  np.testing.assert_allclose(classical.laplace(0.7)(x1, x2), expected, rtol=1e-5)


def test_linear():
  x1, x2 = _images(0, 4), _images(1, 3)
  expected = 1.3**2 * _flat(x1) @ _flat(x2).T / SIZE + 0.2**2
  np.testing.assert_allclose(classical.linear(1.3, 0.2)(x1, x2), expected, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_arccos(depth):
  x1, x2 = _images(0, 4), _images(1, 3)
  cross = _flat(x1) @ _flat(x2).T / SIZE
  scale = np.outer(*(np.linalg.norm(_flat(x), axis=1) for x in (x1, x2))) / SIZE
  for _ in range(depth):  # the norms stay
    angle = np.arccos(cross / scale)
    cross = scale / np.pi * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
  np.testing.assert_allclose(classical.arccos(depth)(x1, x2), cross, rtol=1e-5)


@pytest.mark.parametrize(
  "kernel_fn",
  [classical.rbf(0.5), classical.laplace(0.5), classical.linear(1.0, 0.1), classical.arccos(2)],
  ids=["rbf", "laplace", "linear", "arccos"],
)
def test_gradients_at_equal_images_are_finite(kernel_fn):
  x = jnp.concatenate([_images(0, 2)] * 2)
  gradient = jax.grad(lambda x: jnp.sum(kernel_fn(x, x) * jnp.arange(4.0)[None]))(x)
  assert np.all(np.isfinite(gradient))
