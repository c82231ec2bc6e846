"""What fitted models say of many real images, block by block."""

import jax
import jax.numpy as jnp
import numpy as np

from ddjax.types import Models


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
    rows_per_block: images in one call; the last block is filled up, so one shape is compiled.
  """

  @jax.jit
  def predict(params, pixels):
    return jax.lax.map(lambda one: models.predict_fn(one, pixels), params)

  rows_per_block = min(rows_per_block, len(images))
  blocks = []
  for start in range(0, len(images), rows_per_block):
    rows = np.minimum(np.arange(start, start + rows_per_block), len(images) - 1)
    pixels = jnp.asarray(images[rows], jnp.float32) / max_value
    blocks.append(np.asarray(predict(models.params, pixels)))
  return np.concatenate(blocks, axis=1)[:, : len(images)]


def _model(models: Models, index: int):
  return jax.tree.map(lambda leaf: leaf[index], models.params)
