"""Estimates: in the right order, from the shapes alone."""

import jax
import jax.numpy as jnp
import pytest

from ddjax.config import groups
from ddjax.kernels import cost, make_kernel

SHAPE = (8, 8, 3)


def _estimate(family, depth=1, num_pairs=1000, with_gradient=False, shape=SHAPE, engine="auto"):
  config = groups.kernel(family, depth)
  config.engine = engine
  kernel = make_kernel(config, shape)
  return cost.estimate(kernel, num_pairs, shape, with_gradient)


def test_dense_products_are_counted():
  size = 32 * 32 * 3
  forward = _estimate("linear", shape=(32, 32, 3))
  gradient = _estimate("linear", shape=(32, 32, 3), with_gradient=True)
  assert forward.flops == pytest.approx(1000 * 2 * size, rel=0.1)
  assert gradient.flops == pytest.approx(2 * forward.flops, rel=0.1)


def test_kernels_are_ordered_by_what_they_compute():
  costs = [_estimate("fc"), _estimate("conv"), _estimate("conv", 2), _estimate("convnet")]
  assert all(a.flops < b.flops and a.seconds < b.seconds for a, b in zip(costs, costs[1:]))
  of_pixels = [_estimate(family, engine="closed_form") for family in ("conv", "convnet")]
  assert costs[0].bytes < of_pixels[0].bytes
  assert of_pixels[1].bytes == 64 * of_pixels[0].bytes  # a covariance for every pair of pixels
  assert costs[3].bytes < of_pixels[1].bytes / 10  # which the pooled engine never holds


def test_everything_grows_with_the_pairs():
  one, ten = _estimate("fc", num_pairs=100), _estimate("fc", num_pairs=1000)
  assert [b / a for a, b in zip(one, ten)] == pytest.approx([10, 10, 10])


@pytest.mark.parametrize(
  ("family", "engine", "most"),
  [
    ("conv", "closed_form", 1.5),
    ("convnet", "closed_form", 1.5),
    ("conv", "neural_tangents", 4),
    ("convnet", "neural_tangents", 4),
    ("convnet", "pooled", 1.5),
  ],
)
def test_memory_is_at_least_the_compilers_own(family, engine, most):
  config = groups.kernel(family, 2)
  config.engine = engine
  kernel = make_kernel(config, SHAPE)
  images = jax.ShapeDtypeStruct((8, *SHAPE), jnp.float32)
  gradient = jax.grad(lambda x2, x1: jnp.sum(kernel.kernel_fn(x1, x2)))
  analysis = jax.jit(gradient).lower(images, images).compile().memory_analysis()
  memory = cost.memory(kernel, SHAPE)
  expected = 64 * memory.per_pair + 16 * memory.per_image + memory.fixed
  assert 0.9 < expected / analysis.temp_size_in_bytes < most
