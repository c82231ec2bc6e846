"""What a step does with the real set that lies on the devices: draw rows, standardise."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ddjax.types import AnyArray, DataSplit


def standardise(images: AnyArray, data: Any) -> Float[Array, "... h w c"]:
  """Stored images as the networks see them: `(images - mean) / std`.

  Args:
    images: u8 or f32 [... h w c], drawn from `data.images`.
    data: the split that they were drawn from, or whatever has its `mean` and `std` f32[c], in units
      of `images`.
  Returns:
    f32[... h w c] in network space.
  """
  channels = (1,) * (images.ndim - 1) + (-1,)
  return (images.astype(jnp.float32) - data.mean.reshape(channels)) / data.std.reshape(channels)


def take(data: DataSplit, index: Int[Array, " b"]) -> Float[Array, "b h w c"]:
  """Rows of the real set in network space: `standardise(data.images[index], data)`, faster.

  On CPUs the two fused are a loop over the few channels of a pixel. Here whole images are one axis,
  and the barriers keep XLA from undoing that: large batches take half the time, to the same bits.

  Args:
    data: the real set.
    index: rows of it.
  """
  rows = jax.lax.optimization_barrier(data.images[index])
  num_pixels = math.prod(rows.shape[1:-1])
  mean, std = jax.lax.optimization_barrier(
    (jnp.tile(data.mean, num_pixels)[None], jnp.tile(data.std, num_pixels)[None])
  )
  flat = rows.reshape(len(rows), -1).astype(jnp.float32)
  return ((flat - mean) / std).reshape(rows.shape)


def unstandardise(images: Float[Array, "... h w c"], data: Any) -> Float[Array, "... h w c"]:
  """The inverse of `standardise`: network space to stored units, as float."""
  channels = (1,) * (images.ndim - 1) + (-1,)
  return images * data.std.reshape(channels) + data.mean.reshape(channels)


def draw_class_balanced(rng: Array, data: DataSplit, num_per_class: int) -> Int[Array, "k q"]:
  """Draws rows of the real set, equally many of each class, without replacement within a class.

  A class with fewer examples than asked gives all of them, then the same again. Ignores
  `data.mask`: weight each drawn example by `data.mask[index]`.

  Args:
    rng: a key.
    data: the real set.
    num_per_class: > 0.
  Returns:
    i32[k num_per_class], rows of `data.images`.
  """
  largest = data.class_index.shape[1]
  # One sort of single words is several times faster than an argsort: a word is random above and
  # holds its own place below; padding sorts last.
  place_bits = max(1, (largest - 1).bit_length())
  places = jnp.arange(largest, dtype=jnp.uint32)[None]
  bits = jax.random.bits(rng, data.class_index.shape, dtype=jnp.uint32)
  is_padding = places >= data.class_counts[:, None].astype(jnp.uint32)
  words = (bits >> (place_bits + 1) << place_bits) | places
  words = jnp.where(is_padding, jnp.uint32(1 << 31) | places, words)
  order = (jnp.sort(words, axis=1) & jnp.uint32((1 << place_bits) - 1)).astype(jnp.int32)
  turn = jnp.arange(num_per_class)[None] % data.class_counts[:, None]
  return jnp.take_along_axis(data.class_index, jnp.take_along_axis(order, turn, axis=1), axis=1)


def draw_examples(rng: Array, data: DataSplit, count: int) -> Int[Array, " b"]:
  """Draws rows of the real set without replacement, whatever their class.

  Ignores `data.mask`: weight each drawn example by `data.mask[index]`.

  Args:
    rng: a key.
    data: the real set.
    count: from 1 to the number of its examples.
  Returns:
    i32[count], rows of `data.images`.
  """
  order = jax.random.permutation(rng, data.labels.shape[0])
  return order[:count].astype(jnp.int32)
