"""How large a real set must be to reach the same figure: reading a curve the other way round.

The curve is the figure by size. It is made monotone by isotonic regression (Barlow et al. 1972,
pooling of adjacent violators), and read between two sizes along the logarithm of the size. The
interval holds 95 % of readings whose means are drawn again, see `ddjax.statistics.replicates`.
"""

from typing import Mapping, NamedTuple

from jaxtyping import Float
import numpy as np

from ddjax.statistics.replicates import Sample, draw_means, sample_mean


class Size(NamedTuple):
  """A size, with its 95 % interval.

  An end that lies outside the measured sizes is infinite: minus infinity for "fewer than the
  smallest", infinity for "more than the largest".

  Attributes:
    value: f64.
    low: lower end.
    high: upper end.
    smallest: of the measured sizes.
    largest: of the measured sizes.
  """

  value: float
  low: float
  high: float
  smallest: float
  largest: float


def equivalent_size(
  curve: Mapping[float, Sample], target: Sample, *, num_draws: int = 2000, seed: int = 0
) -> Size:
  """The size at which the curve reaches the target's mean.

  Args:
    curve: {size > 0: sample}, two sizes at least.
    target: sample of what the size is wanted for.
    num_draws: of all means.
    seed: of the draws.
  Raises:
    ValueError: for fewer than two sizes, one that is not positive, or an empty sample.
  """
  sizes = sorted(curve)
  if len(sizes) < 2 or sizes[0] <= 0:
    raise ValueError(f"A curve needs two sizes at least, all positive; these are {sizes}.")
  samples = [curve[size] for size in sizes]
  for sample in (*samples, target):
    if not len(sample) or not all(len(networks) for networks in sample.values()):
      raise ValueError("A sample of the curve, or the target, holds no number.")
  rng = np.random.default_rng(seed)
  logs = np.log(sizes)

  def invert(means: np.ndarray, wanted: float) -> float:
    return read_backwards(logs, isotonic(means), wanted)

  value = invert(np.array([sample_mean(sample) for sample in samples]), sample_mean(target))
  *columns, wanted = draw_means([*samples, target], num_draws, rng)
  drawn = np.sort([invert(row, one) for row, one in zip(np.stack(columns, 1), wanted)])
  low, high = drawn[[int(0.025 * num_draws), int(np.ceil(0.975 * num_draws)) - 1]]
  value, low, high = (float(np.exp(end) if np.isfinite(end) else end) for end in (value, low, high))
  return Size(value, low, high, float(sizes[0]), float(sizes[-1]))


def isotonic(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
  """The nearest values that never fall, by pooling of adjacent violators."""
  blocks: list[list[float]] = []  # (mean, count)
  for value in values:
    blocks.append([float(value), 1.0])
    while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
      mean, count = blocks.pop()
      before = blocks[-1]
      before[0] = (before[0] * before[1] + mean * count) / (before[1] + count)
      before[1] += count
  return np.concatenate([np.full(int(count), mean) for mean, count in blocks])


def read_backwards(
  places: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], wanted: float
) -> float:
  """Where a curve that never falls has a value; in the middle where it stays there for long.

  Args:
    places: f64[n], ascending.
    values: f64[n], not descending.
    wanted: the value.
  Returns:
    the place, minus infinity below the first value, infinity above the last.
  """
  if wanted < values[0]:
    return -np.inf
  if wanted > values[-1]:
    return np.inf
  first, last = np.searchsorted(values, wanted, "left"), np.searchsorted(values, wanted, "right")
  if first < last:  # it has this value exactly
    return float((places[first] + places[last - 1]) / 2)
  share = (wanted - values[first - 1]) / (values[first] - values[first - 1])
  return float(places[first - 1] + share * (places[first] - places[first - 1]))
