"""Dots stand where the report says, with its intervals, in the order of the full set."""

import numpy as np

from ddjax.plots import fairness, figures
from ddjax.types import Report


def _report(per_class, **settings):
  intervals = {
    key: [None if v is None else [v - 0.1, v + 0.05] for v in values]
    for key, values in per_class.items()
  }
  settings = {"class_intervals": intervals} | settings
  return Report("fairness", {}, {}, {}, {}, per_class, settings)


def _dots(axes):
  return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_classes_stand_in_the_order_of_the_full_set(tmp_path):
  report = _report(
    {
      "accuracy": [0.5, 0.9, 0.7],
      "full_accuracy": [0.8, 0.7, 0.95],
      "random_subset_accuracy": [0.4] * 3,
    }
  )
  figure = fairness.draw(report, ["cat", "dog", "eel"])["fairness"]
  axes = figure.axes[0]
  assert [text.get_text() for text in axes.get_xticklabels()] == ["eel", "cat", "dog"]
  dots = _dots(axes)
  assert dots.keys() == {"full set", "random subset", "distilled"}
  np.testing.assert_array_equal(dots["distilled"].get_ydata(), [0.7, 0.5, 0.9])
  assert np.abs(dots["distilled"].get_xdata() - [0, 1, 2]).max() < 0.5
  ends = axes.collections[-1].get_segments()
  np.testing.assert_allclose(
    [segment[:, 1] for segment in ends], [[0.6, 0.75], [0.4, 0.55], [0.8, 0.95]]
  )
  figures.save_figure(figure, tmp_path / "fairness.png")


def test_without_a_full_set_and_without_examples_of_a_class():
  report = _report({"accuracy": [0.5, None, 0.7], "random_subset_accuracy": [0.4, None, 0.9]})
  axes = fairness.draw(report, "abc")["fairness"].axes[0]
  assert [text.get_text() for text in axes.get_xticklabels()] == ["c", "a", "b"]


def test_many_classes_have_no_names():
  report = _report({"accuracy": np.linspace(0, 1, 100).tolist()})
  axes = fairness.draw(report, [f"c{i}" for i in range(100)])["fairness"].axes[0]
  assert not axes.get_xticklabels()


def test_groups_have_a_heat_map_of_their_own():
  table = {"accuracy": [[1.0, 0.2], [None, 0.9]]}
  report = _report({"accuracy": [0.6, 0.5]}, accuracy_by_class_and_group=table)
  drawn = fairness.draw(report, "ab")
  shown = drawn["fairness_groups"].axes[0].images[0].get_array()
  assert shown.mask[1, 0] and shown[0, 1] == 0.2
