"""Confusion matrices against scikit-learn, and what stands in the cells."""

import numpy as np
import pytest
from sklearn import metrics

from ddjax.plots import confusion, figures, matrices


def test_counts_and_shares_agree_with_scikit_learn(tmp_path):
  rng = np.random.default_rng(0)
  true, predicted = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
  counts = confusion.confusion_counts(true, predicted, 4)
  np.testing.assert_array_equal(counts, metrics.confusion_matrix(true, predicted, labels=range(4)))
  figure = confusion.confusion_matrix(counts, "abcd")
  shown = figure.axes[0].images[0].get_array()
  np.testing.assert_allclose(shown[:3].sum(-1), 1)
  np.testing.assert_allclose(shown[:3], counts[:3] / counts[:3].sum(-1, keepdims=True))
  assert shown.mask[3].all()  # no example of the last class: no share
  assert len(figure.axes[0].texts) == 12
  figures.save_figure(figure, tmp_path / "confusion.png")


def test_many_classes_have_no_numbers():
  figure = confusion.confusion_matrix(np.eye(30), [f"c{i}" for i in range(30)])
  assert not figure.axes[0].texts


def test_refuses_names_that_do_not_fit():
  with pytest.raises(ValueError, match=r"\(4, 4\).*3 row"):
    confusion.confusion_matrix(np.eye(4), "abc")


@pytest.mark.parametrize(
  ("value", "text"),
  [(0, "0"), (0.004, ".00"), (0.984, ".98"), (0.996, ".99+"), (1, "1"), (-0.05, "-0.05")],
)
def test_numbers(value, text):
  assert matrices.number(value) == text
