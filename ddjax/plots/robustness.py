"""Accuracy against epsilon, and against the severity of common corruptions."""

import itertools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from ddjax.plots import figures
from ddjax.types import Report

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_LABELS = {"distilled": "distilled", "random_subset": "random subset", "full": "full set"}
_TITLES = {"jpeg": "JPEG", "gaussian_noise": "Gaussian noise"}
_COLUMNS = 4


def draw(
  report: Report, others: Mapping[str, Report] = MappingProxyType({}), label: str = ""
) -> dict[str, "Figure"]:
  """The figures of a report of kind "robustness", of its first network.

  Args:
    report: of `ddjax.evaluators.robustness`.
    others: {label: report} of further distilled sets, each one more curve in every panel.
    label: of the set that `report` is of, where there are others.
  Returns:
    {"robustness": accuracy against epsilon, "corruptions": accuracy by severity}; without
    corruptions only the first.
  """
  settings = report.settings
  further = {label: other.settings["curve"]["distilled"] for label, other in others.items()}
  made = {"robustness": epsilon_curves(settings["curve"], further, label)}
  by_severity = {name: kinds for name, kinds in settings["corruption_by_severity"].items() if kinds}
  if by_severity:
    further = {
      label: other.settings["corruption_by_severity"]["distilled"]
      for label, other in others.items()
    }
    made["corruptions"] = severity_curves(by_severity, further, label)
  return made


def epsilon_curves(
  curve: Mapping[str, Mapping[str, list[float]]],
  others: Mapping[str, Mapping[str, list[float]]] = MappingProxyType({}),
  label: str = "",
) -> "Figure":
  """Accuracy under PGD over epsilon, with the 95 % interval of every set as a band.

  Args:
    curve: {set: {"epsilon", "accuracy", "low", "high"}}, epsilon in pixels. Names that are no set
      belong to further networks and are left out.
    others: {label: the same of one further set}.
    label: of the distilled set; "" calls it "distilled".
  """
  curves = _labelled(curve, label) | dict(others)
  figure = figures.new_figure(5.2, 3.8)
  axes = figure.subplots()
  for (label, one), (colour, dashes) in zip(curves.items(), itertools.cycle(figures.SERIES)):
    epsilon = 255 * np.asarray(one["epsilon"])
    axes.fill_between(epsilon, one["low"], one["high"], color=colour, alpha=0.22, linewidth=0)
    axes.plot(
      epsilon, one["accuracy"], color=colour, linestyle=dashes, linewidth=1.6, marker="o",
      markersize=3, label=label,
    )  # fmt: skip
  epsilon_axis(axes)
  axes.set_ylim(0, 1)
  axes.set_ylabel("accuracy under PGD (bands: 95 % intervals)", fontsize=9)
  figures.tidy(axes)
  axes.legend(
    fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2,
    ncols=3,
  )  # fmt: skip
  return figure


def severity_curves(
  by_severity: Mapping[str, Mapping[str, list[float]]],
  others: Mapping[str, Mapping[str, list[float]]] = MappingProxyType({}),
  label: str = "",
) -> "Figure":
  """One small panel a corruption: accuracy over severity of every set; severity 0 is not drawn.

  Args:
    by_severity: {set: {corruption: accuracy at severities 1, 2, ...}}. Names that are no set belong
      to further networks and are left out.
    others: {label: the same of one further set}.
    label: of the distilled set; "" calls it "distilled".
  """
  curves = _labelled(by_severity, label) | dict(others)
  kinds = list(next(iter(curves.values())))
  columns = min(_COLUMNS, len(kinds))
  rows = -(-len(kinds) // columns)
  figure = figures.new_figure(0.6 + 2.1 * columns, 0.7 + 1.9 * rows)
  panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
  for panel in panels.flat[len(kinds) :]:
    panel.set_visible(False)
  for panel, kind in zip(panels.flat, kinds, strict=False):
    for (label, one), (colour, dashes) in zip(curves.items(), itertools.cycle(figures.SERIES)):
      accuracy = one[kind]
      severity = np.arange(1, len(accuracy) + 1)
      panel.plot(
        severity, accuracy, color=colour, linestyle=dashes, linewidth=1.6, marker="o",
        markersize=3, label=label,
      )  # fmt: skip
      panel.set_xticks(severity)
    panel.set_ylim(0, 1)
    panel.set_title(_TITLES.get(kind, kind.replace("_", " ")), fontsize=9)
    figures.tidy(panel)
  figure.supxlabel("severity", fontsize=9)
  figure.supylabel("accuracy", fontsize=9)
  handles, labels = panels.flat[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
  return figure


def _labelled(data: Mapping[str, Any], label: str) -> dict[str, Any]:
  """{name in the legend: curve} of the sets of the first network, in the order of the legend."""
  names = _LABELS | ({"distilled": label} if label else {})
  return {legend: data[name] for name, legend in names.items() if name in data}


def epsilon_axis(axes) -> None:
  """Epsilon in 1/255, doubling from one mark to the next, with room for zero."""
  from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

  axes.set_xscale("symlog", base=2, linthresh=1, linscale=1)
  axes.xaxis.set_major_locator(SymmetricalLogLocator(base=2, linthresh=1))
  axes.xaxis.set_minor_locator(NullLocator())
  axes.xaxis.set_major_formatter(FuncFormatter(lambda epsilon, _: f"{epsilon:g}"))
  axes.set_xlim(left=-0.1)
  axes.set_xlabel("epsilon, in 1/255 (l_inf)", fontsize=9)
