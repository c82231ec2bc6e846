"""Kernel matrices in blocks, so that no call needs more memory than a budget."""

from typing import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.backend import traits
from ddjax.kernels import cost
from ddjax.kernels.make import Kernel, make_kernel
from ddjax.memory import budget_bytes
from ddjax.types import Array


def make_blocked_kernel(
  config: ConfigDict, image_shape: tuple[int, int, int]
) -> Callable[[Array, Array], Array]:
  """The kernel of a whole config within its memory budget; see `rows_in_blocks`.

  Args:
    config: for `kernel`, `precision`, `memory_budget_gb` and, where it is there,
      `num_replicas`, sharing it.
    image_shape: (h, w, c).
  """
  kernel = make_kernel(config.kernel, image_shape, precision=config.precision)
  budget = budget_bytes(config) // max(config.get("num_replicas", 1), 1)
  return rows_in_blocks(kernel, image_shape, budget)


def rows_in_blocks(
  kernel: Kernel, image_shape: tuple[int, int, int], memory_budget_bytes: int
) -> Callable[[Array, Array], Array]:
  """The kernel, computed block after block where the whole would not fit the budget.

  What fits is computed at once. Otherwise blocks of whole rows, or where one row does not fit of
  parts of rows, all of one shape, follow each other in one compiled loop. Its gradient computes
  each block anew, so that the budget holds there too. A diagonal that is exact where x1 is x2
  stays exact.

  Args:
    kernel: from `make_kernel`.
    image_shape: (h, w, c).
    memory_budget_bytes: for the temporary arrays of one block, not for the result itself.
  Returns:
    (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2].
  Raises:
    ValueError: if not even one pair fits the budget.
  """
  memory = cost.memory(kernel, image_shape)
  budget = memory_budget_bytes - memory.fixed
  smallest = memory.per_pair + 2 * memory.per_image
  if budget < smallest:
    raise ValueError(
      f"One pair of images needs {(smallest + memory.fixed) / 2**20:.3g} MiB under the kernel "
      f"{kernel.name}, more than the memory budget of {memory_budget_bytes / 2**20:.3g} MiB."
    )
  if kernel.has_pixels and not kernel.has_pooling:  # in a CPU's cache, twice as fast
    budget = min(budget, max(smallest, traits().kernel_block_bytes))

  def kernel_fn(x1: Array, x2: Array) -> Array:
    num_rows, num_columns = x1.shape[0], x2.shape[0]
    columns = _even_block(
      num_columns, int((budget - memory.per_image) // (memory.per_pair + memory.per_image))
    )
    row_bytes = columns * memory.per_pair + memory.per_image
    rows = _even_block(num_rows, int((budget - columns * memory.per_image) // row_bytes))
    if (rows, columns) == (num_rows, num_columns):
      return kernel.kernel_fn(x1, x2)
    block_fn = jax.checkpoint(kernel.kernel_fn)

    def row_of_blocks(x1_block: Array) -> Array:
      blocks = jax.lax.map(lambda x2_block: block_fn(x1_block, x2_block), x2_blocks)
      return jnp.moveaxis(blocks, 0, 1).reshape(rows, -1)[:, :num_columns]

    x1_blocks, x2_blocks = _in_blocks(x1, rows), _in_blocks(x2, columns)
    if x2_blocks.shape[0] == 1:
      matrix = jax.lax.map(lambda x1_block: block_fn(x1_block, x2), x1_blocks)
    else:
      matrix = jax.lax.map(row_of_blocks, x1_blocks)
    matrix = matrix.reshape(-1, num_columns)[:num_rows]
    return _with_exact_diagonal(matrix, kernel.kernel_fn, x1) if x1 is x2 else matrix

  return kernel_fn


def _even_block(size: int, largest: int) -> int:
  """The block length that covers `size` in as few blocks of at most `largest` as can be."""
  num_blocks = -(-size // min(size, largest))
  return -(-size // num_blocks)


def _in_blocks(x: Array, length: int) -> Array:
  """f[n h w c] as f[blocks length h w c], the last one filled by repeating the last image."""
  num_blocks = -(-x.shape[0] // length)
  padding = num_blocks * length - x.shape[0]
  padded = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1), mode="edge")
  return padded.reshape(num_blocks, length, *x.shape[1:])


def _with_exact_diagonal(matrix: Array, kernel_fn, x: Array) -> Array:
  """The matrix with each image's kernel with itself from a call that knows them to be equal."""

  @jax.checkpoint
  def of_itself(image: Array) -> Array:
    one = image[None]
    return kernel_fn(one, one)[0, 0]

  is_diagonal = jnp.eye(x.shape[0], dtype=bool)
  return jnp.where(is_diagonal, jax.lax.map(of_itself, x)[:, None], matrix)
