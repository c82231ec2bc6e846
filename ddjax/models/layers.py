"""Layers with the initial values of the framework in which the methods were published.

There, weights and biases alike are uniform in +-1/sqrt(fan_in); gradient and trajectory matching
are sensitive to it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddjax.models.convolution import conv
from ddjax.types import Array


def uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
  """Initial values uniform in +-1/sqrt(fan_in), whatever the shape asked for."""
  bound = fan_in**-0.5

  def init(rng, shape, dtype=jnp.float32, out_sharding=None):
    del out_sharding
    return jax.random.uniform(rng, shape, dtype, -bound, bound)

  return init


def dense(inputs: int, outputs: int, name: str | None = None) -> nn.Dense:
  """A linear layer f32[b inputs] -> f32[b outputs], weights and biases by `uniform_fan_in`."""
  init = uniform_fan_in(inputs)
  return nn.Dense(outputs, kernel_init=init, bias_init=init, name=name)


class Conv3x3(nn.Module):
  """A 3x3 convolution with bias, f32[b h w c] -> f32[b h' w' features]."""

  features: int
  padding: int = 1

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (3, 3, x.shape[-1], self.features)
    init = uniform_fan_in(9 * x.shape[-1])
    kernel = self.param("kernel", init, shape, jnp.float32)
    bias = self.param("bias", init, (self.features,), jnp.float32)
    y = conv(x, kernel, self.padding)
    return y + jnp.broadcast_to(bias, y.shape)
