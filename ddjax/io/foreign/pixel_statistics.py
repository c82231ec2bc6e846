"""Whether images lie in the space that is claimed for them: moments beside those of real images.

Distilled images are no real ones, so only a clear difference counts: the claim fits badly, and
another kind of preprocessing fits much better. Whitenings that differ only in their details
(`zca_kip`, `zca_frepo`) have nearly the same moments; the check cannot tell them apart.
"""

from typing import Mapping, NamedTuple

from jaxtyping import Float
import numpy as np

from ddjax.data.preprocess import Preprocessing

DOUBT = 1.0  # distance up to which no claim is doubted; real images with noise of .3 std: .5
_BETTER = 0.5  # how much nearer another kind must be
_QUANTILES = (0.01, 0.99)


class Moments(NamedTuple):
  """Of a set of images: f[c] each but the last.

  Attributes:
    mean: of each channel.
    std: likewise.
    low: 1 % quantile, the lower end of its range.
    high: 99 % quantile.
    correlation: f[], of horizontal and vertical neighbours; whitening takes it away.
  """

  mean: np.ndarray
  std: np.ndarray
  low: np.ndarray
  high: np.ndarray
  correlation: float


class Findings(NamedTuple):
  """How far a set's moments lie from those of real images, by kind of preprocessing.

  Attributes:
    claimed: the kind that the set is said to lie in.
    distances: {kind: distance}; 0 is a perfect fit, 1 a poor one.
    best: the kind with the smallest distance.
    is_doubtful: whether the claim fits badly and `best` much better.
  """

  claimed: str
  distances: dict[str, float]
  best: str
  is_doubtful: bool


def moments(images: Float[np.ndarray, "n h w c"]) -> Moments:
  """The moments of images f32[n h w c], h, w > 1."""
  images = np.asarray(images, np.float64)
  axes = (0, 1, 2)
  low, high = np.quantile(images, _QUANTILES, axis=axes)
  std = images.std(axis=axes)
  centred = (images - images.mean(axis=axes, keepdims=True)) / np.maximum(std, 1e-12)
  across = np.mean(centred[:, :, 1:] * centred[:, :, :-1])
  down = np.mean(centred[:, 1:] * centred[:, :-1])
  return Moments(images.mean(axis=axes), std, low, high, float(across + down) / 2)


def distance(found: Moments, expected: Moments) -> float:
  """How badly moments fit: differences of mean and range in deviations, of deviation in octaves.

  The mean over channels of the four, and the difference of the correlations.
  """
  std = np.maximum(expected.std, 1e-12)
  parts = (
    np.abs(found.mean - expected.mean) / std,
    np.abs(np.log2(np.maximum(found.std, 1e-12) / std)),
    np.abs(found.low - expected.low) / (expected.high - expected.low + 1e-12),
    np.abs(found.high - expected.high) / (expected.high - expected.low + 1e-12),
  )
  return float(sum(part.mean() for part in parts) + abs(found.correlation - expected.correlation))


def compare(
  images: Float[np.ndarray, "n h w c"],
  pixels: Float[np.ndarray, "m h w c"],
  claimed: str,
  candidates: Mapping[str, Preprocessing],
) -> Findings:
  """Holds a set against real images under several kinds of preprocessing.

  Args:
    images: f32[n h w c], as the set stores them.
    pixels: f32[m h w c] in [0, 1], real images.
    claimed: a name in `candidates`; "none" for pixels.
    candidates: {kind: fitted}.
  Returns:
    the Findings.
  """
  found = moments(images)
  distances = {
    kind: distance(found, moments(np.asarray(preprocessing.forward(pixels))))
    for kind, preprocessing in candidates.items()
  }
  best = min(distances, key=lambda name: distances[name])
  own = distances[claimed]
  is_doubtful = own > DOUBT and distances[best] < _BETTER * own
  return Findings(claimed, distances, best, is_doubtful)
