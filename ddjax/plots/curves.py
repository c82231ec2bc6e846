"""Loss and accuracy over steps."""

import itertools
from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence

import numpy as np

from ddjax.plots import figures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

TEST_CURVE_LABEL = "running curve on the test set; selects nothing"
_REFERENCE_DASHES = ((0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)))


class Curve(NamedTuple):
  """One quantity over steps.

  Attributes:
    label: for the legend.
    steps: i[t].
    values: f[t], or f[t r] where each of r replicas has its own; NaN is left blank.
  """

  label: str
  steps: np.ndarray
  values: np.ndarray


class Band(NamedTuple):
  """A level with its interval, the same at every step: label, value, low, high."""

  label: str
  value: float
  low: float
  high: float


def training_curves(
  losses: Sequence[Curve],
  accuracies: Sequence[Curve],
  *,
  bands: Sequence[Band] = (),
  references: Mapping[str, float] | None = None,
  title: str = "",
) -> "Figure":
  """Loss on the left, accuracy on the right, both over the logarithm of the step.

  Where there is no accuracy to draw, the loss stands alone. Step 0 has its place at the left edge.
  Of a curve with replicas the mean is drawn, and a band from the smallest to the largest.

  Args:
    losses: curves of the loss, drawn on a logarithmic scale where all values are positive and
      the largest is more than five times the smallest.
    accuracies: curves of fractions; label one on the test set with `TEST_CURVE_LABEL`.
    bands: levels of comparison with an interval, such as random subsets of equal size.
    references: {label: accuracy} of lines to compare with, such as published figures.
    title: above both.
  Raises:
    ValueError: for a curve whose values do not fit its steps.
  """
  accuracies = [curve for curve in accuracies if len(curve.steps)]
  has_accuracy = bool(accuracies or bands or references)
  figure = figures.new_figure(9.6 if has_accuracy else 4.8, 4.0)
  left, *others = np.ravel(figure.subplots(1, 2 if has_accuracy else 1))
  _draw(left, losses)
  _loss_axis(left, np.concatenate([np.ravel(curve.values) for curve in losses] or [[]]))
  for right in others:
    _draw(right, accuracies)
    for band in bands:
      right.axhspan(band.low, band.high, color=figures.GREY, alpha=0.25, linewidth=0)
      right.axhline(band.value, color=figures.GREY, linewidth=1.2, label=band.label)
    lines = zip((references or {}).items(), itertools.cycle(_REFERENCE_DASHES))
    for (label, value), dashes in lines:
      right.axhline(value, color=figures.BLACK, linewidth=1, linestyle=dashes, label=label)
    right.set_ylabel("accuracy", fontsize=9)
  for axes in (left, *others):
    _step_axis(axes)
    figures.tidy(axes)
    if axes.get_legend_handles_labels()[0]:
      axes.legend(
        fontsize=7.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2
      )
  if title:
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
  return figure


def _draw(axes, curves: Sequence[Curve]) -> None:
  """Draws each curve in its own colour and dashes, with a band over replicas."""
  for place, curve in enumerate(curves):
    colour, dashes = figures.SERIES[place % len(figures.SERIES)]
    steps, values = np.asarray(curve.steps), np.asarray(curve.values, np.float64)
    if steps.ndim != 1 or values.shape[:1] != steps.shape or values.ndim > 2:
      raise ValueError(
        f"Curve {curve.label!r} has values of shape {values.shape} at steps of shape {steps.shape}."
      )
    label = curve.label
    if values.ndim == 2 and values.shape[1] > 1:
      axes.fill_between(steps, values.min(1), values.max(1), color=colour, alpha=0.22, linewidth=0)
      label = f"{label}\n(mean and range of {values.shape[1]} replicas)"
    values = values.mean(1) if values.ndim == 2 else values
    marker = "o" if len(steps) <= 30 else None
    axes.plot(
      steps, values, color=colour, linestyle=dashes, linewidth=1.6, marker=marker, markersize=3,
      label=label,
    )  # fmt: skip


def _loss_axis(axes, values: np.ndarray) -> None:
  """A logarithmic axis of losses, where all are positive and far apart."""
  from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

  values = values[~np.isnan(values)]
  if len(values) and values.max() > 5 * values.min() > 0:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
  axes.set_ylabel("loss", fontsize=9)


def _step_axis(axes) -> None:
  """A logarithmic axis of steps that has room for step 0."""
  from matplotlib.ticker import FuncFormatter, NullLocator

  axes.set_xscale("symlog", linthresh=1, linscale=0.4)
  axes.xaxis.set_minor_locator(NullLocator())
  axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
  axes.set_xlim(left=-0.1)
  axes.set_xlabel("step", fontsize=9)
