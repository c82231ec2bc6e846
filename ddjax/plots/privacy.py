"""Membership inference and copies: ROC curves on logarithmic axes, and the closest pairs."""

import itertools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from ddjax.plots import figures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SETS = {"": "distilled", "random_subset_": "random subset", "full_": "full set"}
_ATTACKS = {"lira": "LiRA", "loss": "loss"}
_LEAST_RATE = 1e-4
_CELL_INCHES = 0.75

Roc = Mapping[str, Mapping[str, list[float]]]
"""{prefix of the set + attack: {"fpr": f[q], "tpr": f[q]}}, as a privacy report has it."""


def draw_roc(
  roc: Roc,
  others: Mapping[str, Roc] = MappingProxyType({}),
  promise: Mapping[str, Any] | None = None,
  label: str = "",
) -> "Figure":
  """One panel for each attack, one curve for each set, with the diagonal of guessing.

  Args:
    roc: of a distilled set and what stands beside it.
    others: {label: roc} of further distilled sets, each one more curve.
    promise: of a private set, as its report has it: the rates "tpr" at "fpr" that no attack
      exceeds become a line, named by its "epsilon".
    label: of the distilled set; "" calls it "distilled".
  """
  shown = [attack for attack in _ATTACKS if any(f"{prefix}{attack}" in roc for prefix in _SETS)]
  figure = figures.new_figure(4.6 * max(len(shown), 1), 4.2)
  ends = [_LEAST_RATE, 1]
  names = _SETS | ({"": label} if label else {})
  for axes, attack in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown):
    curves = {name: roc.get(f"{prefix}{attack}") for prefix, name in names.items()}
    curves |= {name: one.get(attack) for name, one in others.items()}
    for (name, curve), (colour, dashes) in zip(curves.items(), itertools.cycle(figures.SERIES)):
      if curve:
        fpr, tpr = (np.maximum(curve[rate], _LEAST_RATE) for rate in ("fpr", "tpr"))
        axes.plot(fpr, tpr, color=colour, linestyle=dashes, linewidth=1.6, label=name)
    axes.plot(
      ends, ends, color=figures.GREY, linewidth=1, linestyle=(0, (1, 1.5)), label="guessing"
    )
    if promise:
      bound = f"no attack above, epsilon {promise['epsilon']:.3g}"
      axes.plot(promise["fpr"], promise["tpr"], color=figures.GREY, linewidth=1.6, label=bound)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axes.set_xlabel("false positive rate", fontsize=9)
    axes.set_ylabel("true positive rate", fontsize=9)
    axes.set_title(_ATTACKS[attack], fontsize=10)
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    figures.tidy(axes)
  return figure


def draw_pairs(
  pairs: list[dict[str, Any]], synthetic: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> "Figure":
  """Synthetic images over their nearest train and held-out images, with the distances.

  Args:
    pairs: `closest_pairs_...` of a privacy report.
    synthetic: pixels f32[n h w c], clipped for the picture.
    train: pixels f32[p h w c] of the pairs' train images.
    held_out: likewise.
  """
  figure = figures.new_figure(_CELL_INCHES * len(pairs) + 1.1, 3 * _CELL_INCHES + 1.0)
  rows = {
    "synthetic": np.asarray(synthetic)[[pair["synthetic"] for pair in pairs]],
    "nearest train": np.asarray(train),
    "nearest held out": np.asarray(held_out),
  }
  distances = {"nearest train": "distance_to_train", "nearest held out": "distance_to_held_out"}
  grid = figure.subplots(len(rows), len(pairs), squeeze=False)
  for line, (label, images) in zip(grid, rows.items()):
    line[0].set_ylabel(label, fontsize=7.5, rotation=0, ha="right", va="center")
    for axes, image, pair in zip(line, images, pairs):
      image = np.clip(image, 0, 1)
      axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=1)
      axes.set(xticks=[], yticks=[])
      axes.spines[:].set_visible(False)
      if label in distances:
        axes.set_xlabel(f"{pair[distances[label]]:.3f}", fontsize=7, labelpad=2)
  return figure


def draw_cells(aucs: Mapping[str, Mapping[str, Sequence[float]]], attack: str) -> "Figure":
  """Areas under the ROC curve with intervals, a row for each cell, a mark for each set.

  Args:
    aucs: {set: {cell: (value, low, high)}}.
    attack: whose areas they are, for the axis.
  """
  cells = list(dict.fromkeys(cell for of_set in aucs.values() for cell in of_set))
  figure = figures.new_figure(6.4, 0.42 * len(cells) + 1.3)
  axes = figure.subplots()
  shown = [name for name in aucs if aucs[name]]
  for place, (name, (colour, _)) in enumerate(zip(shown, figures.SERIES)):
    rows = np.array([cells.index(cell) for cell in aucs[name]]) + 0.22 * (place - 1)
    values, low, high = np.array(list(aucs[name].values())).T
    axes.hlines(rows, low, high, color=colour, linewidth=1.4)
    axes.plot(
      values, rows, "os^"[place % 3], color=colour, markersize=4.5, label=name.replace("_", " ")
    )
  axes.axvline(0.5, color=figures.GREY, linewidth=1, linestyle=(0, (1, 1.5)))
  axes.set_yticks(range(len(cells)), cells, fontsize=8)
  axes.invert_yaxis()
  axes.set_xlabel(f"area under the ROC curve of {attack}; guessing at the dotted line", fontsize=9)
  figures.tidy(axes)
  if shown:
    axes.legend(
      fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(shown)
    )
  return figure
