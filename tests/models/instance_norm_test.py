"""The closed form against the plain one, in value and to the second order."""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from ddjax.models.instance_norm import InstanceNorm, instance_norm
from tests.models.draws import draw

EPSILON = 1e-2  # large enough to be seen


def _plain(x, scale, epsilon):
  mean = x.mean((1, 2), keepdims=True)
  variance = ((x - mean) ** 2).mean((1, 2), keepdims=True)
  return (x - mean) * lax.rsqrt(variance + epsilon) * scale.reshape(1, 1, 1, -1)


def test_value_and_derivatives_to_the_second_order_are_the_plain_forms():
  x, scale, weights = draw((2, 3, 5, 4), 0) / 4 + 1, draw((4,), 1), draw((2, 3, 5, 4), 2)

  def derivatives(norm):
    def loss(x, scale):
      return (weights * jnp.sin(norm(x, scale, EPSILON))).sum()

    def matching(x, scale):
      return sum((grads**2).sum() for grads in jax.grad(loss, (0, 1))(x, scale))

    return [norm(x, scale, EPSILON)] + [jax.grad(fn, (0, 1))(x, scale) for fn in (loss, matching)]

  ours, plain = jax.jit(lambda: (derivatives(instance_norm), derivatives(_plain)))()
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())
  values = np.float64(x)
  expected = (values - values.mean((1, 2), keepdims=True)) * scale
  expected /= np.sqrt(values.var((1, 2), keepdims=True) + EPSILON)
  np.testing.assert_allclose(ours[0], expected, rtol=1e-4, atol=1e-5)


def test_layer_is_flaxs_group_norm_with_a_group_for_each_channel():
  x = draw((3, 4, 4, 5), 0) * 1e-2 + 4
  params = {"scale": draw((5,), 1), "bias": draw((5,), 2)}
  flaxs = nn.GroupNorm(num_groups=5, epsilon=1e-5, use_fast_variance=False)
  ours, theirs = jax.jit(
    lambda x: tuple(layer.apply({"params": params}, x) for layer in (InstanceNorm(), flaxs))
  )(x)
  np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
  fresh = jax.jit(InstanceNorm().init)(jax.random.key(0), x)["params"]
  np.testing.assert_array_equal(fresh["scale"], np.ones(5))
  np.testing.assert_array_equal(fresh["bias"], np.zeros(5))


def test_a_small_spread_about_a_large_mean_keeps_its_digits():
  x = 30 + 1e-2 * draw((2, 8, 8, 1), 0)
  values = np.float64(x)
  expected = (values - values.mean((1, 2), keepdims=True)) / np.sqrt(
    values.var((1, 2), keepdims=True) + 1e-5
  )
  y = jax.jit(lambda x: instance_norm(x, jnp.ones(1), 1e-5))(x)
  np.testing.assert_allclose(y, expected, atol=2e-3)


def test_a_thousand_pixels_are_averaged_to_the_last_digits():
  """Products that add them up one by one round by 2e-5 here, and turn ReLUs."""
  x = draw((4, 32, 32, 8), 0) ** 2 + 30
  values = np.float64(x)
  expected = values - values.mean((1, 2), keepdims=True)
  expected /= np.sqrt(values.var((1, 2), keepdims=True) + 1e-5)
  ours = jax.jit(lambda x: instance_norm(x, jnp.ones(8), 1e-5))(x)
  assert np.abs(ours - expected).max() < 1e-5
