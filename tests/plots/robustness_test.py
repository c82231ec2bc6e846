"""The figures draw the numbers of the report, set by set."""

import numpy as np

from ddjax.plots import figures, robustness
from ddjax.types import Report


def _report(with_corruptions=True):
  epsilon = [0.0, 1 / 255, 8 / 255]
  curve = {
    name: {"epsilon": epsilon, "accuracy": values, "low": values, "high": [1.0, 1.0, 1.0]}
    for name, values in (
      ("distilled", [0.9, 0.6, 0.2]),
      ("full", [0.95, 0.7, 0.1]),
      ("distilled_mlp", [0.5, 0.5, 0.5]),
    )
  }
  kinds = {"blur": [0.9, 0.8, 0.7, 0.6, 0.5], "shot_noise": [0.5, 0.4, 0.3, 0.2, 0.1]}
  by_severity = dict.fromkeys(curve, kinds if with_corruptions else {})
  settings = {"curve": curve, "corruption_by_severity": by_severity}
  return Report("robustness", {}, {}, {}, {}, {}, settings)


def test_curves_of_every_set_with_their_band(tmp_path):
  figure = robustness.draw(_report())["robustness"]
  axes = figure.axes[0]
  assert [line.get_label() for line in axes.lines] == ["distilled", "full set"]
  np.testing.assert_allclose(axes.lines[0].get_xdata(), [0, 1, 8], atol=1e-9)
  np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.95, 0.7, 0.1])
  corners = axes.collections[0].get_paths()[0].vertices
  assert [0, 0.9] in corners.tolist() and [0, 1.0] in corners.tolist()
  figures.save_figure(figure, tmp_path / "curve.png")


def test_one_panel_a_corruption(tmp_path):
  figure = robustness.draw(_report())["corruptions"]
  panels = [axes for axes in figure.axes if axes.get_visible()]
  assert [panel.get_title() for panel in panels] == ["blur", "shot noise"]
  np.testing.assert_allclose(panels[1].lines[0].get_ydata(), [0.5, 0.4, 0.3, 0.2, 0.1])
  figures.save_figure(figure, tmp_path / "corruptions.png")


def test_further_sets_have_a_curve_in_every_panel():
  other = _report()
  other.settings["corruption_by_severity"] = {
    "distilled": {"blur": [0.1] * 5, "shot_noise": [0.2] * 5}
  }
  made = robustness.draw(_report(), {"theirs": other}, "mine")
  for figure, value in ((made["robustness"], [0.9, 0.6, 0.2]), (made["corruptions"], [0.1] * 5)):
    line = figure.axes[0].lines[-1]
    assert line.get_label() == "theirs"
    assert figure.axes[0].lines[0].get_label() == "mine"
    np.testing.assert_allclose(line.get_ydata(), value)


def test_without_corruptions_there_is_one_figure():
  assert list(robustness.draw(_report(with_corruptions=False))) == ["robustness"]
