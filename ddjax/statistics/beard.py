"""RR, AE and CREI of BEARD (Zhou et al. 2024, arXiv 2411.09265): several attacks in one figure.

The definitions are those of the released code (zhouzhengqd/BEARD, Code/metrics, type "beard"), as
fractions, not percentages. BEARD's AE counts seconds; here it counts evaluations, which no machine
changes: gradients and forward passes alike, one each, averaged over the test images, and one
forward pass without an attack.

Both ratios are relative to the strongest and the dearest attack at hand, so they compare models
under the same attacks alone: RR says how uneven the attacks are, not how robust a model is. A model
that every attack breaks alike has RR 0, as one has that no attack harms.
"""

from typing import Sequence

import numpy as np


def robustness_ratio(clean_accuracy: float, accuracies: Sequence[float]) -> float:
  """RR = 1 - (A - mean_i a_i) / (A - min_i a_i), in [0, 1].

  Args:
    clean_accuracy: A, without an attack.
    accuracies: a_i, under each attack, none above A.
  Returns:
    RR; 0, as released, where no attack lowers the accuracy.
  Raises:
    ValueError: for no attack, an accuracy outside [0, 1], or one above the clean accuracy.
  """
  attacked = _checked("accuracy", accuracies)
  if not all(0 <= value <= 1 for value in (clean_accuracy, *attacked)):
    raise ValueError(f"Accuracies {clean_accuracy}, {list(attacked)} must be fractions in [0, 1].")
  if attacked.max() > clean_accuracy:
    raise ValueError(
      f"Accuracy {attacked.max()} under attack is above the clean accuracy {clean_accuracy}."
    )
  return _share_missing(clean_accuracy - attacked)


def attack_efficiency(costs: Sequence[float], clean_cost: float = 1.0) -> float:
  """AE = (mean_i c_i - C) / (max_i c_i - C), in [0, 1]: near 1 where every attack is dear.

  Args:
    costs: c_i, evaluations an image that each attack took, none below C.
    clean_cost: C, evaluations without an attack.
  Returns:
    AE; 0, as released, where no attack costs anything.
  Raises:
    ValueError: for no attack, or one cheaper than none.
  """
  paid = _checked("cost", costs)
  if paid.min() < clean_cost:
    raise ValueError(f"Cost {paid.min()} of an attack is below {clean_cost}, that of none.")
  extra = paid - clean_cost
  return float(extra.mean() / extra.max()) if extra.max() > 0 else 0.0


def robustness_efficiency_index(ratio: float, efficiency: float, weight: float = 0.5) -> float:
  """CREI = weight RR + (1 - weight) AE.

  Args:
    ratio: RR.
    efficiency: AE.
    weight: alpha, in [0, 1]; .5 as published.
  Raises:
    ValueError: for a weight outside [0, 1].
  """
  if not 0 <= weight <= 1:
    raise ValueError(f"weight={weight} must lie in [0, 1].")
  return weight * ratio + (1 - weight) * efficiency


def _share_missing(drops: np.ndarray) -> float:
  """One minus the mean over the largest; 0 where all are 0."""
  return float(1 - drops.mean() / drops.max()) if drops.max() > 0 else 0.0


def _checked(what: str, values: Sequence[float]) -> np.ndarray:
  """As f64; ValueError where there is none."""
  if not len(values):
    raise ValueError(f"There is no {what} of any attack.")
  return np.asarray(values, np.float64)
