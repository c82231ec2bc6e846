"""Functions of two images over all pairs, a few pairs at a time."""

from typing import Any, Callable

import jax
import jax.numpy as jnp
import numpy as np

from ddjax.backend import traits
from ddjax.types import Array


def num_at_once(num_pixels: int) -> int:
  """Pairs of images that one step takes together."""
  return max(1, traits().kernel_pixels // num_pixels)


def map_images(fn: Callable, x: Any, num_pixels: int) -> Any:
  """fn of each image, stacked.

  Args:
    fn: of one image, a tree of arrays.
    x: a tree with a leading axis of images.
    num_pixels: of an image.
  """
  return _map(fn, x, num_at_once(num_pixels))


def map_pairs(fn: Callable, images1: Any, images2: Any, num_pixels: int) -> Array:
  """fn of each pair of images, f[n1 n2].

  Args:
    fn: (image, image) -> f[].
    images1, images2: trees with a leading axis of images.
    num_pixels: of an image.
  """
  at_once = num_at_once(num_pixels)
  num1, num2 = (jax.tree.leaves(images)[0].shape[0] for images in (images1, images2))
  if num1 > num2:  # the inner loop over the longer side
    return map_pairs(lambda a, b: fn(b, a), images2, images1, num_pixels).T
  rows_at_once = max(1, at_once // num2)

  def row(image1: Any) -> Array:
    return _map(lambda image2: fn(image1, image2), images2, at_once)

  return _map(row, images1, rows_at_once)


def map_symmetric_pairs(fn: Callable, images: Any, diagonal: Array, num_pixels: int) -> Array:
  """fn of each pair of different images, which does not depend on their order, f[n n].

  Args:
    fn: (image, image) -> f[].
    images: a tree with a leading axis of n images.
    diagonal: f[n], of each image with itself.
    num_pixels: of an image.
  """
  num = diagonal.shape[0]
  if num == 1:
    return diagonal[:, None]
  at_once = num_at_once(num_pixels)

  def at_distance(distance: Array) -> Array:
    """Of the images i and i + distance, counted around, f[n]."""
    partners = jax.tree.map(lambda leaf: jnp.roll(leaf, -distance, axis=0), images)
    return _map(lambda pair: fn(*pair), (images, partners), at_once)

  found = _map(at_distance, jnp.arange(1, num // 2 + 1), max(1, at_once // num))
  first, second = np.sort(np.indices((num, num)), axis=0)
  distance = second - first
  is_short = distance <= num // 2
  rows = np.where(is_short, distance, num - distance) - 1
  matrix = found[np.maximum(rows, 0), np.where(is_short, first, second)]
  return jnp.where(np.eye(num, dtype=bool), diagonal[:, None], matrix)


def _map(fn: Callable, xs: Any, num_at_once: int) -> Any:
  num = jax.tree.leaves(xs)[0].shape[0]
  if num <= num_at_once:
    return jax.vmap(fn)(xs)
  return jax.lax.map(fn, xs, batch_size=num_at_once if num_at_once > 1 else None)
