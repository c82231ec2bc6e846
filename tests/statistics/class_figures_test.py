"""Figures of accuracies by class on a hand-made table."""

import numpy as np
import pytest

from ddjax.statistics import class_figures

# Class 0: 3 of 4 right, class 1: 1 of 2, class 3: 1 of 1; class 2 has no example.
TRUE = np.array([0, 0, 0, 0, 1, 1, 3])
PREDICTED = np.array([[0, 0, 0, 1, 1, 0, 3], [1, 1, 1, 1, 0, 0, 0]])


@pytest.fixture
def table():
  return class_figures.class_accuracies(TRUE, PREDICTED, 4)


def test_accuracies_by_class(table):
  np.testing.assert_array_equal(table, [[0.75, 0.5, np.nan, 1.0], [0.0, 0.0, np.nan, 0.0]])


@pytest.mark.parametrize(
  ("measure", "expected"),
  [
    (class_figures.worst, [0.5, 0.0]),
    (class_figures.gap, [0.5, 0.0]),
    (class_figures.std, [(0.125 / 3) ** 0.5, 0.0]),  # of .75, .5, 1 about .75
    (class_figures.ratio, [0.5, 1.0]),
  ],
)
def test_figures(table, measure, expected):
  np.testing.assert_allclose(measure(table), expected, rtol=1e-15)
  np.testing.assert_array_equal(measure(table[None]), measure(table)[None])
  np.testing.assert_array_equal(measure(table[0]), measure(table)[0])
