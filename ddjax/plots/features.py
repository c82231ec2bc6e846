"""Where distilled images lie among real ones: PCA, t-SNE, and the two numbers of every class."""

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ddjax.plots import figures
from ddjax.types import Report

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SETS = {  # in the order of drawing: marker, size, width of the edge
  "real": (".", 14, 0.0),
  "random_subset": ("^", 34, 0.6),
  "distilled": ("o", 40, 1.1),
}
_LABELS = {"real": "real", "random_subset": "random subset", "distilled": "distilled"}
_TITLES = {"pca": "PCA of real images", "tsne": "t-SNE of all"}
_MOST_NAMED = 20


def draw(report: Report, class_names: Sequence[str]) -> dict[str, "Figure"]:
  """The figure of a features report, {"features": figure}; nothing where none was measured.

  Args:
    report: of `ddjax.evaluators.features`.
    class_names: k names.
  """
  if "coordinates" not in report.settings:
    return {}
  figure = figures.new_figure(12.2, 4.6)
  panels = figure.subplots(1, 3, width_ratios=(1, 1, 0.62))
  colours = _colours(len(class_names))
  for axes, (kind, title) in zip(panels, _TITLES.items()):
    _scatter(axes, report, kind, colours)
    axes.set_title(title, fontsize=10, color=figures.BLACK)
  _numbers(panels[2], report, class_names, colours)
  _legend(panels[0])
  return {"features": figure}


def _scatter(axes, report: Report, kind: str, colours: np.ndarray) -> None:
  """One picture: class by colour, set by marker."""
  coordinates, classes = report.settings["coordinates"][kind], report.settings["classes"]
  for order, (name, (marker, size, edge)) in enumerate(_SETS.items()):
    if name not in coordinates:
      continue
    places = np.array(coordinates[name])
    axes.scatter(
      *places.T, c=colours[classes[name]], marker=marker, s=size, zorder=2 + order,
      alpha=0.4 if name == "real" else 1.0, linewidths=edge,
      edgecolors="none" if name == "real" else "white" if name == "random_subset" else "black",
    )  # fmt: skip
  axes.set_xticks([])
  axes.set_yticks([])
  axes.spines[:].set_color(figures.PALE)
  if kind == "pca":
    first, second = report.settings["explained_variance"]
    axes.set_xlabel(f"{first:.0%} of the variance", fontsize=8, color=figures.GREY)
    axes.set_ylabel(f"{second:.0%} of the variance", fontsize=8, color=figures.GREY)


def _numbers(axes, report: Report, class_names: Sequence[str], colours: np.ndarray) -> None:
  """Distance of class means, with the p-value beside it where there is room."""
  is_named = len(class_names) <= _MOST_NAMED
  places = np.arange(len(class_names))
  for key, offset, marker, edge in (
    ("random_subset_", 0.17, "^", "none"),
    ("", -0.17, "o", "black"),
  ):
    distances = report.per_class.get(f"{key}distance")
    if distances is None:
      continue
    distances = np.array(distances, np.float64)
    axes.scatter(
      distances, places + offset, c=colours, marker=marker, s=30 if is_named else 10,
      edgecolors=edge, linewidths=1.0,
    )  # fmt: skip
    for place, distance, p_value in zip(places, distances, report.per_class[f"{key}p_value"]):
      if is_named and p_value is not None:
        axes.annotate(
          _p_text(p_value), (distance, place + offset), xytext=(6, 0), textcoords="offset points",
          fontsize=6.5, va="center", color=figures.BLACK if p_value < 0.05 else figures.GREY,
        )  # fmt: skip
  axes.set_yticks(
    places if is_named else [], [figures.as_text(name) for name in class_names] if is_named else []
  )
  axes.invert_yaxis()
  axes.margins(x=0.2)
  axes.set_xlim(left=0)
  axes.set_xlabel("distance of class means from real ones\n(within-class std), p-value", fontsize=8)
  figures.tidy(axes)


def _p_text(p_value: float) -> str:
  """A p-value in a few characters, `p .004`."""
  return f"p {p_value:.3f}".replace("0.", ".")


def _legend(axes) -> None:
  """Names the markers."""
  from matplotlib.lines import Line2D

  handles = [
    Line2D(
      [], [], linestyle="", marker=marker, color=figures.GREY, label=_LABELS[name],
      markersize=size**0.5, markeredgewidth=edge,
      markeredgecolor="black" if name == "distilled" else figures.GREY,
    )
    for name, (marker, size, edge) in _SETS.items()
  ]  # fmt: skip
  axes.legend(
    handles=handles, fontsize=8, frameon=False, ncols=3, loc="lower left",
    bbox_to_anchor=(0, 1.06), borderaxespad=0, handletextpad=0.2,
  )  # fmt: skip


def _colours(count: int) -> np.ndarray:
  """RGBA f[count 4]: ten that are told apart, or as many as there are classes around a circle."""
  import matplotlib

  if count <= 10:
    return matplotlib.colormaps["tab10"](np.arange(count))
  return matplotlib.colormaps["hsv"](np.arange(count) / count)
