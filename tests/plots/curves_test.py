"""Curves draw the values given, with their band, on fitting scales."""

import numpy as np
import pytest

from ddjax.plots import curves, figures

_STEPS = np.array([0, 1, 10, 100])


def test_mean_and_range_over_replicas():
  values = np.array([[0.1, 0.3], [0.2, 0.6], [0.4, 0.8], [0.7, 0.9]])
  figure = curves.training_curves([], [curves.Curve("accuracy", _STEPS, values)])
  axes = figure.axes[1]
  np.testing.assert_allclose(axes.lines[0].get_ydata(), values.mean(1))
  corners = axes.collections[0].get_paths()[0].vertices
  assert [0, 0.1] in corners.tolist() and [100, 0.9] in corners.tolist()
  assert "2 replicas" in axes.get_legend().get_texts()[0].get_text()


def test_step_zero_has_a_place_on_the_logarithmic_axis():
  figure = curves.training_curves([], [curves.Curve("accuracy", _STEPS, _STEPS / 100)])
  axes = figure.axes[1]
  places = axes.transData.transform([(step, 0) for step in _STEPS])[:, 0]
  assert np.all(np.diff(places) > 5)
  assert np.ptp(np.diff(places)[1:]) < 1e-6 * places[-1]  # decades are equally wide


def test_loss_is_logarithmic_only_where_positive_and_far_apart():
  for lowest, scale in ((0.1, "log"), (0.3, "linear"), (0.0, "linear"), (-1.0, "linear")):
    loss = curves.Curve("loss", _STEPS, np.array([1.0, np.nan, lowest, 0.5]))
    assert curves.training_curves([loss], []).axes[0].get_yscale() == scale


def test_bands_and_references_are_in_the_legend(tmp_path):
  figure = curves.training_curves(
    [curves.Curve("loss", np.array([], int), np.array([]))],
    [curves.Curve(curves.TEST_CURVE_LABEL, _STEPS, _STEPS / 100)],
    bands=[curves.Band("random subset", 0.5, 0.4, 0.6)],
    references={"published": 0.8, "full": 0.9, "a": 0.1, "b": 0.2},
    title="KIP",
  )
  texts = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
  assert texts == [curves.TEST_CURVE_LABEL, "random subset", "published", "full", "a", "b"]
  figures.save_figure(figure, tmp_path / "curves.png")


def test_the_loss_stands_alone_where_there_is_no_accuracy():
  losses = [curves.Curve("loss", np.arange(3), np.ones(3))]
  nothing = curves.Curve("accuracy", np.zeros(0, int), np.zeros(0))
  assert len(curves.training_curves(losses, [nothing]).axes) == 1
  band = curves.Band("random subset", 0.5, 0.4, 0.6)
  assert len(curves.training_curves(losses, [nothing], bands=[band]).axes) == 2


def test_refuses_values_that_do_not_fit():
  with pytest.raises(ValueError, match=r"'loss' has values of shape \(3,\)"):
    curves.training_curves([curves.Curve("loss", _STEPS, np.zeros(3))], [])
