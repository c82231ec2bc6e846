"""How unequally groups of test examples are served (colours of digits, say).

Groups run across classes: every class has examples of every group. All figures come from one table,
how often class i was taken for class j in each group, which fairlearn's MetricFrame makes. DEO_M
and DEO_A are the largest and the mean, over classes, of the range of accuracies over groups.
Demographic parity and equalised odds are those of each class against the rest (Agarwal et al. 2018,
section 2, as fairlearn measures them: the widest difference between groups).
"""

from jaxtyping import Float, Integer
import numpy as np


def confusion_by_group(
  true: Integer[np.ndarray, " T"],
  predicted: Integer[np.ndarray, "m T"],
  groups: Integer[np.ndarray, " T"],
  num_classes: int,
  num_groups: int,
) -> Integer[np.ndarray, "m g k k"]:
  """How often each model took class i for class j, group by group.

  Args:
    true: i[T], in [0, k).
    predicted: i[m T], in [0, k).
    groups: i[T], in [0, g).
    num_classes: k.
    num_groups: g.
  Returns:
    i64[m g k k], rows true, columns predicted.
  """
  from fairlearn.metrics import MetricFrame  # takes seconds

  def of_rows(true: np.ndarray, rows: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(predicted), num_classes, num_classes), np.int64)
    models = np.arange(len(predicted))[:, None]
    np.add.at(counts, (models, np.asarray(true)[None], predicted[:, rows]), 1)
    return counts

  frame = MetricFrame(
    metrics=of_rows, y_true=true, y_pred=np.arange(len(true)), sensitive_features=groups
  )
  table = np.zeros((len(predicted), num_groups, num_classes, num_classes), np.int64)
  for group in frame.by_group.index:
    table[:, int(group)] = frame.by_group[group]
  return table


def group_accuracies(confusion: Integer[np.ndarray, "... g k k"]) -> Float[np.ndarray, "... k g"]:
  """Accuracy by class and group; NaN where there are no such examples."""
  right = np.diagonal(confusion, axis1=-2, axis2=-1)
  return np.swapaxes(_share(right, confusion.sum(axis=-1)), -1, -2)


def deo_max(accuracies: Float[np.ndarray, "... k g"]) -> Float[np.ndarray, "..."]:
  """DEO_M: the widest range of accuracies over groups that any class has."""
  return np.nanmax(_range(accuracies), axis=-1)


def deo_mean(accuracies: Float[np.ndarray, "... k g"]) -> Float[np.ndarray, "..."]:
  """DEO_A: the mean over classes of the range of accuracies over groups."""
  return np.nanmean(_range(accuracies), axis=-1)


def demographic_parity(confusion: Integer[np.ndarray, "... g k k"]) -> Float[np.ndarray, "... k"]:
  """For each class the range over groups of the share of examples that is taken for it."""
  taken = confusion.sum(axis=-2)
  return _range(np.swapaxes(_share(taken, taken.sum(axis=-1, keepdims=True)), -1, -2))


def equalised_odds(confusion: Integer[np.ndarray, "... g k k"]) -> Float[np.ndarray, "... k"]:
  """For each class the wider of two ranges over groups.

  They are those of the share that is taken for the class among its own examples (true positives),
  and among all others (false positives).
  """
  right = np.diagonal(confusion, axis1=-2, axis2=-1)
  own = confusion.sum(axis=-1)
  wrong = confusion.sum(axis=-2) - right
  others = own.sum(axis=-1, keepdims=True) - own
  rates = (_share(right, own), _share(wrong, others))
  return np.fmax(*(_range(np.swapaxes(rate, -1, -2)) for rate in rates))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """part / whole, NaN where there is nothing."""
  part, whole = np.broadcast_arrays(part, whole)
  return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _range(values: np.ndarray) -> np.ndarray:
  """Largest minus smallest along the last axis, NaN where all are."""
  known = ~np.isnan(values)
  highest = np.max(values, axis=-1, where=known, initial=-np.inf)
  lowest = np.min(values, axis=-1, where=known, initial=np.inf)
  return np.where(known.any(axis=-1), highest - lowest, np.nan)
