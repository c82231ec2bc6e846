"""Means and differences of figures that were measured once a seed, with 95 % intervals.

A seed's figure is already a mean over its networks and test examples. Seeds are independent, so the
interval is that of Student (1908): it holds whatever varies within a seed, and is wide for few.
What all seeds share, such as the test set, it takes as given.
"""

from typing import Mapping, NamedTuple, Sequence

from jaxtyping import Float
import numpy as np
import scipy  # its parts, which take a second, load on first use

_NORMAL = 1.959963984540054
LEVEL = 0.05


class Estimate(NamedTuple):
  """A figure with its 95 % interval.

  Attributes:
    value: the mean.
    low: lower end, None without an interval.
    high: upper end.
    p: two-sided, that the true figure is zero; None without an interval.
    num_seeds: over which it runs; 1 where the interval is that of a single run.
  """

  value: float
  low: float | None
  high: float | None
  p: float | None
  num_seeds: int


def mean(values: Sequence[float], limits: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
  """The mean over seeds with the interval of Student; of one seed the value alone.

  Args:
    values: one a seed.
    limits: the least and the largest possible value, to which the interval is cut.
  Raises:
    ValueError: without any value.
  """
  found = np.asarray(values, np.float64)
  if not len(found):
    raise ValueError("There is no value of any seed.")
  centre = float(found.mean())
  if len(found) == 1:
    return Estimate(centre, None, None, None, 1)
  error, degrees = found.std(ddof=1) / np.sqrt(len(found)), len(found) - 1
  half = scipy.special.stdtrit(degrees, 1 - LEVEL / 2) * error
  low, high = np.clip([centre - half, centre + half], *limits)
  return Estimate(centre, float(low), float(high), _p_of_t(centre, error, degrees), len(values))


def _p_of_t(value: float, error: float, degrees: float) -> float:
  """Two-sided; 1 for a difference of nothing, 0 for one that never varies."""
  if error == 0:
    return float(value == 0)
  return float(2 * scipy.special.stdtr(degrees, -abs(value) / error))


def from_interval(value: float, low: float | None, high: float | None) -> Estimate:
  """The figure of a single run with its own interval, and the p-value that the interval implies.

  Of an interval that was cut at a limit the longer side counts.
  """
  if low is None or high is None:
    return Estimate(value, None, None, None, 1)
  error = max(high - value, value - low) / _NORMAL
  if error == 0:
    return Estimate(value, low, high, float(value == 0), 1)
  return Estimate(value, low, high, float(2 * scipy.special.ndtr(-abs(value) / error)), 1)


def of_largest(
  estimates: Sequence[Estimate], limits: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[int, Estimate]:
  """The largest of several figures, with p and interval corrected for its choice (Bonferroni).

  Those without an interval count only where none has one.

  Args:
    estimates: of as many tests of one thing; how they depend on each other does not matter.
    limits: the least and the largest possible value, to which the interval is cut.
  Returns:
    its place; and it with the interval of level .05 over the number of tests, which holds for all
    of them at once, and p times that number.
  """
  count = len(estimates)
  known = [i for i, one in enumerate(estimates) if one.p is not None] or range(count)
  place = max(known, key=lambda i: estimates[i].value)
  return place, corrected(estimates[place], count, limits)


def corrected(
  one: Estimate, count: int, limits: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
  """One of `count` tests, with p and interval by Bonferroni; without an interval as it is."""
  if one.low is None or one.high is None or one.p is None:
    return one
  wanted, known = (_quantile(1 - level / 2, one.num_seeds) for level in (LEVEL / count, LEVEL))
  half = max(one.high - one.value, one.value - one.low) * wanted / known
  low, high = np.clip([one.value - half, one.value + half], *limits)
  return one._replace(low=float(low), high=float(high), p=min(1.0, one.p * count))


def _quantile(level: float, num_seeds: int) -> float:
  """Of Student's t over seeds; of the normal distribution for the interval of a single run."""
  if num_seeds > 1:
    return float(scipy.special.stdtrit(num_seeds - 1, level))
  return float(scipy.special.ndtri(level))


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Estimate | None:
  """The mean of a - b over the seeds that both have, paired by seed; None where they share none."""
  shared = [seed for seed in a if seed in b]
  return mean([a[seed] - b[seed] for seed in shared]) if shared else None


def balanced(table: Mapping[str, Mapping[int, float]]) -> tuple[list[str], list[int]]:
  """Rows and seeds of a large full rectangle in a table that may have holes.

  Seeds come in by how many rows have them, the most first; of the rectangles that arise the one
  with the most figures is taken, of equal ones that with more seeds. So neither a row that lacks
  seeds nor a seed that few rows have yet decides alone.

  Args:
    table: {row: {seed: figure}}.
  Returns:
    the rows, in order, that have all of the seeds; and these seeds, sorted.
  """
  seeds = sorted({seed for row in table.values() for seed in row})
  by_rows = sorted(seeds, key=lambda seed: (-sum(seed in row for row in table.values()), seed))
  best: tuple[list[str], list[int]] = ([], [])
  for num in range(1, len(by_rows) + 1):
    chosen = sorted(by_rows[:num])
    rows = [name for name, row in table.items() if all(seed in row for seed in chosen)]
    if len(rows) * num >= len(best[0]) * len(best[1]) and rows:
      best = rows, chosen
  return best


def largest_difference(table: Float[np.ndarray, "k n"]) -> Estimate | None:
  """The largest of k means minus the smallest, with the interval of Tukey.

  Tukey's studentised range (as in Scheffe 1959, The Analysis of Variance, section 3.6) allows for
  the choice of the two out of k. The error is what rows and seeds leave over (two-way layout), with
  (k - 1)(n - 1) degrees of freedom.

  Args:
    table: f[k n], of k things at the same n seeds.
  Returns:
    the estimate, or None for fewer than two things or seeds. `p` is that all k are the same.
  """
  table = np.asarray(table, np.float64)
  count, num_seeds = table.shape
  if count < 2 or num_seeds < 2:
    return None
  means = table.mean(axis=1)
  left = table - means[:, None] - table.mean(axis=0) + table.mean()
  degrees = (count - 1) * (num_seeds - 1)
  error = np.sqrt((left**2).sum() / degrees / num_seeds)
  spread = float(means.max() - means.min())
  if error < 1e-12:
    return Estimate(spread, spread, spread, float(spread == 0), num_seeds)
  of_range = scipy.stats.studentized_range
  half = of_range.ppf(1 - LEVEL, count, degrees) * error
  p = float(of_range.sf(spread / error, count, degrees))
  return Estimate(spread, float(max(spread - half, 0.0)), float(spread + half), p, num_seeds)
