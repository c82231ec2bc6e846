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
  models: Models, images: np.ndarray, max_value: int, *, rows_per_block: int = 1000
) -> np.ndarray:
  """The class that each model gives each image: i32[m T].

  Args:
    models: m models.
    images: u8[T h w c]; a pixel is `images / max_value`.
    max_value: of the data set.
    rows_per_block: images in one call; the last block is filled up, so one shape is compiled.
  """
  predict = jax.jit(models.predict_fn)
  rows_per_block = min(rows_per_block, len(images))
  blocks = []
  for start in range(0, len(images), rows_per_block):
    rows = np.minimum(np.arange(start, start + rows_per_block), len(images) - 1)
    pixels = jnp.asarray(images[rows], jnp.float32) / max_value
    logits = [predict(_model(models, i), pixels) for i in range(num_models(models))]
    blocks.append(np.stack([np.asarray(jnp.argmax(rows, axis=1)) for rows in logits]))
  return np.concatenate(blocks, axis=1)[:, : len(images)].astype(np.int32)


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


def _model(models: Models, index: int):
  return jax.tree.map(lambda leaf: leaf[index], models.params)
