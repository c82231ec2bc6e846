"""How noise is seen from outside: its scale, and epsilon by steps with and without one canary."""

import math

import numpy as np

from ddjax.statistics.membership_figures import clopper_pearson


def epsilon_lower_bound(
  with_canary: np.ndarray, without: np.ndarray, delta: float = 1e-5, confidence: float = 0.999
) -> float:
  """What (epsilon, delta)-differential privacy must at least be, given these scores.

  A threshold is chosen on the first half of the scores. On the second half, P[score > threshold] is
  at most e^epsilon times what it is without the canary, plus delta; both have Clopper-Pearson
  intervals that hold together with the given confidence.

  Args:
    with_canary: f[m] scores of steps with the canary, higher where it shows.
    without: f[m] of steps without it.
    delta: of the guarantee.
    confidence: with which the bound holds.
  """
  (choose_with, test_with), (choose_without, test_without) = (
    np.array_split(scores, 2) for scores in (with_canary, without)
  )
  thresholds = np.quantile(np.concatenate([choose_with, choose_without]), np.linspace(0, 1, 200))
  bounds = [_bound(choose_with, choose_without, place, delta, 0.95) for place in thresholds]
  best = thresholds[int(np.argmax(bounds))]
  return max(0.0, _bound(test_with, test_without, best, delta, (1 + confidence) / 2))


def _bound(with_canary, without, threshold, delta, confidence):
  hits, errors = int((with_canary > threshold).sum()), int((without > threshold).sum())
  low = clopper_pearson(hits, len(with_canary), confidence)[0]
  high = clopper_pearson(errors, len(without), confidence)[1]
  return math.log(max(low - delta, 1e-12) / high)


def normal_deviation(noise: np.ndarray, scale: float) -> float:
  """How many standard errors the variance of normal noise lies off this scale's."""
  values = np.asarray(noise, np.float64).ravel()
  return float((np.mean(values**2) / scale**2 - 1) * math.sqrt(len(values) / 2))
