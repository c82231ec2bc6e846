"""What kernel matrices cost: operations, seconds on this machine, memory."""

import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddjax.kernels.make import Kernel

_PROBE = 4  # images a side of the block whose operations are counted
_LIVE_ARRAYS = 16  # covariances alive at once at the peak of a network's kernel, measured


class Cost(NamedTuple):
  """Of a kernel matrix: floating point operations, seconds on this machine, bytes if at once."""

  flops: float
  seconds: float
  bytes: int


def estimate(
  kernel: Kernel, num_pairs: int, image_shape: tuple[int, int, int], with_gradient: bool
) -> Cost:
  """Estimates a kernel matrix, within about a factor of two.

  Args:
    kernel: from `make_kernel`.
    num_pairs: entries of the matrix.
    image_shape: (h, w, c).
    with_gradient: whether the gradient by the images of one side is wanted as well.
  """
  flops = num_pairs * _flops_per_pair(kernel, tuple(image_shape), with_gradient)
  seconds = flops / (_efficiency(kernel) * matmul_flops_per_second())
  return Cost(flops, seconds, num_pairs * bytes_per_pair(kernel, image_shape))


def bytes_per_pair(kernel: Kernel, image_shape: tuple[int, int, int]) -> int:
  """Memory of the temporary arrays of a block, per pair of images.

  A covariance holds 1, h*w or, with pooling, (h*w)^2 values a pair; at the peak, gradient
  included, some 16 such arrays are alive (the compiler's own figures, see the test).
  """
  num_pixels = image_shape[0] * image_shape[1]
  values = num_pixels**2 if kernel.has_pooling else num_pixels if kernel.has_pixels else 1
  return _LIVE_ARRAYS * values * jnp.dtype(kernel.precision).itemsize


@functools.cache
def matmul_flops_per_second() -> float:
  """Floating point operations per second of a float32 matrix product, measured once."""
  size = 2048 if jax.default_backend() != "cpu" else 1024
  square = jnp.ones((size, size), jnp.float32)
  with jax.default_matmul_precision("highest"):
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(square))
    repeats = []
    for _ in range(5):
      start = time.perf_counter()
      jax.block_until_ready(product(square))
      repeats.append(time.perf_counter() - start)
  return 2 * size**3 / min(repeats)


@functools.cache
def _flops_per_pair(kernel: Kernel, image_shape: tuple[int, int, int], with_gradient: bool) -> float:
  """From the compiler's count for a small block, before its optimisations."""
  images = jax.ShapeDtypeStruct((_PROBE, *image_shape), kernel.precision)

  def total(x1, x2):
    return jnp.sum(kernel.kernel_fn(x1, x2))

  fn = jax.value_and_grad(total, argnums=1) if with_gradient else total
  return jax.jit(fn).lower(images, images).cost_analysis()["flops"] / _PROBE**2


def _efficiency(kernel: Kernel) -> float:
  """Share of the matrix product's speed that the kernel's own operations reach, measured."""
  return 0.05 if kernel.has_pixels else 0.5
