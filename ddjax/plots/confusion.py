"""Confusion matrices: which class is taken for which."""

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ddjax.plots import figures, matrices

if TYPE_CHECKING:
  from matplotlib.figure import Figure


def confusion_counts(true: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
  """How often class i was taken for class j: i64[k k] of true i[b] and predicted i[b]."""
  cells = np.asarray(true, np.int64) * num_classes + np.asarray(predicted, np.int64)
  return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str]) -> "Figure":
  """Draws the share of each true class, a row, that was taken for each class, a column.

  Args:
    counts: numbers [k k], rows true, columns predicted; sums over several models are welcome.
    class_names: k names.
  Raises:
    ValueError: where the counts are not [k k].
  """
  counts = np.asarray(counts, np.float64)
  totals = counts.sum(-1, keepdims=True)
  shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
  return matrices.heat_map(
    shares,
    [figures.as_text(name) for name in class_names],
    [figures.as_text(name) for name in class_names],
    row_label="true class",
    column_label="predicted class",
    value_label="share of the true class",
  )
