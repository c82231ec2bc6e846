"""What kernel matrices cost: operations, seconds on this machine, memory."""

import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddjax import backend, costs, tuning
from ddjax.backend import traits
from ddjax.kernels.make import Kernel
from ddjax.kernels.pairs import num_at_once

_PROBE = 64  # images a side of the block whose operations are counted


class Cost(NamedTuple):
  """Of a kernel matrix: floating point operations, seconds on this machine, bytes if at once."""

  flops: float
  seconds: float
  bytes: float


class Memory(NamedTuple):
  """Bytes of the temporary arrays of a block: so many a pair, an image, and whatever its size."""

  per_pair: int
  per_image: int
  fixed: int = 0


def estimate(
  kernel: Kernel, num_pairs: float, image_shape: tuple[int, int, int], with_gradient: bool
) -> Cost:
  """Estimates a kernel matrix, within about a factor of two on a CPU.

  Args:
    kernel: from `make_kernel`.
    num_pairs: entries of the matrix; NaN where their number is not known.
    image_shape: (h, w, c).
    with_gradient: whether the gradient by the images of one side is wanted as well.
  """
  flops = num_pairs * _flops_per_pair(kernel, tuple(image_shape), with_gradient)
  efficiency = _efficiency(kernel)[with_gradient]
  seconds = flops / (efficiency * matmul_flops_per_second())
  return Cost(flops, seconds, num_pairs * memory(kernel, image_shape).per_pair)


def memory(kernel: Kernel, image_shape: tuple[int, int, int]) -> Memory:
  """Memory of a block's temporary arrays.

  A covariance holds 1, h*w or, with pooling, (h*w)^2 values a pair, and in the last case as many
  for each image with itself; some 24 such arrays are alive at the peak. The pooled engine keeps the
  covariances after the first pooling for its gradient, and patches of every image.
  """
  if kernel.engine == "pooled":
    return _pooled_memory(kernel, image_shape)
  num_pixels = image_shape[0] * image_shape[1]
  values = num_pixels**2 if kernel.has_pooling else num_pixels if kernel.has_pixels else 1
  itemsize = jnp.dtype(kernel.precision).itemsize
  per_pair = tuning.LIVE_COVARIANCES * values * itemsize
  own_values = 2 * num_pixels * image_shape[2] + kernel.values_per_image
  return Memory(per_pair, own_values * itemsize + (per_pair if kernel.has_pooling else 0))


def _pooled_memory(kernel: Kernel, image_shape: tuple[int, int, int]) -> Memory:
  height, width, num_channels = image_shape
  itemsize = jnp.dtype(kernel.precision).itemsize
  pooled = 2 * ((height // 2) * (width // 2)) ** 2
  patches = height * width * (9 * num_channels + 1)
  row = (width + 2) * (height + 2) * (width + 2)
  working = num_at_once(height * width) * tuning.LIVE_ROWS * row
  return Memory(pooled * itemsize, tuning.PATCH_COPIES * patches * itemsize, working * itemsize)


def _efficiency(kernel: Kernel) -> tuple[float, float]:
  """Without and with the gradient."""
  if kernel.engine == "pooled":
    return tuning.POOLED_EFFICIENCY
  if kernel.has_pooling:
    return tuning.PIXEL_EFFICIENCY["pixel pairs"]
  if kernel.has_pixels:
    is_closed_form = kernel.engine == "closed_form"
    return tuning.CLOSED_FORM_EFFICIENCY if is_closed_form else tuning.PIXEL_EFFICIENCY["pixels"]
  return traits().kernel_efficiency


def matmul_flops_per_second() -> float:
  """Floating point operations per second of a float32 matrix product.

  Measured once, unless estimates are made for another machine.
  """
  return backend.assumed_flops_per_second() or _measured_flops_per_second()


@functools.cache
def _measured_flops_per_second() -> float:
  size = traits().probe_size
  square = jnp.ones((size, size), jnp.float32)
  with jax.default_matmul_precision("highest"):
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(square))
    seconds = []
    for _ in range(5):
      start = time.perf_counter()
      jax.block_until_ready(product(square))
      seconds.append(time.perf_counter() - start)
  return 2 * size**3 / min(seconds)


@functools.cache
def _flops_per_pair(
  kernel: Kernel, image_shape: tuple[int, int, int], with_gradient: bool
) -> float:
  """By tracing a square block."""
  images = jax.ShapeDtypeStruct((_PROBE, *image_shape), kernel.precision)

  def total(x1, x2):
    return jnp.sum(kernel.kernel_fn(x1, x2))

  fn = jax.value_and_grad(total, argnums=1) if with_gradient else total
  return costs.count(fn, images, images).flops / _PROBE**2
