"""Figures of a report as strips: the distilled set and what it is held against, with intervals."""

from typing import TYPE_CHECKING, NamedTuple, Sequence

from ddjax.plots import figures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_LOOKS = {  # colour and marker, as on the page of a report
  "random subset": (figures.ORANGE, "s"),
  "step 0": (figures.GREY, "o"),
  "full set": (figures.GREEN, "D"),
}
_FIRST, _OTHER = (figures.BLUE, "o"), (figures.PURPLE, "^")
_STRIP_INCHES, _LEVEL_INCHES = 0.62, 0.2
_MOST = 24


class Mark(NamedTuple):
  """One value on a strip: label, value, and [low, high] or None."""

  label: str
  value: float
  interval: Sequence[float] | None


def draw(strips: Sequence[tuple[str, Sequence[Mark]]]) -> "Figure":
  """One strip for each figure, each with a scale of its own.

  Args:
    strips: (name of the figure, marks: the distilled set's first, then its baselines').
  Raises:
    ValueError: where there is nothing to draw, or more than 24 strips.
  """
  strips = [(name, list(marks)) for name, marks in strips if marks]
  if not strips:
    raise ValueError("There is nothing to draw: no figure of the report was measured.")
  if len(strips) > _MOST:
    raise ValueError(
      f"{len(strips)} figures are too many for one picture (at most {_MOST}); name some of them."
    )
  heights = [_STRIP_INCHES + _LEVEL_INCHES * len(marks) for _, marks in strips]
  figure = figures.new_figure(6.4, sum(heights))
  axes = figure.subplots(len(strips), 1, squeeze=False, height_ratios=heights)[:, 0]
  for ax, (name, marks) in zip(axes, strips, strict=True):
    _strip(ax, name, marks)
  return figure


def _strip(ax, name: str, marks: Sequence[Mark]) -> None:
  """Draws one figure's marks, the first on top."""
  places = range(len(marks))[::-1]
  for place, (number, mark) in zip(places, enumerate(marks), strict=True):
    colour, marker = _FIRST if number == 0 else _LOOKS.get(mark.label, _OTHER)
    if mark.interval is not None:
      ax.plot(mark.interval, [place] * 2, color=colour, alpha=0.45, linewidth=3)
    ax.plot(mark.value, place, marker, color=colour, markersize=6)
  ax.set_yticks(list(places), [figures.as_text(mark.label) for mark in marks], fontsize=8)
  ax.set_ylim(-0.6, len(marks) - 0.4)
  ax.set_title(name.replace("$", r"\$"), loc="left", fontsize=9, color=figures.BLACK)
  figures.tidy(ax)
  ax.tick_params(axis="y", length=0)
