"""Multi-formation: one stored image holds a grid of smaller ones (IDC; Kim et al. 2022, section 4).

A stored image is an f x f grid. Decoding cuts it into its cells and enlarges each to full size, so
ipc stored images serve as f^2 * ipc.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.types import Array, DistilledSet


def check_factor(factor: int, height: int, width: int) -> None:
  """Raises ValueError for a factor below 1, or one that does not divide both sides."""
  if factor < 1 or height % factor or width % factor:
    raise ValueError(f"decode factor {factor} must be at least 1 and divide {height} x {width}.")


def decode(images: Float[Array, "n h w c"], factor: int) -> Float[Array, "q h w c"]:
  """The cells of every grid at full size, bilinear (pixel centres, edges repeated).

  Args:
    images: f32[n h w c].
    factor: f, cells a side; 1 returns the images.
  Returns:
    f32[f*f*n h w c]: cell by cell in reading order, the n images of each.
  Raises:
    ValueError: if the factor does not divide the sides.
  """
  if factor == 1:
    return images
  count, height, width, channels = images.shape
  check_factor(factor, height, width)
  cells = images.reshape(count, factor, height // factor, factor, width // factor, channels)
  cells = cells.transpose(1, 3, 0, 2, 4, 5)
  cells = cells.reshape(-1, height // factor, width // factor, channels)
  return jax.image.resize(cells, (len(cells), height, width, channels), "bilinear")


def decode_labels(labels: Float[Array, "n k"], factor: int) -> Float[Array, "q k"]:
  """The labels of `decode`'s images, f32[f*f*n k]."""
  return jnp.tile(labels, (factor * factor, 1))


def decode_set(distilled: DistilledSet) -> DistilledSet:
  """A set as models are fitted on it: f*f images for each that is stored, as its `info` says.

  Args:
    distilled: images f32[r n h w c], labels f32[r n k].
  """
  factor = (distilled.info or {}).get("decode_factor") or 1
  if factor == 1:
    return distilled
  images = jax.vmap(lambda images: decode(images, factor))(jnp.asarray(distilled.images))
  labels = jax.vmap(lambda labels: decode_labels(labels, factor))(jnp.asarray(distilled.labels))
  return distilled.replace(images=images, labels=labels)
