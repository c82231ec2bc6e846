"""Convolution and pooling in the form that is fast on the backend at hand.

Inside compiled loops XLA's CPU backend runs its convolution primitive far slower than outside, and
turns `vmap` over networks into grouped convolutions. There a 3x3 convolution is nine shifted
slices side by side and one matrix product; other backends use the primitive.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.types import Array


def conv(
  x: Float[Array, "b h w c"], kernel: Float[Array, "s s c o"], padding: int, stride: int = 1
) -> Float[Array, "b y x o"]:
  """Convolution (cross-correlation, as in every network library).

  Both forms, and their gradients, are equal to rounding.

  Args:
    x: f32[b h w c].
    kernel: f32[s s c o].
    padding: zeros added on each side.
    stride: pixels from one window to the next.
  Returns:
    f32[b y x o], y = (h + 2 padding - s) // stride + 1, x likewise.
  """
  form = conv_patches if jax.default_backend() == "cpu" else conv_primitive
  return form(x, kernel, padding, stride)


def conv_patches(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  """`conv` as one product of the patch matrix [b y x, s s c] with the kernel."""
  rows, columns, _, outputs = kernel.shape
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
  patches = jnp.concatenate(
    [
      x[:, i : i + height : stride, j : j + width : stride]
      for i in range(rows)
      for j in range(columns)
    ],
    axis=-1,
  )
  return patches @ kernel.reshape(-1, outputs)


def conv_primitive(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  """`conv` through XLA's convolution."""
  pads = [(padding, padding)] * 2
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
  """Means over 2x2 windows, f32[b h w c] -> f32[b h//2 w//2 c]; an odd last row is cut."""
  b, h, w, c = x.shape
  return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
