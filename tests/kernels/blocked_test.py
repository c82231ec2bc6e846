"""Blocks: the same numbers in less memory, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config import groups
from ddjax.kernels import cost, make_kernel
from ddjax.kernels.blocked import rows_in_blocks

SHAPE = (4, 4, 1)


def _images(seed, num_images):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(num_images, *SHAPE)), jnp.float32)


def _kernel(family="fc", depth=1, engine="closed_form"):
  config = groups.kernel(family, depth)
  config.engine = engine
  return make_kernel(config, SHAPE)


def _budget(kernel, rows, columns):
  memory = cost.memory(kernel, SHAPE)
  return rows * columns * memory.per_pair + (rows + columns) * memory.per_image


@pytest.mark.parametrize(
  ("family", "engine"),
  [("fc", "closed_form"), ("convnet", "closed_form"), ("conv", "neural_tangents")],
)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 3), (4, 7), (13, 7)])
def test_blocked_is_unblocked(family, engine, rows, columns):
  kernel = _kernel(family, engine=engine)
  blocked = jax.jit(rows_in_blocks(kernel, SHAPE, _budget(kernel, rows, columns)))
  x1, x2 = _images(0, 13), _images(1, 7)
  np.testing.assert_allclose(
    blocked(x1, x2), jax.jit(kernel.kernel_fn)(x1, x2), rtol=1e-5, atol=1e-6
  )


def test_diagonal_and_gradient_of_a_blocked_support_kernel():
  kernel = _kernel("fc", 3)
  blocked = rows_in_blocks(kernel, SHAPE, _budget(kernel, 2, 3))
  x = _images(0, 7)

  def value(x, kernel_fn):
    matrix = kernel_fn(x, x)
    return jnp.sum(jnp.sin(matrix)), matrix

  (our_matrix, ours), (their_matrix, theirs) = (
    jax.jit(jax.grad(lambda x, fn=fn: value(x, fn), has_aux=True))(x)[::-1]
    for fn in (blocked, kernel.kernel_fn)
  )
  np.testing.assert_allclose(our_matrix, their_matrix, rtol=2e-6, atol=1e-6)
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_second_use_compiles_nothing():
  kernel = _kernel()
  blocked = jax.jit(rows_in_blocks(kernel, SHAPE, _budget(kernel, 2, 7)))
  for seed in range(3):
    blocked(_images(seed, 13), _images(1, 7))
  assert blocked._cache_size() == 1


def test_memory_stays_near_the_budget():
  kernel = _kernel("convnet")
  x1, x2 = _images(0, 40), _images(1, 30)
  budget = _budget(kernel, 5, 5)

  def temporary_bytes(kernel_fn):
    gradient = jax.grad(lambda x2: jnp.sum(kernel_fn(x1, x2)))
    return jax.jit(gradient).lower(x2).compile().memory_analysis().temp_size_in_bytes

  assert temporary_bytes(rows_in_blocks(kernel, SHAPE, budget)) < 1.5 * budget
  assert temporary_bytes(kernel.kernel_fn) > 5 * budget


def test_a_budget_below_one_pair_is_refused():
  kernel = _kernel("convnet")
  with pytest.raises(ValueError, match="convnet1-ntk"):
    rows_in_blocks(kernel, SHAPE, _budget(kernel, 1, 1) - 1)
