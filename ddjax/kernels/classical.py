"""Kernels that come from no network, or from its angle alone: RBF, Laplace, linear, arc-cosine.

Images are flattened to d values. Distances and products are over d, so that a setting means the
same for any image size.
"""

import math
from typing import Callable

import jax
import jax.numpy as jnp

from ddjax.kernels.recursion import network_kernel
from ddjax.types import Array

KernelFn = Callable[[Array, Array], Array]


def rbf(bandwidth: float) -> KernelFn:
  """exp(-|x - x'|^2 / (2 d bandwidth^2)), f[n1 n2]; `bandwidth` in units of sqrt(d)."""
  return lambda x1, x2: jnp.exp(-_mean_squared_distance(x1, x2) / (2 * bandwidth**2))


def laplace(bandwidth: float) -> KernelFn:
  """exp(-|x - x'| / (sqrt(d) bandwidth)), f[n1 n2]; `bandwidth` in units of sqrt(d).

  Its slope at equal images, which is undefined, is taken as zero.
  """

  def kernel_fn(x1: Array, x2: Array) -> Array:
    squared = _mean_squared_distance(x1, x2)
    is_apart = squared > 0
    distance = jnp.where(is_apart, jnp.sqrt(jnp.where(is_apart, squared, 1.0)), 0.0)
    return jnp.exp(-distance / bandwidth)

  return kernel_fn


def linear(weight_std: float, bias_std: float) -> KernelFn:
  r"""\sigma_w^2 <x, x'> / d + \sigma_b^2, f[n1 n2]."""

  def kernel_fn(x1: Array, x2: Array) -> Array:
    x1_flat, x2_flat = (x.reshape(x.shape[0], -1) for x in (x1, x2))
    return weight_std**2 * (x1_flat @ x2_flat.T) / x1_flat.shape[1] + bias_std**2

  return kernel_fn


def arccos(depth: int) -> KernelFn:
  """Arc-cosine kernel of order 1 (Cho, Saul 2009, eq. 3 and 6), composed `depth` times, f[n1 n2].

  It is k(x, x') = |x| |x'| J(angle) / (pi d), with d for our normalisation: the covariance of a
  ReLU network without biases whose weights keep the norm.
  """
  layers = ("flatten",) + ("relu", "dense") * (depth - 1) + ("relu",)
  return network_kernel(layers, "nngp", math.sqrt(2), 0.0, math.sqrt(2), 0.0)


def _mean_squared_distance(x1: Array, x2: Array) -> Array:
  """|x - x'|^2 / d, f[n1 n2], exactly zero on the diagonal where x1 is x2."""
  x1_flat, x2_flat = (x.reshape(x.shape[0], -1) for x in (x1, x2))
  square1, square2 = (jnp.sum(x * x, axis=1) for x in (x1_flat, x2_flat))
  squared = square1[:, None] + square2[None, :] - 2 * x1_flat @ x2_flat.T
  if x1 is x2:
    squared = jnp.where(jnp.eye(x1.shape[0], dtype=bool), 0.0, squared)
  return jax.nn.relu(squared) / x1_flat.shape[1]
