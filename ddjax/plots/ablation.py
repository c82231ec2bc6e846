"""Kernel ablations: a set distilled with one kernel, tested with every other."""

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ddjax.plots import figures, matrices

if TYPE_CHECKING:
  from matplotlib.figure import Figure


def kernel_ablation(
  accuracy: np.ndarray, train_kernels: Sequence[str], test_kernels: Sequence[str]
) -> "Figure":
  """Test accuracy by kernel of distillation, a row, and kernel of the test, a column.

  A kernel's own cell has a frame; cells that were not run are hatched.

  Args:
    accuracy: f[rows columns], fractions; NaN where not run.
    train_kernels: names of the rows.
    test_kernels: names of the columns.
  Raises:
    ValueError: where the names do not fit the shape.
  """
  from matplotlib.patches import Patch, Rectangle

  accuracy = np.asarray(accuracy, np.float64)
  low = float(np.nanmin(accuracy, initial=1.0))
  figure = matrices.heat_map(
    accuracy,
    train_kernels,
    test_kernels,
    row_label="distilled with",
    column_label="tested with",
    value_label="test accuracy",
    limits=(np.floor(low * 10) / 10, 1.0),
  )
  axes = figure.axes[0]
  for row, name in enumerate(train_kernels):
    if name in test_kernels:
      column = list(test_kernels).index(name)
      axes.add_patch(
        Rectangle(
          (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=figures.ORANGE, linewidth=1.6
        )
      )
  keys = [Patch(fill=False, edgecolor=figures.ORANGE, linewidth=1.6, label="own kernel")]
  if np.isnan(accuracy).any():
    keys.append(
      Patch(facecolor="white", edgecolor=figures.GREY, hatch="////", linewidth=0, label="not run")
    )
  axes.legend(
    handles=keys, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=2, frameon=False, fontsize=8
  )
  return figure
