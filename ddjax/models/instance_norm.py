"""Instance norm with a gradient in closed form, the norm of the ConvNets of dataset distillation.

Ulyanov, Vedaldi, Lempitsky 2016: GroupNorm with as many groups as channels. Automatic
differentiation passes over the activations more often than needed, and these passes, not the
products, are what small networks spend their time on. The closed form is

  x^ = (x - mean) r,  r = (var + eps)^(-1/2),  y = scale x^ + shift,
  dx = scale r (dy - mean(dy) - x^ mean(dy x^)),

means over the pixels of one image and channel.
"""

from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.backend import traits
from ddjax.types import Array


class InstanceNorm(nn.Module):
  """Instance norm with a scale and a shift, f32[b h w c] -> same shape.

  Attributes:
    epsilon: added to the variance.
  """

  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
    normalised = instance_norm(x, scale, self.epsilon)
    return normalised + jnp.broadcast_to(bias, x.shape)


def instance_norm(
  x: Float[Array, "b h w c"], scale: Float[Array, " c"], epsilon: float
) -> Float[Array, "b h w c"]:
  """Every image and channel with mean zero and variance one over its pixels, times `scale`.

  Differentiable twice in reverse mode; no forward mode.
  """
  return _instance_norm(epsilon, x, scale)


def _forward(epsilon: float, x: Array, scale: Array) -> tuple[Array, tuple[Array, ...]]:
  mean = _pixel_mean(x)
  centred = x - mean
  root = lax.rsqrt(_pixel_mean(centred * centred) + epsilon)
  factor = root * scale.reshape(1, 1, 1, -1)
  return centred * factor, (x, mean, root, scale)


def _backward(epsilon, saved, cotangent):
  del epsilon
  x, mean, root, scale = saved
  normalised = (x - mean) * root
  mean_cotangent = _pixel_mean(cotangent)
  mean_product = _pixel_mean(cotangent * normalised)
  factor = root * scale.reshape(1, 1, 1, -1)
  x_cotangent = factor * (cotangent - mean_cotangent - normalised * mean_product)
  return x_cotangent, mean_product.sum((0, 1, 2)) * (x.shape[1] * x.shape[2])


_instance_norm: Any = jax.custom_vjp(lambda epsilon, x, scale: _forward(epsilon, x, scale)[0], (0,))
_instance_norm.defvjp(_forward, _backward)


def _pixel_mean(x: Array) -> Array:
  """Mean over the pixels, f32[b 1 1 c]; on CPUs as products, which is several times faster.

  One along the rows and one along the columns: a single one over a thousand pixels rounds some five
  times as much, enough to turn ReLUs and the gradients that are matched.
  """
  if not traits().means_as_products:
    return x.mean((1, 2), keepdims=True)
  batch, height, width, channels = x.shape
  of_row = jnp.full((batch * height, 1, width), 1 / width, x.dtype)
  rows = of_row @ x.reshape(batch * height, width, channels)
  of_column = jnp.full((batch, 1, height), 1 / height, x.dtype)
  return (of_column @ rows.reshape(batch, height, channels)).reshape(batch, 1, 1, channels)
