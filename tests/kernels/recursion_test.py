"""The recursion against neural-tangents, NumPy closed forms and networks of finite width."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.kernels.architectures import hidden_layers, stax_kernel
from ddjax.kernels.recursion import network_kernel

STDS = (1.3, 0.2, 1.1, 0.3)  # four different numbers, so that none can stand for another
NETWORKS = [
  ("fc", 1, (4, 4, 2)),
  ("fc", 3, (4, 4, 2)),
  ("conv", 2, (5, 4, 2)),
  ("convnet", 2, (5, 4, 2)),
  ("myrtle", 5, (4, 4, 1)),
]


def images(seed, num_images, shape, dtype=jnp.float32):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(num_images, *shape)), dtype)


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize(("family", "depth", "shape"), NETWORKS)
def test_equals_neural_tangents(family, depth, shape, kind):
  layers = hidden_layers(family, depth, shape)
  ours, theirs = network_kernel(layers, kind, *STDS), stax_kernel(layers, kind, *STDS)
  x1, x2 = images(0, 3, shape), images(1, 4, shape)
  np.testing.assert_allclose(jax.jit(ours)(x1, x2), jax.jit(theirs)(x1, x2), rtol=3e-6)


def test_fc1_closed_form_in_numpy():
  shape, (weight, bias, readout_weight, readout_bias) = (3, 2, 2), STDS
  x1, x2 = images(0, 3, shape), images(1, 4, shape)
  flat1, flat2 = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (x1, x2))
  size = flat1.shape[1]
  cross = weight**2 * flat1 @ flat2.T / size + bias**2
  norm1, norm2 = (np.sqrt(weight**2 * (x * x).sum(1) / size + bias**2) for x in (flat1, flat2))
  scale = np.outer(norm1, norm2)
  angle = np.arccos(cross / scale)
  after = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
  nngp = readout_weight**2 * after + readout_bias**2
  ntk = nngp + readout_weight**2 * cross * (np.pi - angle) / (2 * np.pi)
  layers = hidden_layers("fc", 1, shape)
  np.testing.assert_allclose(network_kernel(layers, "nngp", *STDS)(x1, x2), nngp, rtol=1e-6)
  np.testing.assert_allclose(network_kernel(layers, "ntk", *STDS)(x1, x2), ntk, rtol=1e-6)


@pytest.mark.parametrize(("family", "depth", "shape"), NETWORKS)
def test_symmetric_and_positive_definite(family, depth, shape):
  x = images(0, 6, shape)
  kernel_fn = network_kernel(hidden_layers(family, depth, shape), "ntk", *STDS)
  kernel = np.asarray(jax.jit(lambda x: kernel_fn(x, x))(x))
  np.testing.assert_allclose(kernel, kernel.T, rtol=1e-6)
  assert np.linalg.eigvalsh(kernel.astype(np.float64)).min() > 0


@pytest.mark.parametrize(("family", "depth", "shape"), NETWORKS)
def test_gradient_against_finite_differences(family, depth, shape):
  kernel_fn = network_kernel(hidden_layers(family, depth, shape), "ntk", *STDS)
  with jax.enable_x64(True):
    x, target = images(0, 3, shape, jnp.float64), images(1, 2, shape, jnp.float64)
    direction = images(2, 3, shape, jnp.float64)

    @jax.jit
    def value(step):
      moved = x + step * direction
      return jnp.sum(jnp.sin(kernel_fn(moved, moved))) + jnp.sum(jnp.cos(kernel_fn(target, moved)))

    slope, step = float(jax.jit(jax.grad(value))(0.0)), 1e-5
    difference = float(value(step) - value(-step)) / (2 * step)
  assert slope == pytest.approx(difference, rel=1e-6)
  assert abs(slope) > 1e-3


def test_diagonal_is_exact_in_float32():
  layers = hidden_layers("fc", 3, (8, 8, 3))
  kernel_fn = network_kernel(layers, "ntk", *STDS)
  x = images(0, 20, (8, 8, 3))
  with jax.enable_x64(True):
    exact = np.diag(jax.jit(kernel_fn)(*[jnp.asarray(x, jnp.float64)] * 2))
  assert np.max(np.abs(np.diag(kernel_fn(x, x)) / exact - 1)) < 1e-6


def test_float32_against_float64():
  for family, depth, shape in NETWORKS:
    kernel_fn = network_kernel(hidden_layers(family, depth, shape), "ntk", *STDS)
    x1, x2 = images(0, 5, shape), images(1, 5, shape)
    with jax.enable_x64(True):
      exact = jax.jit(kernel_fn)(jnp.asarray(x1, jnp.float64), jnp.asarray(x2, jnp.float64))
    assert np.max(np.abs(np.asarray(jax.jit(kernel_fn)(x1, x2)) / np.asarray(exact) - 1)) < 2e-6


@pytest.mark.parametrize("family", ["fc", "convnet"])
def test_gradient_is_finite_at_equal_and_blank_images(family):
  shape = (4, 4, 1)
  kernel_fn = network_kernel(hidden_layers(family, 1, shape), "ntk", 1.4, 0.0, 1.4, 0.0)
  x = jnp.concatenate([images(0, 1, shape)] * 2 + [jnp.zeros((1, *shape), jnp.float32)])
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(kernel_fn(x, x)) + jnp.sum(kernel_fn(2 * x, x))))(x)
  assert np.all(np.isfinite(gradient))


@partial(jax.jit, static_argnums=(2, 3))
def _finite_nngp(rng, x, width, num_networks, weight_std):
  """Mean over random two-hidden-layer networks of output products, and its standard error."""

  def outputs(rng):
    value = x.reshape(x.shape[0], -1)
    for layer_rng, features in zip(jax.random.split(rng, 3), (width, width, 1), strict=True):
      weights_rng, bias_rng = jax.random.split(layer_rng)
      weights = jax.random.normal(weights_rng, (value.shape[1], features), jnp.float32)
      bias = jax.random.normal(bias_rng, (1, features), jnp.float32)
      hidden = weight_std / np.sqrt(value.shape[1]) * value @ weights + 0.2 * bias
      value = jax.nn.relu(hidden) if features > 1 else hidden
    return value[:, 0]

  drawn = jax.vmap(outputs)(jax.random.split(rng, num_networks))
  products = drawn[:, :, None] * drawn[:, None, :]
  return products.mean(0), products.std(0) / np.sqrt(num_networks)


def test_nngp_is_the_covariance_of_wide_networks_and_of_no_others():
  shape = (3, 3, 1)
  x = images(0, 3, shape)
  exact = network_kernel(hidden_layers("fc", 2, shape), "nngp", 1.3, 0.2, 1.3, 0.2)(x, x)
  mean, error = _finite_nngp(jax.random.key(0), x, 64, 10000, 1.3)
  assert np.max(np.abs((mean - exact) / error)) < 4.5
  wrong, error = _finite_nngp(jax.random.key(1), x, 64, 10000, 1.45)
  assert np.max(np.abs((wrong - exact) / error)) > 8
