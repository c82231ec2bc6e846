"""Figures of privacy reports: what they show, and that they survive missing parts."""

import numpy as np

from ddjax.plots import privacy

_CURVE = {"fpr": [0.001, 0.01, 1.0], "tpr": [0.0, 0.1, 1.0]}


def test_each_attack_has_a_panel_and_each_set_a_curve():
  roc = {"lira": _CURVE, "random_subset_lira": _CURVE, "loss": _CURVE}
  figure = privacy.draw_roc(roc, {"other": {"lira": _CURVE}})
  lira, loss = figure.axes
  labels = [text.get_text() for text in lira.get_legend().get_texts()]
  assert labels == ["distilled", "random subset", "other", "guessing"]
  assert [text.get_text() for text in loss.get_legend().get_texts()] == ["distilled", "guessing"]
  drawn = lira.lines[0].get_ydata()
  assert drawn.min() > 0 and lira.get_xscale() == lira.get_yscale() == "log"
  assert privacy.draw_roc({}).axes
  named = privacy.draw_roc(roc, {"other": {"lira": _CURVE}}, label="mine").axes[0].get_legend()
  assert [text.get_text() for text in named.get_texts()][0] == "mine"


def test_the_promise_of_a_private_set_is_a_line_over_the_curves():
  promise = {"epsilon": 1.04, "fpr": [1e-4, 1e-2, 1.0], "tpr": [3e-4, 3e-2, 1.0]}
  figure = privacy.draw_roc({"lira": _CURVE}, promise=promise)
  (line,) = [line for line in figure.axes[0].lines if "epsilon 1.04" in line.get_label()]
  np.testing.assert_array_equal(line.get_data(), [promise["fpr"], promise["tpr"]])


def test_pairs_stand_over_their_neighbours():
  images = np.linspace(-0.2, 1.2, 3 * 16, dtype=np.float32).reshape(3, 4, 4, 1)
  pairs = [
    dict(synthetic=2, train=9, held_out=1, distance_to_train=0.125, distance_to_held_out=0.25)
  ]
  figure = privacy.draw_pairs(pairs, images, images[:1], images[1:2])
  top, middle, bottom = figure.axes
  np.testing.assert_allclose(top.images[0].get_array(), np.clip(images[2, ..., 0], 0, 1))
  assert middle.get_xlabel() == "0.125" and bottom.get_xlabel() == "0.250"


def test_cells_are_rows():
  aucs = {
    "distilled": {"a": (0.6, 0.55, 0.65), "b": (0.5, 0.4, 0.6)},
    "full": {"b": (0.7, 0.6, 0.8)},
  }
  axes = privacy.draw_cells(aucs, "LiRA").axes[0]
  assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
  assert [text.get_text() for text in axes.get_legend().get_texts()] == ["distilled", "full"]
  assert privacy.draw_cells({"distilled": {}}, "LiRA").axes[0].get_legend() is None
