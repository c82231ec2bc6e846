"""One private sum over real examples: a Poisson sample, clipped contributions, Gaussian noise.

Abadi et al. 2016, "Deep Learning with Differential Privacy" (arXiv 1607.00133), algorithm 1. Every
draw belongs to a place of the real set, not to a row of the batch: where an example is taken out,
the others are drawn and augmented as before, so that the sum moves by its contribution alone.

Numbers are float32 and noise comes from a seed (Threefry): this is no cryptographic guarantee.
"""

from typing import Any, NamedTuple, cast

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from ddjax.types import Array

_SHRINK = 1 - 1e-6  # of the clip norm, so that rounding of a float32 norm cannot exceed it


@struct.dataclass
class Sample:
  """A Poisson sample in arrays of one size, whatever was drawn.

  Attributes:
    index: i32[b], rows of the real set; 0 where there is none.
    weights: f32[b], 1 for what was drawn, 0 for what only fills up.
  """

  index: Array
  weights: Array


class StepKeys(NamedTuple):
  """Keys of one step: of the sample, of augmentation, of the noise."""

  sample: Array
  augment: Array
  noise: Array


def noise_key(rng: Array, noise_seed: int | None) -> Array:
  """The key of a distillation's samples and noise.

  Args:
    rng: a key of the distillation, made from the config's seed; used up.
    noise_seed: a secret of 64 bits that is mixed into it; None leaves it as it is.
  """
  if noise_seed is None:
    return rng
  for word in (noise_seed >> 32, noise_seed & 0xFFFFFFFF):
    rng = jax.random.fold_in(rng, jnp.uint32(word))
  return rng


def step_keys(key: Array, step: Array) -> StepKeys:
  """The keys of a step by its number alone: made again after a restart, they are the same."""
  return StepKeys(*jax.random.split(jax.random.fold_in(key, step), 3))


def draw_sample(rng: Array, mask: Bool[Array, " N"], rate: float, size: int) -> Sample:
  """Draws every member with probability `rate`, apart from all others.

  Args:
    rng: one key; used up.
    mask: the members.
    rate: a multiple of 2^-23, see `accounting.drawable_rate`.
    size: of the arrays; a larger sample loses its last rows, see `accounting.choose_capacity`.
  """
  is_drawn = jax.random.uniform(rng, mask.shape, jnp.float32) < jnp.float32(rate)
  is_drawn &= mask
  (index,) = jnp.nonzero(is_drawn, size=size, fill_value=0)
  weights = jnp.arange(size) < is_drawn.sum()
  return Sample(index.astype(jnp.int32), weights.astype(jnp.float32))


def clip_factors(square: Float[Array, " b"], clip_norm: float) -> Float[Array, " b"]:
  """What brings vectors of these squared norms to a norm of at most `clip_norm`.

  0 where the norm is not finite; 1 where it is small enough. It has a gradient everywhere.
  """
  is_finite = jnp.isfinite(square)
  square = jnp.where(is_finite, square, 0.0)
  limit = clip_norm * _SHRINK
  is_long = square > limit**2
  norm = jnp.sqrt(jnp.where(is_long, square, 1.0))
  return jnp.where(is_finite, jnp.where(is_long, limit / norm, 1.0), 0.0)


def clipped_sum(contributions: Any, weights: Float[Array, " b"], clip_norm: float) -> Any:
  """The sum of clipped contributions: leaving one out moves it by a norm of `clip_norm` at most.

  Args:
    contributions: tree of f[b ...]; the norm of an example is over all its leaves. One that is not
      finite counts nothing.
    weights: 0 or 1, of each example.
    clip_norm: C > 0.
  Returns:
    tree of f[...].
  """
  leaves = jax.tree.leaves(contributions)
  squares = [jnp.sum(leaf.reshape(len(leaf), -1) ** 2, axis=1) for leaf in leaves]
  square = cast(Array, sum(squares))
  factors = clip_factors(square, clip_norm) * weights

  def add(leaf):
    counts = (factors > 0).reshape(-1, *(1,) * (leaf.ndim - 1))
    rows = jnp.where(counts, leaf, 0.0)  # 0 times NaN is NaN
    return jnp.einsum("b,b...->...", factors.astype(leaf.dtype), rows, precision="highest")

  return jax.tree.map(add, contributions)


def add_noise(rng: Array, total: Any, scale: float) -> Any:
  """The tree with Gaussian noise of this standard deviation on every number.

  Args:
    rng: one key; used up. Every device must hold the same.
    total: tree of f[...], over all devices.
    scale: noise multiplier times clip norm.
  """
  leaves, structure = jax.tree.flatten(total)
  rngs = jax.random.split(rng, len(leaves))
  noised = [
    leaf + jnp.asarray(scale, leaf.dtype) * jax.random.normal(key, leaf.shape, leaf.dtype)
    for key, leaf in zip(rngs, leaves, strict=True)
  ]
  return jax.tree.unflatten(structure, noised)
