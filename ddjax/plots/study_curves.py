"""Figures of a study made of lines: cost, what a set is worth, attacks, all axes at once."""

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from ddjax.plots import figures
from ddjax.plots.robustness import epsilon_axis
from ddjax.plots.study_marks import style

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_REFERENCES = {"random subset": (figures.GREY, "--"), "full set": (figures.BLACK, ":")}
_COLUMNS = 2
_UNITS = {"flops": "operations to make the set", "seconds": "seconds to make the set"}


def worth(data: Mapping[str, Any]) -> "Figure":
  """The accuracy of random subsets by size, and the distilled sets at their own size.

  Args:
    data: {"curve": [[size, accuracy]], "points": [{"label", "size", "own", "worth"}]}; a dotted
      line leads from each set to the size that it is worth.
  """
  sizes, values = zip(*data["curve"])
  figure = figures.new_figure(6.8, 4.2)
  axes = figure.subplots()
  axes.plot(
    sizes, values, color=figures.GREY, linestyle="--", linewidth=1.6, marker="o", markersize=3,
    label="random real subsets",
  )  # fmt: skip
  labels = list(dict.fromkeys(point["label"] for point in data["points"]))
  for place, label in enumerate(labels):
    look = style(place)
    own = [point for point in data["points"] if point["label"] == label]
    for point in own:
      axes.hlines(
        point["own"]["value"], point["size"], point["worth"], color=look["color"], linewidth=0.9,
        linestyle=":",
      )  # fmt: skip
    axes.plot(
      [point["size"] for point in own], [point["own"]["value"] for point in own], **look,
      markersize=5.5, linestyle="none", label=label,
    )  # fmt: skip
  axes.set_xscale("log")
  axes.xaxis.set_major_formatter(lambda size, _: f"{size:g}")
  axes.set_xlabel("images in the set", fontsize=9)
  axes.set_ylabel("test accuracy", fontsize=9)
  figures.tidy(axes)
  axes.legend(fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
  return figure


def pareto(data: Mapping[str, Any]) -> "Figure":
  """Accuracy against cost; sets that none beats in both are joined, larger marks have more images.

  Args:
    data: {"panels": {title: [{"label", "ipc", "own", "cost" > 0, "on_front"}]}, "unit": flops or
      seconds}; the title of a single panel is not shown.
  """
  panels = data["panels"]
  every = [point for points in panels.values() for point in points]
  labels = list(dict.fromkeys(point["label"] for point in every))
  ipcs = sorted({point["ipc"] for point in every}, key=lambda ipc: ipc or 0)
  sizes = {ipc: 4.5 + 2.5 * place for place, ipc in enumerate(ipcs)}
  figure, grid = _panels(len(panels), width=6.5 if len(panels) == 1 else 3.9)
  for axes, (title, points) in zip(grid, panels.items()):
    front = sorted((point["cost"], point["own"]["value"]) for point in points if point["on_front"])
    axes.step(*zip(*front), where="post", color=figures.GREY, linewidth=1, linestyle="--")
    for point in points:
      look, own = style(labels.index(point["label"])), point["own"]
      if None not in (own["low"], own["high"]):
        axes.vlines(
          point["cost"], own["low"], own["high"], color=look["color"], linewidth=1, alpha=0.6
        )
      axes.plot(
        point["cost"], own["value"], **look, markersize=sizes[point["ipc"]],
        markeredgecolor="white", markeredgewidth=0.4, linestyle="none",
      )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(_UNITS[data["unit"]], fontsize=9)
    axes.set_title(title if len(panels) > 1 else "", fontsize=9)
    figures.tidy(axes)
  for place, label in enumerate(labels):
    grid[0].plot([], [], **style(place), markersize=5.5, linestyle="none", label=label)
  for ipc, size in sizes.items() if len(sizes) > 1 else ():
    grid[0].plot(
      [], [], "o", color=figures.GREY, markersize=size, linestyle="none", label=f"{ipc} a class"
    )
  grid[0].set_ylabel("test accuracy", fontsize=9)
  _legend(figure, grid)
  return figure


def epsilon_panels(data: Mapping[str, Any]) -> "Figure":
  """Accuracy under PGD against epsilon: one panel a setting, one curve a method.

  Args:
    data: {"panels": {title: {label: {"epsilon", "accuracy", "low", "high"}}}}, epsilon in pixels.
  """
  panels = data["panels"]
  names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
  methods = [name for name in names if name not in _REFERENCES]
  figure, grid = _panels(len(panels))
  for axes, (title, curves) in zip(grid, panels.items()):
    for name, curve in curves.items():
      epsilon = 255 * np.asarray(curve["epsilon"], np.float64)
      if name in _REFERENCES:
        colour, dashes = _REFERENCES[name]
        look = {"color": colour, "linestyle": dashes}
      else:
        look = style(methods.index(name))
        ends = [curve["low"], curve["high"]]
        if None not in [*ends[0], *ends[1]]:
          axes.fill_between(epsilon, *ends, color=look["color"], alpha=0.15, linewidth=0)
      axes.plot(epsilon, curve["accuracy"], **look, linewidth=1.4, markersize=3.5, label=name)
    epsilon_axis(axes)
    axes.set_ylim(0, 1)
    axes.set_title(title, fontsize=9)
    figures.tidy(axes)
  grid[0].set_ylabel("accuracy under PGD", fontsize=9)
  _legend(figure, grid)
  return figure


def parallel(data: Mapping[str, Any]) -> "Figure":
  """Parallel coordinates: one line a method over all axes, the best on top.

  Args:
    data: {"panels": {title: {"axes": [{"name", "figure", "is_higher_better"}], "lines": {method:
      [number or None]}}}}. Every axis of a panel runs from its worst to its best figure.
  """
  panels = data["panels"]
  names = list(dict.fromkeys(name for panel in panels.values() for name in panel["lines"]))
  figure, grid = _panels(len(panels), height=3.6)
  for axes, (title, panel) in zip(grid, panels.items()):
    values = np.array(
      [[np.nan if value is None else value for value in row] for row in panel["lines"].values()],
      np.float64,
    )
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    heights = (values - low) / np.maximum(high - low, 1e-12)
    is_turned = np.array([not axis["is_higher_better"] for axis in panel["axes"]])
    heights = np.where(is_turned, 1 - heights, heights)
    for name, row in zip(panel["lines"], heights):
      look = style(names.index(name))
      axes.plot(range(len(row)), row, **look, linewidth=1.3, markersize=4.5, label=name)
    for place, (least, most, turned) in enumerate(zip(low, high, is_turned)):
      top, bottom = (least, most) if turned else (most, least)
      axes.axvline(place, color=figures.GREY, linewidth=0.8, zorder=0)
      axes.text(place, 1.04, f"{top:.3f}", ha="center", va="bottom", fontsize=7)
      axes.text(place, -0.04, f"{bottom:.3f}", ha="center", va="top", fontsize=7)
    labels = [f"{axis['name']}\n{_broken(axis['figure'])}" for axis in panel["axes"]]
    axes.set_xticks(range(len(labels)), labels, fontsize=7)
    axes.set_yticks([])
    axes.set_ylim(-0.16, 1.16)
    axes.set_xlim(-0.35, len(labels) - 0.65)
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
  _legend(figure, grid)
  return figure


def _broken(text: str) -> str:
  """A name in two lines where it is long."""
  head, _, tail = text.rpartition(" ")
  return f"{head}\n{tail}" if len(text) > 13 and head else text


def _panels(count: int, height: float = 3.3, width: float = 3.9):
  """A figure with so many panels, two a row, sizes in inches; those beyond the last are hidden."""
  columns = min(_COLUMNS, max(count, 1))
  rows = -(-max(count, 1) // columns)
  figure = figures.new_figure(width * columns + 0.3, height * rows + 0.5)
  grid = list(figure.subplots(rows, columns, squeeze=False).flat)
  for axes in grid[count:]:
    axes.set_visible(False)
  return figure, grid[: max(count, 1)]


def _legend(figure, grid: Sequence[Any]) -> None:
  """One legend for all panels, above them."""
  found: dict[str, Any] = {}
  for axes in grid:
    for handle, label in zip(*axes.get_legend_handles_labels()):
      found.setdefault(label, handle)
  figure.legend(
    list(found.values()), list(found), loc="outside upper left", ncols=5, frameon=False,
    fontsize=7.5,
  )  # fmt: skip
