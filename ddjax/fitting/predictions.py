"""What fitted models say of many real images, block by block."""

import functools
from typing import Any, Callable

import jax
import jax.numpy as jnp
import numpy as np

from ddjax.types import Array, Models


def num_models(models: Models) -> int:
  """How many models there are."""
  return len(jax.tree.leaves(models.params)[0])


def predict_classes(
  models: Models,
  images: np.ndarray | Array,
  max_value: int,
  *,
  rows_per_block: int = 1000,
  on_block: Callable[[int], None] | None = None,
) -> np.ndarray:
  """The class that each model gives each image: i32[m T].

  Args:
    models: m models.
    images: u8[T h w c]; a pixel is `images / max_value`. Who asks for several sets of models places
      them on the device first, so that they are sent once.
    max_value: of the data set.
    rows_per_block: images in one call, fewer where the models say so; all blocks are of one size,
      so one program is compiled.
    on_block: called with the number of images of each block when it is done. Blocks are then waited
      for one by one, so that it can raise an error to stop.
  """
  num_images = len(images)
  size = min(rows_per_block, num_images, models.images_at_once or num_images)
  placed, params = jax.tree.map(jnp.asarray, (images, models.params))
  scale = np.float32(max_value)
  options = dict(predict_fn=models.predict_fn, size=size)
  starts = [min(start, num_images - size) for start in range(0, num_images, size)]
  blocks = (_classes(params, placed, np.int32(start), scale, **options) for start in starts)
  if on_block is None:
    blocks = list(blocks)  # all are under way before the first is waited for
  classes = np.zeros((num_models(models), num_images), np.int32)
  for start, block in zip(starts, blocks):
    classes[:, start : start + size] = block
    if on_block is not None:
      on_block(size)
  return classes


def predict_logits(
  models: Models, images: np.ndarray, max_value: int, *, rows_per_block: int = 1000
) -> np.ndarray:
  """What each model says of each image: f32[m T k], one model after another in one call.

  Args:
    models: m models.
    images: u8[T h w c]; a pixel is `images / max_value`.
    max_value: of the data set.
    rows_per_block: images in one call.
  """

  def of_block(block: np.ndarray) -> Array:
    pixels = jnp.asarray(block, jnp.float32) / max_value
    return _logits(models.params, pixels, predict_fn=models.predict_fn).swapaxes(0, 1)

  return in_blocks(of_block, images, rows_per_block).swapaxes(0, 1)


def in_blocks(
  function: Callable[[np.ndarray], Array], rows: np.ndarray, rows_per_block: int = 1000
) -> np.ndarray:
  """`function` of all rows, block by block: f[n ...].

  Args:
    function: (block [b ...]) -> [b ...], compiled once: the last block is filled up.
    rows: [n ...].
    rows_per_block: b.
  """
  size = min(rows_per_block, len(rows))
  blocks = []
  for start in range(0, len(rows), size):
    places = np.minimum(np.arange(start, start + size), len(rows) - 1)
    blocks.append(np.asarray(function(rows[places])))
  return np.concatenate(blocks)[: len(rows)]


@functools.partial(jax.jit, static_argnames="predict_fn")
def _logits(params: Any, pixels: Array, *, predict_fn: Callable) -> Array:
  """Logits [m b k] of m models."""
  return jax.lax.map(lambda one: predict_fn(one, pixels), params)


@functools.partial(jax.jit, static_argnames=("predict_fn", "size"))
def _classes(
  params: Any, images: Array, start: Array, max_value: Array, *, predict_fn: Callable, size: int
) -> Array:
  """Classes [m b] that m models give to `size` images from `start` on."""
  block = jax.lax.dynamic_slice_in_dim(images, start, size)
  pixels = block.astype(jnp.float32) / max_value
  return jax.lax.map(lambda one: jnp.argmax(predict_fn(one, pixels), axis=1), params)
