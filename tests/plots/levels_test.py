"""Strips of figures: a mark for each set, at its value, with its interval."""

import numpy as np
import pytest

from ddjax.plots import figures, levels
from ddjax.plots.levels import Mark


def _strips(count=2):
  marks = [Mark("distilled", 0.9, [0.8, 0.95]), Mark("random subset", 0.5, None)]
  return [(f"figure ${number}", marks) for number in range(count)]


def test_every_mark_lies_at_its_value():
  figure = levels.draw([*_strips(), ("not measured", [])])
  assert len(figure.axes) == 2  # what was not measured has no strip
  interval, first, second = figure.axes[0].lines
  np.testing.assert_allclose(interval.get_xdata(), [0.8, 0.95])
  assert (first.get_xdata()[0], first.get_ydata()[0]) == (0.9, 1)
  assert (second.get_xdata()[0], second.get_ydata()[0]) == (0.5, 0)
  assert first.get_color() == figures.BLUE and second.get_color() == figures.ORANGE
  names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
  assert names == ["distilled", "random subset"]
  assert figure.axes[1].get_title(loc="left") == r"figure \$1"


def test_a_notebook_gets_a_png():
  png = levels.draw(_strips())._repr_png_()
  assert png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) > 2000


@pytest.mark.parametrize(
  "strips, message",
  [([], "nothing to draw"), ([("one", [])], "nothing"), (_strips(25), "25 figures")],
)
def test_nothing_and_too_much_are_refused(strips, message):
  with pytest.raises(ValueError, match=message):
    levels.draw(strips)
