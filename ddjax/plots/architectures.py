"""Test accuracy of every set under every architecture, as a heat map and as a table."""

import csv
import io
from typing import TYPE_CHECKING, Mapping

import numpy as np

from ddjax.plots import matrices
from ddjax.types import Report

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SETS = {
  "": "distilled",
  "chosen_": "chosen by validation",
  "initial_": "step 0",
  "random_subset_": "random subset",
  "herding_": "herding",
  "k_center_": "k-centre",
  "k_means_": "k-means",
  "private_random_": "private random set",
  "full_": "full set",
}


def rows(report: Report) -> dict[str, list[float | None]]:
  """{set: accuracy under each architecture, None where not measured} of an accuracy report."""
  names = report.settings["architectures"]
  table = {
    label: [report.scalars.get(prefix + name) for name in names] for prefix, label in _SETS.items()
  }
  return {label: row for label, row in table.items() if any(value is not None for value in row)}


def draw(report: Report) -> "Figure":
  """The heat map of `rows`; cells without a figure are hatched."""
  table = rows(report)
  values = np.array([[np.nan if v is None else v for v in row] for row in table.values()])
  return matrices.heat_map(
    values,
    list(table),
    report.settings["architectures"],
    row_label="trained on",
    column_label="architecture",
    value_label="test accuracy",
    limits=(0.0, float(np.ceil(np.nanmax(values) * 10) / 10)),
  )


def as_csv(reports: Mapping[str, Report]) -> str:
  """The table with intervals: set, architecture, accuracy, low, high.

  Args:
    reports: {label: accuracy report}. Of several sets each has its label as its name, and what
      stands beside it is named `random subset of LABEL` and so on; of one the label is not shown.
  """
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow(["set", "architecture", "accuracy", "low", "high"])
  for label, report in reports.items():
    for prefix, name in _SETS.items():
      if len(reports) > 1:
        name = f"{name} of {label}" if prefix else label
      for network in report.settings["architectures"]:
        value = report.scalars.get(prefix + network)
        if value is not None:
          ends = report.interval.get(prefix + network, ["", ""])
          cells = [f"{cell:.4f}" if cell != "" else "" for cell in (value, *ends)]
          table.writerow([name, network, *cells])
  return text.getvalue()
