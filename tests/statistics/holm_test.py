"""Holm's correction against the sums by hand, and against SciPy's family of tests."""

import numpy as np
import pytest

from ddjax.statistics.holm import adjusted, adjusted_columns, adjusted_known


def test_by_hand():
  # Sorted .01 .02 .03 .04, times 4 3 2 1: .04 .06 .06 .04, raised to the largest before: .06.
  assert adjusted([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])


def test_never_below_the_value_and_never_above_one():
  values = np.random.default_rng(0).random(50)
  found = adjusted(values)
  assert (found >= values).all() and (found <= 1).all()
  assert (np.diff(found[values.argsort()]) >= 0).all()


def test_tests_without_a_value_count_for_nothing():
  assert adjusted_known([0.01, None, 0.04, 0.03, None, 0.02]) == pytest.approx(
    [0.04, None, 0.06, 0.06, None, 0.06]
  )
  assert adjusted_known([None]) == [None] and adjusted_known([]) == []


def test_no_tests_and_one():
  assert adjusted([]).shape == (0,)
  assert adjusted([0.03]) == pytest.approx([0.03])


def test_errs_in_one_family_of_twenty_at_most():
  families = np.random.default_rng(1).random((2000, 8))
  rate = np.mean([(adjusted(values) < 0.05).any() for values in families])
  assert 0.03 < rate < 0.065


def test_refuses_what_is_no_p_value():
  with pytest.raises(ValueError, match="must lie in"):
    adjusted([0.5, 1.5])


def test_columns_of_a_table_are_one_family():
  columns = {"a": [0.01, None, 0.04], "b": [0.03]}
  found = adjusted_columns(columns)
  assert list(found) == [("a", 0), ("a", 2), ("b", 0)]
  assert list(found.values()) == pytest.approx(adjusted([0.01, 0.04, 0.03]))
  assert adjusted_columns({"a": [None]}) == {}
