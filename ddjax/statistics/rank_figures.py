"""Who comes first, how sure that is, and whether two orders agree."""

from typing import Mapping, NamedTuple, Sequence

from jaxtyping import Float, Integer
import numpy as np
import scipy  # its parts, which take a second, load on first use

from ddjax.statistics.replicates import draw_means, sample_mean

_NORMAL = 1.959963984540054


class Ranks(NamedTuple):
  """The order of k things.

  Attributes:
    rank: i64[k], 1 for the best, by the means as measured; equal means share the better rank.
    probability: f64[k k], of each thing (row) to have each rank (column); rows and columns
      sum to 1.
  """

  rank: Integer[np.ndarray, " k"]
  probability: Float[np.ndarray, "k k"]

  def of_own_rank(self) -> Float[np.ndarray, " k"]:
    """The probability that each rank is right, or one of those that equal means share; f64[k]."""
    ends = self.rank + (self.rank[:, None] == self.rank).sum(axis=1)
    return np.array(
      [row[rank - 1 : end - 1].sum() for row, rank, end in zip(self.probability, self.rank, ends)]
    )


class Measured(NamedTuple):
  """A figure of one thing, as it can be redrawn.

  Attributes:
    by_seed: {seed: its figure by network, or the one figure of the seed}.
    error: standard error of a single figure, where nothing can be redrawn.
  """

  by_seed: Mapping[int, Sequence[float]]
  error: float = 0.0


def ranks(
  things: Sequence[Measured], *, is_higher_better: bool, num_draws: int = 4000, seed: int = 0
) -> Ranks:
  """Orders things, and draws their means again to see how often each has which rank.

  Draws are those of `ddjax.statistics.replicates.draw_means`: seeds that things share are drawn
  together, and few seeds make a rank no surer than Student's t does. Ties are broken at random.

  Args:
    things: at least one.
    is_higher_better: of the figure.
    num_draws: of each mean.
    seed: of the draws.
  """
  sign = -1.0 if is_higher_better else 1.0
  rng = np.random.default_rng(seed)
  samples = [one.by_seed for one in things]
  drawn = draw_means(samples, num_draws, rng, [one.error for one in things]).T
  jitter = rng.random(drawn.shape)
  order = np.lexsort((jitter, sign * drawn), axis=1)
  places = np.empty_like(order)
  np.put_along_axis(places, order, np.broadcast_to(np.arange(len(things)), order.shape), axis=1)
  probability = (places[:, :, None] == np.arange(len(things))).mean(axis=0)
  centres = sign * np.array([sample_mean(sample) for sample in samples])
  rank = 1 + (centres < centres[:, None]).sum(axis=1)
  return Ranks(rank, probability)


class Correlation(NamedTuple):
  """Spearman's rank correlation with its 95 % interval and two-sided p-value, over n things."""

  value: float
  low: float
  high: float
  p: float
  num: int


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> Correlation | None:
  """Spearman's correlation; the interval is that of Bonett and Wright (2000, Psychometrika 65).

  On Fisher's scale its standard error is sqrt((1 + r^2 / 2) / (n - 3)), of the p-value too, so that
  it is below .05 where the interval excludes zero. Things are taken as independent.

  Args:
    a: one figure a thing.
    b: likewise.
  Returns:
    None for fewer than five things, or where one of the two never varies.
  """
  return rank_correlation_within([(a, b)])


def rank_correlation_within(
  groups: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> Correlation | None:
  """Spearman's correlation within groups: what differs between the groups does not count.

  The mean of the groups' own correlations, each with the weight of its size n less three, with the
  error of `rank_correlation` for the sum of these weights.

  Args:
    groups: figures (a, b) of the things of each group.
  Returns:
    the correlation over the groups that have one; None where none has five things that vary.
  """
  found = []
  for a, b in groups:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(x) >= 5 and np.ptp(x) and np.ptp(y):
      found.append((float(scipy.stats.spearmanr(x, y).statistic), len(x)))
  if not found:
    return None
  weight = sum(num - 3 for _, num in found)
  value = sum((num - 3) * one for one, num in found) / weight
  # Between a perfect order and the next possible correlation lie 12 / (n^3 - n). Half of that keeps
  # a perfect order of a few things, which comes by chance, from an error of nothing.
  most = 1 - sum((num - 3) * 6 / (num**3 - num) for _, num in found) / weight
  bounded = np.clip(value, -most, most)
  error = np.sqrt((1 + value**2 / 2) / weight)
  low, high = np.tanh(np.arctanh(bounded) + _NORMAL * error * np.array([-1, 1]))
  low, high = min(low, value), max(high, value)
  p = float(2 * scipy.special.ndtr(-abs(np.arctanh(bounded)) / error))
  return Correlation(value, float(low), float(high), p, sum(num for _, num in found))
