"""Whether two samples are of one distribution: the energy distance with a permutation test.

Szekely, Rizzo 2004 ("Testing for equal distributions in high dimension"). Under the hypothesis that
all points are exchangeable the test is exact whatever the sizes, one point against many included,
where it asks how far out that point lies.
"""

import itertools
import math

from jaxtyping import Float
import numpy as np
import scipy  # its parts, which take a second, load on first use


def energy_test(
  first: Float[np.ndarray, "n d"],
  second: Float[np.ndarray, "q d"],
  num_permutations: int,
  rng: np.random.Generator,
) -> tuple[float, float | None]:
  """The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples, and its p-value.

  Args:
    first: f[n d], n >= 1.
    second: f[q d], q >= 1.
    num_permutations: random relabellings; all distinct ones are taken where they are no more.
    rng: of the relabellings.
  Returns:
    the distance, and the share of relabellings, the given one among them, with at least as large a
    one; None where the fewest distinct relabellings could not bring it to .05.
  """
  pooled = np.concatenate([first, second]).astype(np.float64)
  distances = scipy.spatial.distance.cdist(pooled, pooled)
  n, total = len(first), len(pooled)
  num_distinct = math.comb(total, n)
  if num_distinct <= num_permutations:
    chosen = np.array(list(itertools.combinations(range(total), n)))  # the given one comes first
  else:
    random = rng.permuted(np.tile(np.arange(total), (num_permutations, 1)), axis=1)[:, :n]
    chosen = np.concatenate([np.arange(n)[None], random])
  statistics = _energy(distances, chosen)
  if num_distinct < 20:
    return float(statistics[0]), None
  as_large = statistics >= statistics[0] - 1e-9 * abs(statistics[0])
  return float(statistics[0]), float(as_large.mean())


def _energy(distances: np.ndarray, chosen: np.ndarray) -> np.ndarray:
  """The energy distance f64[P] of the points chosen i[P n] and all others."""
  count, n = chosen.shape
  total = len(distances)
  is_first = np.zeros((count, total))
  np.put_along_axis(is_first, chosen, 1.0, axis=1)
  from_first = is_first @ distances
  within_first = (from_first * is_first).sum(axis=1)
  between = from_first.sum(axis=1) - within_first
  within_second = distances.sum() - within_first - 2 * between
  rest = total - n
  return 2 * between / (n * rest) - within_first / n**2 - within_second / rest**2
