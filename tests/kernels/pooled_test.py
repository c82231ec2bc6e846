"""The pooled engine against the closed form, neural-tangents and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config import groups
from ddjax.kernels import cost
from ddjax.kernels.architectures import hidden_layers, stax_kernel
from ddjax.kernels.blocked import rows_in_blocks
from ddjax.kernels.make import make_kernel
from ddjax.kernels.pooled import pooled_kernel, pooled_stages
from ddjax.kernels.recursion import network_kernel

STDS = (1.3, 0.2, 1.1, 0.3)  # four different numbers, so that none can stand for another
BLOCK = ("conv", "relu", "pool")
NETWORKS = {
  "blocks": (BLOCK * 2 + ("flatten",), (5, 6, 1)),
  "convnet": (hidden_layers("convnet", 2, (5, 4, 2)), (5, 4, 2)),
  "myrtle5": (hidden_layers("myrtle", 5, (4, 5, 3)), (4, 5, 3)),
  "myrtle10": (hidden_layers("myrtle", 10, (4, 5, 1)), (4, 5, 1)),
}
SLOW = {"myrtle10"}
# Nine ReLUs leave correlations of almost one, where float32 has few digits of the angle left.
SINGLE = {"value": 1e-6, "gradient": 1e-5}
DEEP = {"value": 3e-6, "gradient": 3e-4}


def single(layers):
  return DEEP if layers.count("relu") > 8 else SINGLE


CASES = [
  pytest.param(*case, id=name, marks=pytest.mark.slow if name in SLOW else ())
  for name, case in NETWORKS.items()
]

GRADIENT_CASES = [  # backwards, compilation takes twice as long
  pytest.param(*case, id=name, marks=pytest.mark.slow if name in (*SLOW, "myrtle5") else ())
  for name, case in NETWORKS.items()
]


def images(seed, num_images, shape, dtype=jnp.float32):
  return jnp.asarray(np.random.default_rng(seed).normal(size=(num_images, *shape)), dtype)


@jax.jit(static_argnums=0)
def both_ways(kernel_fn, x1, x2):
  return kernel_fn(x1, x2), kernel_fn(x2, x2)


@pytest.mark.parametrize(("layers", "shape"), CASES)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_equals_the_closed_form(layers, shape, kind):
  ours, theirs = (engine(layers, kind, *STDS) for engine in (pooled_kernel, network_kernel))
  x1, x2 = images(0, 3, shape), images(1, 4, shape)
  x1 = x1.at[2].set(0.0)
  with jax.enable_x64(True):
    exact1, exact2 = (jnp.asarray(x, jnp.float64) for x in (x1, x2))
    exact = both_ways(theirs, exact1, exact2)
    if kind == "ntk":
      for mine, value in zip(both_ways(ours, exact1, exact2), exact):
        np.testing.assert_allclose(mine, value, rtol=1e-12)
  for mine, value in zip(both_ways(ours, x1, x2), exact):
    assert mine.dtype == jnp.float32
    np.testing.assert_allclose(mine, value, rtol=single(layers)["value"])


@pytest.mark.parametrize(("layers", "shape"), CASES)
def test_equals_neural_tangents(layers, shape):
  ours, theirs = (engine(layers, "ntk", *STDS) for engine in (pooled_kernel, stax_kernel))
  x1, x2 = images(0, 2, shape), images(1, 3, shape)
  np.testing.assert_allclose(jax.jit(ours)(x1, x2), jax.jit(theirs)(x1, x2), rtol=3e-6)


@pytest.mark.parametrize(("layers", "shape"), GRADIENT_CASES)
def test_gradient_against_finite_differences(layers, shape):
  """Of both arguments, in 64 bit; and in 32 bit the same. The value is that of the closed form."""
  ours = pooled_kernel(layers, "ntk", *STDS)

  def total(x, target):
    return jnp.sum(jnp.sin(ours(x, x))) + jnp.sum(jnp.cos(ours(target, x)))

  slope = jax.jit(jax.value_and_grad(total, (0, 1)))
  both = images(0, 3, shape), images(1, 2, shape)
  gradients = slope(*both)[1]
  with jax.enable_x64(True):
    exact_both = [jnp.asarray(x, jnp.float64) for x in both]
    exact = slope(*exact_both)[1]
    for number in (0, 1):  # x, then target
      direction = images(2, len(both[number]), shape, jnp.float64)
      step, ends = 1e-5, []
      for sign in (1, -1):
        moved = list(exact_both)
        moved[number] = moved[number] + sign * step * direction
        ends.append(float(slope(*moved)[0]))
      assert float(jnp.sum(exact[number] * direction)) == pytest.approx(
        (ends[0] - ends[1]) / (2 * step),
        rel=1e-6,
        abs=1e-9,  # rounding of the ends over the step
      )
  for mine, value in zip(gradients, exact, strict=True):
    atol = single(layers)["gradient"] * np.max(np.abs(value))
    np.testing.assert_allclose(mine, value, rtol=0, atol=atol)


def test_the_matrix_of_equal_images_is_symmetric_and_exact_on_the_diagonal():
  layers, shape = NETWORKS["convnet"]
  kernel_fn = pooled_kernel(layers, "ntk", *STDS)
  same = jax.jit(lambda x: kernel_fn(x, x))
  x = images(6, 6, shape)
  with jax.enable_x64(True):
    exact = np.diag(same(jnp.asarray(x, jnp.float64)))
  for num in (1, 2, 5, 6):
    matrix = np.asarray(same(x[:num]))
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), exact[:num], rtol=3e-7)


def test_gradient_is_finite_at_equal_and_blank_images():
  layers, shape = NETWORKS["blocks"]
  kernel_fn = pooled_kernel(layers, "ntk", 1.4, 0.0, 1.4, 0.0)
  x = jnp.concatenate([images(0, 1, shape)] * 2 + [jnp.zeros((1, *shape), jnp.float32)])
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(kernel_fn(x, x)) + jnp.sum(kernel_fn(2 * x, x))))(x)
  assert np.all(np.isfinite(gradient))


def test_in_blocks_and_vmapped():
  config, shape = groups.kernel("convnet", 1), (4, 4, 1)
  config.engine = "pooled"
  kernel = make_kernel(config, shape)
  memory = cost.memory(kernel, shape)
  budget = memory.fixed + 6 * memory.per_pair + 5 * memory.per_image
  blocked = rows_in_blocks(kernel, shape, budget)
  x1, x2 = images(0, 5, shape), images(1, 4, shape)
  value = jax.jit(kernel.kernel_fn)(x1, x2)
  np.testing.assert_allclose(jax.jit(blocked)(x1, x2), value, rtol=1e-6)

  def total(kernel_fn):
    return jax.jit(jax.grad(lambda x: jnp.sum(kernel_fn(x, x) ** 2)))

  whole = total(kernel.kernel_fn)(x2)
  np.testing.assert_allclose(total(blocked)(x2), whole, atol=1e-5 * np.max(np.abs(whole)))
  pair = jnp.stack([x2, 2 * x2])
  vmapped = jax.jit(jax.vmap(kernel.kernel_fn, (None, 0)))(x1, pair)
  np.testing.assert_allclose(vmapped[0], value, rtol=1e-6)
  assert vmapped.shape == (2, 5, 4)


def test_stages():
  assert pooled_stages(hidden_layers("convnet", 3, (32, 32, 3))) == (2, 1, 1, 0)
  assert pooled_stages(hidden_layers("myrtle", 10, (32, 32, 3))) == (3, 3, 3)
  assert pooled_stages(hidden_layers("conv", 3, (32, 32, 3))) is None
  assert pooled_stages(("pool", "conv", "relu", "flatten")) is None
