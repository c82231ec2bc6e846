"""Matrices as heat maps with their numbers: the shared part of `confusion` and `ablation`."""

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ddjax.plots import figures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_MAX_NUMBERED = 24


def heat_map(
  values: np.ndarray,
  row_names: Sequence[str],
  column_names: Sequence[str],
  *,
  row_label: str,
  column_label: str,
  value_label: str,
  limits: tuple[float, float] = (0.0, 1.0),
) -> "Figure":
  """Draws f[rows columns] in one hue; cells that are NaN are hatched.

  Numbers stand in the cells where there are at most 24 columns.

  Args:
    values: fractions as a rule; NaN where there is no figure.
    row_names: one a row.
    column_names: one a column.
    row_label: what the rows are.
    column_label: what the columns are.
    value_label: what the colour means.
    limits: the values at the ends of the colour scale.
  Raises:
    ValueError: where the names do not fit the shape.
  """
  values = np.asarray(values, np.float64)
  if values.shape != (len(row_names), len(column_names)):
    raise ValueError(
      f"A matrix of shape {values.shape} has {len(row_names)} row and {len(column_names)} column"
      " names."
    )
  numbered = len(column_names) <= _MAX_NUMBERED
  cell = 0.46 if numbered else max(7.0 / len(column_names), 0.08)
  margin = 1.1 + 0.06 * max(map(len, row_names))
  figure = figures.new_figure(
    cell * len(column_names) + margin + 1.0, cell * len(row_names) + margin + 0.2
  )
  axes = figure.subplots()
  axes.set_facecolor("white")
  missing = np.isnan(values)
  image = axes.imshow(
    np.ma.masked_array(values, missing), cmap="Blues", vmin=limits[0], vmax=limits[1]
  )
  _hatch(axes, missing)
  size = 7.5 if numbered else 5
  axes.set_xticks(range(len(column_names)), column_names, fontsize=size)
  if max(map(len, column_names)) > 3:
    axes.tick_params(axis="x", labelrotation=45 if numbered else 90)
    for label in axes.get_xticklabels():
      label.set(ha="right", va="center", rotation_mode="anchor")
  axes.set_yticks(range(len(row_names)), row_names, fontsize=size)
  axes.tick_params(length=0)
  axes.set_xlabel(column_label, fontsize=9)
  axes.set_ylabel(row_label, fontsize=9)
  axes.spines[:].set_visible(False)
  bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02)
  bar.set_label(value_label, fontsize=8)
  bar.ax.tick_params(labelsize=7, length=2)
  bar.outline.set_visible(False)
  if numbered:
    dark = limits[0] + 0.55 * (limits[1] - limits[0])
    for (row, column), value in np.ndenumerate(values):
      if not missing[row, column]:
        axes.text(
          column, row, number(value), ha="center", va="center", fontsize=7,
          color="white" if value > dark else figures.BLACK,
        )  # fmt: skip
  return figure


def number(value: float) -> str:
  """A fraction in a small cell: `.98`, `1`, and `0` only where it is exactly zero."""
  if value in (0, 1):
    return f"{value:g}"
  text = f"{value:.2f}"
  if text == "1.00":
    return ".99+"
  return text.removeprefix("0") if value >= 0 else text


def _hatch(axes, cells: np.ndarray) -> None:
  """Hatches the cells that are true."""
  from matplotlib.patches import Rectangle

  for row, column in np.argwhere(cells):
    axes.add_patch(
      Rectangle(
        (column - 0.5, row - 0.5),
        1,
        1,
        facecolor="white",
        edgecolor=figures.GREY,
        hatch="////",
        linewidth=0,
      )  # fmt: skip
    )
