"""Training losses of experts over epochs."""

import numpy as np

from ddjax.plots import figures


def loss_curves(losses: np.ndarray):
  """A figure of the mean loss over experts, with their range.

  Args:
    losses: f32[epochs experts], of epochs 1, 2, ...
  Returns:
    the figure.
  """
  figure = figures.new_figure(5.6, 3.6)
  axes = figure.subplots()
  epochs = np.arange(1, len(losses) + 1)
  colour, _ = figures.SERIES[0]
  axes.fill_between(
    epochs, losses.min(axis=1), losses.max(axis=1), color=colour, alpha=0.22, linewidth=0
  )
  marker = "o" if len(epochs) <= 30 else None
  label = f"mean and range of {losses.shape[1]} experts"
  axes.plot(
    epochs, losses.mean(axis=1), color=colour, linewidth=1.6, marker=marker, markersize=3,
    label=label,
  )  # fmt: skip
  axes.set_xlabel("epoch", fontsize=9)
  axes.set_ylabel("training loss, last step of the epoch", fontsize=9)
  axes.xaxis.get_major_locator().set_params(integer=True)  # pyright: ignore[reportCallIssue]
  figures.tidy(axes)
  axes.legend(fontsize=8, frameon=False)
  return figure
