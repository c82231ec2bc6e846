"""Are synthetic images copies of real ones? Distances to the nearest train and held-out images.

An image that was not copied is as near to the train images as to as many others of the same
distribution. Train sets are larger than test sets, so the nearest of all train images is nearer by
number alone; the share below is that of a comparison with equally many of both, exactly averaged
over which train images those are.
"""

from typing import NamedTuple

from jaxtyping import Float, Integer
import numpy as np
from scipy import special, stats

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
    share: f64[n], the probability that the nearest of as many train images as there are held-out
      ones is nearer than the nearest held-out image: 1/2 on average without copying, 1 for copies.
  """

  train: Nearest
  held_out: Nearest
  share: Float[np.ndarray, " n"]


def check_copies(
  images: Float[np.ndarray, "n d"],
  train: Float[np.ndarray, "N d"],
  held_out: Float[np.ndarray, "M d"],
  *,
  is_held_out: bool = False,
) -> Copies:
  """Distances of images to their nearest train and held-out neighbours.

  Args:
    images: flattened; pixels or features, as the references.
    train: the real examples that were distilled.
    held_out: others of the same distribution.
    is_held_out: whether `images` are the held-out ones themselves, the control: then each is left
      out where it would meet itself.
  Raises:
    ValueError: for fewer train than held-out examples.
  """
  count = len(held_out) - is_held_out
  if len(train) < count:
    raise ValueError(f"{len(train)} train examples are fewer than {count} held-out ones.")
  to_held_out = _distances(images, held_out)
  if is_held_out:
    np.fill_diagonal(to_held_out, np.inf)
  to_train = _distances(images, train)
  nearest_held_out = _nearest(to_held_out)
  bound = nearest_held_out.distance[:, None]
  nearer, equal = (to_train < bound).sum(axis=1), (to_train == bound).sum(axis=1)
  share = (
    _any_drawn(nearer, len(train), count) + _any_drawn(nearer + equal, len(train), count)
  ) / 2
  return Copies(_nearest(to_train), nearest_held_out, share)


def mean_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
  """Mean and 95 % t interval over images, clipped to [0, 1]; the whole of it for a single one."""
  mean = float(values.mean())
  if len(values) < 2:
    return mean, 0.0, 1.0
  half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
  return mean, max(0.0, mean - half), min(1.0, mean + half)


def _any_drawn(marked: np.ndarray, total: int, count: int) -> np.ndarray:
  """Probability that `count` of `total`, drawn without replacement, hold one of the marked."""
  rest = total - marked
  possible = rest >= count
  rest = np.where(possible, rest, count)
  # C(rest, count) / C(total, count), in logarithms
  log_none = (
    special.gammaln(rest + 1)
    - special.gammaln(rest - count + 1)
    - special.gammaln(total + 1)
    + special.gammaln(total - count + 1)
  )
  return np.where(possible, -np.expm1(log_none), 1.0)


def _nearest(distances: np.ndarray) -> Nearest:
  index = distances.argmin(axis=1)
  return Nearest(np.take_along_axis(distances, index[:, None], axis=1)[:, 0], index)


def _distances(images: np.ndarray, references: np.ndarray) -> np.ndarray:
  """Root mean square differences f64[n N], zero for equal rows."""
  from scipy.spatial.distance import cdist

  rows = [
    cdist(images[start : start + _ROWS_AT_ONCE], references)
    for start in range(0, len(images), _ROWS_AT_ONCE)
  ]
  return np.concatenate(rows) / np.sqrt(images.shape[1])
