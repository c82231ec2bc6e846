"""Figures beside what they are held against, and how they are written out."""

import math

import numpy as np
import pytest

from ddjax.io import comparisons


def test_a_difference_of_sets_has_an_interval_where_both_have_one():
  one, other = (comparisons.Level(name, 0.5, [0.4, 0.6]) for name in "ab")
  found = comparisons.difference(one, other)
  assert found == comparisons.Level("b", 0.0, pytest.approx([-math.sqrt(0.02), math.sqrt(0.02)]))
  assert comparisons.difference(one, other._replace(interval=None)).interval is None
  assert comparisons.difference(one, other._replace(value=None)) is None
  beyond = comparisons.Level("c", 0.5, [0.55, 0.8])  # of a figure whose noise was taken out
  assert comparisons.difference(beyond, other).interval == pytest.approx(
    [0.0 - 0.1, math.hypot(0.3, 0.1)]
  )


def test_differences_of_independent_figures_hold_the_truth():
  rng = np.random.default_rng(0)
  half, hits = 1.96 * np.array([0.02, 0.05]), 0
  for _ in range(2000):
    levels = [
      comparisons.Level("", value, [value - wide, value + wide])
      for value, wide in zip(rng.normal([0.7, 0.6], [0.02, 0.05]), half)
    ]
    low, high = comparisons.difference(*levels).interval
    hits += low < 0.1 < high
  assert 0.935 < hits / 2000 < 0.965


@pytest.mark.parametrize(
  ("axis", "key", "expected"),
  [
    ("privacy", "lira_auc", True),
    ("privacy", "lira_tpr_at_1_percent_fpr", True),
    ("privacy", "nearest_is_train_pixels", True),
    ("privacy", "member_accuracy", False),
    ("fairness", "accuracy_gap", True),
    ("fairness", "worst_class_accuracy", False),
    ("fairness", "deo_max", True),
    ("accuracy", "convnet", False),
  ],
)
def test_less_is_better(axis, key, expected):
  assert comparisons.is_better_low(axis, key) == expected


def test_minus_signs_are_one_kind():
  assert comparisons.format_interval([-0.25, 0.5]) == "[−0.250, 0.500]"
  assert (
    comparisons.format_signed(-0.25) == "−0.250" and comparisons.format_number(-0.0001) == "0.000"
  )
