"""Means over seeds against SciPy, and the coverage of Tukey's interval."""

import numpy as np
import pytest
import scipy.stats

from ddjax.statistics import over_seeds


def test_mean_is_the_interval_of_student():
  values = [0.80, 0.84, 0.79, 0.83]
  found = over_seeds.mean(values)
  expected = scipy.stats.ttest_1samp(values, 0.0)
  low, high = expected.confidence_interval(0.95)
  assert (found.low, found.high) == pytest.approx((low, high))
  assert found.p == pytest.approx(expected.pvalue)
  assert found.num_seeds == 4


def test_mean_is_cut_to_its_limits():
  found = over_seeds.mean([0.99, 0.90], (0.0, 1.0))
  assert found.high == 1.0 and found.low >= 0


def test_one_seed_has_no_interval_and_none_is_refused():
  assert over_seeds.mean([0.5]) == over_seeds.Estimate(0.5, None, None, None, 1)
  with pytest.raises(ValueError, match="no value"):
    over_seeds.mean([])


def test_values_that_never_vary():
  assert over_seeds.mean([0.1, 0.1]).p == 0.0
  assert over_seeds.mean([0.0, 0.0]).p == 1.0


def test_p_of_an_interval_agrees_with_it():
  assert over_seeds.from_interval(0.2, 0.0, 0.4).p == pytest.approx(0.05)
  assert over_seeds.from_interval(0.2, None, None).p is None
  assert over_seeds.from_interval(0.6, -0.1, 1.0).p > 0.05  # cut at one: the longer side counts
  assert over_seeds.from_interval(0.0, -0.1, 0.1).p == pytest.approx(1.0)


def test_difference_is_paired_by_seed():
  found = over_seeds.difference({0: 0.5, 1: 0.7, 2: 0.9}, {1: 0.6, 2: 0.8, 3: 0.0})
  assert found.value == pytest.approx(0.1) and found.num_seeds == 2
  assert over_seeds.difference({0: 1.0}, {1: 1.0}) is None


def test_balanced_keeps_a_full_rectangle():
  table = {"a": {0: 1.0, 1: 1.0}, "b": {0: 1.0}, "c": {0: 1.0, 1: 1.0}}
  assert over_seeds.balanced(table) == (["a", "c"], [0, 1])
  assert over_seeds.balanced({"a": {0: 1.0}, "b": {0: 1.0}, "c": {1: 1.0}}) == (["a", "b"], [0])
  assert over_seeds.balanced({}) == ([], [])
  # While a seed begins, or a row lacks seeds, most of the table stays.
  begun = {"a": {0: 1.0, 1: 1.0}} | {name: {0: 1.0} for name in "bcd"}
  assert over_seeds.balanced(begun) == (["a", "b", "c", "d"], [0])
  lacking = {name: dict.fromkeys(range(3), 1.0) for name in "abc"} | {"d": {0: 1.0}}
  assert over_seeds.balanced(lacking) == (["a", "b", "c"], [0, 1, 2])


def test_largest_difference_is_found_and_a_null_is_not():
  rng = np.random.default_rng(4)
  noise = rng.normal(scale=0.01, size=(5, 4))
  planted = over_seeds.largest_difference(noise + np.array([0, 0, 0, 0, 0.2])[:, None])
  assert planted.p < 1e-4 and planted.low > 0.1
  assert over_seeds.largest_difference(noise).p > 0.05


def test_largest_difference_of_two_is_the_paired_test_of_student():
  table = np.array([[0.1, 0.2, 0.4, 0.3], [0.2, 0.31, 0.5, 0.45]])
  found = over_seeds.largest_difference(table)
  expected = scipy.stats.ttest_rel(table[1], table[0])
  assert found.p == pytest.approx(expected.pvalue, rel=1e-4)
  interval = expected.confidence_interval(0.95)
  assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-3)


def test_largest_difference_ignores_what_a_seed_adds_to_all():
  table = np.array([[0.1, 0.2, 0.4], [0.2, 0.31, 0.5]])
  shifted = table + np.array([5.0, -3.0, 1.0])
  first, second = map(over_seeds.largest_difference, (table, shifted))
  assert first.p == pytest.approx(second.p) and first.value == pytest.approx(second.value)


def test_largest_difference_of_too_few():
  assert over_seeds.largest_difference(np.zeros((1, 3))) is None
  assert over_seeds.largest_difference(np.zeros((3, 1))) is None


def test_the_largest_of_several_is_corrected_for_the_choice():
  rows = [[0.1, 0.2, 0.15], [0.3, 0.35, 0.4], [0.0, 0.1, 0.2]]
  place, found = over_seeds.of_largest([over_seeds.mean(row) for row in rows])
  one = over_seeds.mean(rows[1])
  assert place == 1 and found.value == one.value and found.p == pytest.approx(3 * one.p)
  half = scipy.stats.t.ppf(1 - 0.05 / 6, 2) * np.std(rows[1], ddof=1) / np.sqrt(3)
  assert (found.low, found.high) == pytest.approx((0.35 - half, 0.35 + half))
  (place, found), one = over_seeds.of_largest([one]), one
  assert place == 0 and found == pytest.approx(one)


def test_the_largest_of_single_runs_is_corrected_too():
  one, other = (over_seeds.from_interval(value, value - 0.1, value + 0.1) for value in (0.2, 0.1))
  place, found = over_seeds.of_largest([other, one], (-1.0, 0.3))
  assert place == 1 and found.p == pytest.approx(2 * one.p)
  factor = scipy.stats.norm.ppf(0.9875) / scipy.stats.norm.ppf(0.975)
  assert (found.low, found.high) == pytest.approx((0.2 - 0.1 * factor, 0.3))
  without = over_seeds.mean([0.5])
  place, found = over_seeds.of_largest([without, one])  # what is shown is not hidden
  assert place == 1 and found.p == pytest.approx(2 * one.p)
  assert over_seeds.of_largest([without]) == (0, without)


def test_the_largest_of_nothing_is_seldom_shown():
  """Three attacks that only guess: the best of them looks like a leak in one study of twenty."""
  rng = np.random.default_rng(0)
  num_shown = 0
  for _ in range(2000):
    rows = rng.normal(size=(3, 3))
    num_shown += over_seeds.of_largest([over_seeds.mean(row) for row in rows])[1].p < 0.05
  assert num_shown / 2000 < 0.04
