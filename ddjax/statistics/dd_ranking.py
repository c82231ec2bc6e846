"""Summary scores of DD-Ranking (Li et al. 2024, NUS-HPC-AI-Lab/DD-Ranking): label- and
augmentation-robust scores.

They ask how much of a set's accuracy is the set's own, and how much comes from soft labels or from
augmentation. All accuracies are fractions; percentages would make the scores meaningless.
"""

import math


def label_robust_score(
  *,
  full_hard: float,
  distilled_hard: float,
  distilled_any: float,
  random_any: float,
  weight: float = 0.5,
) -> float:
  """LRS, in [0, 1]: (e^a - 1/e) / (e - 1/e), a = w IOR - (1 - w) HLR.

  HLR = acc(full, hard) - acc(distilled, hard), what hard labels cost against the full set;
  IOR = acc(distilled, any) - acc(random, any), what distilling wins over a random subset.

  Args:
    full_hard: accuracy of the full set, hard labels.
    distilled_hard: of the distilled set with hard labels.
    distilled_any: of the distilled set by its own labels and protocol.
    random_any: of a random subset by that protocol.
    weight: w.
  Raises:
    ValueError: for an accuracy outside [0, 1].
  """
  _check(full_hard, distilled_hard, distilled_any, random_any)
  hard_label_recovery = full_hard - distilled_hard
  improvement = distilled_any - random_any
  return _squash(weight * improvement - (1 - weight) * hard_label_recovery)


def augmentation_robust_score(
  *,
  distilled_with: float,
  random_with: float,
  distilled_without: float,
  random_without: float,
  weight: float = 0.5,
) -> float:
  """ARS, in [0, 1]: the same map of g (distilled - random, with augmentation) + (1 - g) (without).

  Args:
    distilled_with: accuracy of the distilled set, trained with augmentation.
    random_with: of a random subset likewise.
    distilled_without: of the distilled set, trained without.
    random_without: of a random subset likewise.
    weight: g.
  Raises:
    ValueError: for an accuracy outside [0, 1].
  """
  _check(distilled_with, random_with, distilled_without, random_without)
  with_augmentation = distilled_with - random_with
  without = distilled_without - random_without
  return _squash(weight * with_augmentation + (1 - weight) * without)


def _squash(value: float) -> float:
  """Maps [-1, 1] onto [0, 1]."""
  return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


def _check(*accuracies: float) -> None:
  for accuracy in accuracies:
    if not 0 <= accuracy <= 1:
      raise ValueError(f"Accuracy {accuracy} is not a fraction in [0, 1].")
