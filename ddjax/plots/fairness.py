"""Accuracy by class of every set, and by class and group."""

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ddjax.plots import figures, matrices
from ddjax.types import Report

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SETS = {
  "full_accuracy": ("full set", figures.BLACK, "s"),
  "random_subset_accuracy": ("random subset", figures.ORANGE, "^"),
  "initial_accuracy": ("step 0", figures.GREY, "D"),
  "accuracy": ("distilled", figures.BLUE, "o"),
}
_MOST_NAMED = 50
_SPREAD = 0.5
"""Of a class's place, over which its sets are spread."""


def draw(report: Report, class_names: Sequence[str]) -> dict[str, "Figure"]:
  """Figures of the first network of a fairness report, {name: figure}.

  Args:
    report: of `ddjax.evaluators.fairness`.
    class_names: k names.
  Returns:
    `fairness`, accuracy by class, and where there are groups `fairness_groups`.
  """
  drawn = {"fairness": _by_class(report, class_names)}
  by_group = report.settings.get("accuracy_by_class_and_group", {}).get("accuracy")
  if by_group is not None:
    drawn["fairness_groups"] = matrices.heat_map(
      np.array(by_group, np.float64),
      [figures.as_text(name) for name in class_names],
      [str(group) for group in range(len(by_group[0]))],
      row_label="class",
      column_label="group (of a colour: the class whose it is)",
      value_label="test accuracy, distilled set",
    )
  return drawn


def _by_class(report: Report, class_names: Sequence[str]) -> "Figure":
  """Dots with 95 % intervals; classes in falling order of the full set's accuracy, or of all."""
  shown = {key: style for key, style in _SETS.items() if key in report.per_class}
  values = {key: np.array(report.per_class[key], np.float64) for key in shown}
  by = "full_accuracy" if "full_accuracy" in shown else None
  ranks = values[by] if by else np.mean(list(values.values()), axis=0)
  order = np.argsort(-np.nan_to_num(ranks, nan=-1.0), kind="stable")
  figure = figures.new_figure(min(max(4.8, 1.6 + 0.52 * len(order)), 14.0), 3.9)
  axes = figure.subplots()
  for number, (key, (label, colour, marker)) in enumerate(shown.items()):
    ends = report.settings["class_intervals"][key]
    ends = np.array([pair or (np.nan, np.nan) for pair in ends], np.float64)[order]
    place = np.arange(len(order)) + _SPREAD * ((number + 0.5) / len(shown) - 0.5)
    axes.vlines(place, *ends.T, color=colour, linewidth=1.1, alpha=0.75)
    axes.plot(
      place, values[key][order], linestyle="", marker=marker, color=colour, label=label,
      markersize=4.5 if len(order) <= _MOST_NAMED else 2,
    )  # fmt: skip
    if key in ("accuracy", "full_accuracy", "random_subset_accuracy"):
      mean = float(np.nanmean(values[key]))
      axes.axhline(mean, color=colour, linewidth=0.8, linestyle=":", zorder=0)
  is_named = len(order) <= _MOST_NAMED
  names = [figures.as_text(class_names[label]) for label in order]
  axes.set_xticks(range(len(order)) if is_named else [], names if is_named else [])
  if is_named and max(map(len, names)) > 3:
    axes.tick_params(axis="x", labelrotation=45)
  by_what = "the full set" if by else "all sets"
  axes.set_xlabel(f"class, by the accuracy of {by_what}; dotted: means over classes", fontsize=9)
  axes.set_ylabel("test accuracy, 95 % intervals", fontsize=9)
  figures.tidy(axes)
  axes.grid(axis="x", visible=False)
  axes.legend(
    fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4,
    borderaxespad=0.2, handletextpad=0.3,
  )  # fmt: skip
  return figure
