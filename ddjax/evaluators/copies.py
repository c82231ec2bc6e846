"""Are synthetic images copies of real ones? Distances to the nearest train and held-out images.

Of N train and M held-out images of one distribution, the nearest to an image that was not copied is
a train image with probability N / (N + M). A copy's nearest is always one.
"""

import math
from typing import NamedTuple

from jaxtyping import Float, Integer
import numpy as np
import scipy  # its parts, which take a second, load on first use

from ddjax.statistics.membership_figures import clopper_pearson

_ROWS_AT_ONCE = 256


class Nearest(NamedTuple):
  """The nearest of some references to each of n images.

  Attributes:
    distance: f64[n], root mean square difference over the d coordinates.
    index: i64[n], which reference that is.
  """

  distance: Float[np.ndarray, " n"]
  index: Integer[np.ndarray, " n"]


class Copies(NamedTuple):
  """The copy check of n images.

  Attributes:
    train: the nearest train images.
    held_out: the nearest held-out images.
    is_train: f64[n], 1 where the nearest of all is a train image, 0 where it is held out, 1/2 where
      two are equally near.
    expected: the mean of `is_train` without copying.
  """

  train: Nearest
  held_out: Nearest
  is_train: Float[np.ndarray, " n"]
  expected: float


def check_copies(
  images: Float[np.ndarray, "n d"],
  train: Float[np.ndarray, "N d"],
  held_out: Float[np.ndarray, "M d"],
  *,
  own_rows: Integer[np.ndarray, " n"] | None = None,
) -> Copies:
  """Distances of images to their nearest train and held-out neighbours.

  Args:
    images: flattened; pixels or features, as the references.
    train: the real examples that were distilled.
    held_out: others of the same distribution.
    own_rows: where `images` are held-out ones themselves, the control: the row of each among
      `held_out`, which is left out, as it would meet itself.
  """
  to_train, to_held_out = _distances(images, train), _distances(images, held_out)
  if own_rows is not None:
    to_held_out[np.arange(len(images)), own_rows] = np.inf
  near, far = _nearest(to_train), _nearest(to_held_out)
  is_train = (np.sign(far.distance - near.distance) + 1) / 2
  others = len(held_out) - (own_rows is not None)
  return Copies(near, far, is_train, len(train) / (len(train) + others))


def mean_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
  """Mean of zeros, halves and ones with its exact 95 % interval (Clopper, Pearson 1934)."""
  total, count = float(values.sum()), len(values)
  low, _ = clopper_pearson(math.floor(total), count)
  _, high = clopper_pearson(math.ceil(total), count)
  return total / count, low, high


def _nearest(distances: np.ndarray) -> Nearest:
  index = distances.argmin(axis=1)
  return Nearest(np.take_along_axis(distances, index[:, None], axis=1)[:, 0], index)


def _distances(images: np.ndarray, references: np.ndarray) -> np.ndarray:
  """Root mean square differences f64[n N], zero for equal rows."""
  rows = [
    scipy.spatial.distance.cdist(images[start : start + _ROWS_AT_ONCE], references)
    for start in range(0, len(images), _ROWS_AT_ONCE)
  ]
  return np.concatenate(rows) / np.sqrt(images.shape[1])
