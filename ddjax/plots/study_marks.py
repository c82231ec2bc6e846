"""Figures of a study made of marks: dots with intervals, accuracy against cost, matrices."""

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from ddjax.plots import ablation, figures, matrices

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_BESIDE = {
  "random subset": (figures.ORANGE, "s"),
  "herding": (figures.GREEN, "^"),
  "k-means": (figures.PURPLE, "D"),
  "full set": (figures.BLACK, "|"),
}


def style(place: int) -> dict[str, Any]:
  """Colour and marker of a series by its place, told apart in black and white too."""
  return {
    "color": figures.MANY[place % len(figures.MANY)],
    "marker": figures.MARKERS[place % len(figures.MARKERS)],
  }


def dots(data: Mapping[str, Any]) -> "Figure":
  """One row a set: its figure with the 95 % interval, and open marks of what stands beside it.

  Args:
    data: {"marks": [{"label", "group", "own": {"value", "low", "high"}, "beside": {name: the
      same}}], "axis": label, "line": where guessing lies, optional, "own_word": what the sets' own
      figures are called, "distilled" without}. Rows of one group stand together under its name.
  """
  marks = data["marks"]
  groups = list(dict.fromkeys(mark["group"] for mark in marks))
  ordered = [mark for group in groups for mark in marks if mark["group"] == group]
  places, titles, place = [], {}, 0.0
  for before, mark in zip([None, *ordered], ordered):
    if before is None or before["group"] != mark["group"]:
      place += 0.6 if before else 0.0
      titles[place] = mark["group"]
      place += 1.0
    places.append(place)
    place += 1.0
  figure = figures.new_figure(6.8, 0.2 * place + 1.1)
  axes = figure.subplots()
  if data.get("line") is not None:
    axes.axvline(data["line"], color=figures.GREY, linewidth=1, linestyle=(0, (1, 1.5)))
  for name, (colour, marker) in _BESIDE.items():
    points = [
      (mark["beside"][name]["value"], at)
      for mark, at in zip(ordered, places)
      if name in mark["beside"]
    ]
    if points:
      filled: dict[str, Any] = {} if marker == "|" else {"markerfacecolor": "none"}
      axes.plot(
        *zip(*points), marker, color=colour, markersize=5.5 if marker != "|" else 9, label=name,
        markeredgewidth=1.2, linestyle="none", **filled,
      )  # fmt: skip
  _bars(axes, [mark["own"] for mark in ordered], places, data.get("own_word", "distilled"))
  axes.set_yticks(
    [*titles, *places], [*titles.values(), *(mark["label"] for mark in ordered)], fontsize=8
  )
  for label in axes.get_yticklabels()[: len(titles)]:
    label.set_fontweight("bold")
  axes.set_ylim(place - 0.4, -0.7)
  axes.set_xlabel(data["axis"], fontsize=9)
  figures.tidy(axes)
  axes.tick_params(axis="y", length=0)
  axes.legend(fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=5)
  return figure


def _bars(axes, cells: Sequence[Mapping[str, Any]], places: Sequence[float], word: str) -> None:
  """The sets' own figures with their intervals."""
  for cell, at in zip(cells, places):
    if cell.get("low") is not None and cell.get("high") is not None:
      axes.hlines(at, cell["low"], cell["high"], color=figures.BLUE, linewidth=1.6)
  axes.plot(
    [cell["value"] for cell in cells], places, "o", color=figures.BLUE, markersize=4.5,
    label=word,
  )  # fmt: skip


def matrix(data: Mapping[str, Any]) -> "Figure":
  """A heat map of figures by row and column.

  Args:
    data: {"rows", "columns": names, "values": [[number or None]], "row_label", "column_label",
      "value_label"}.
  """
  return matrices.heat_map(
    _numbers(data["values"]),
    data["rows"],
    data["columns"],
    row_label=data["row_label"],
    column_label=data["column_label"],
    value_label=data["value_label"],
  )


def transfer(data: Mapping[str, Any]) -> "Figure":
  """Sets under other kernels: {"rows", "columns": names, "values": [[number or None]]}."""
  return ablation.kernel_ablation(_numbers(data["values"]), data["rows"], data["columns"])


def _numbers(values: Sequence[Sequence[float | None]]) -> np.ndarray:
  """f64, NaN for None."""
  return np.array([[np.nan if value is None else value for value in row] for row in values])
