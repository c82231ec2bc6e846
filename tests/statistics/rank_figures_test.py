"""Ranks whose probabilities are known, and correlations against SciPy."""

import numpy as np
import pytest
import scipy.stats

from ddjax.statistics import holm
from ddjax.statistics.rank_figures import (
  Measured,
  rank_correlation,
  rank_correlation_within,
  ranks,
)


def test_clear_orders_are_sure():
  low, high = {0: [0.5, 0.51], 1: [0.52], 2: [0.51]}, {0: [0.9], 1: [0.91], 2: [0.905]}
  things = [Measured(low), Measured(high)]
  found = ranks(things, is_higher_better=True)
  assert found.rank.tolist() == [2, 1]
  assert found.of_own_rank() == pytest.approx([1.0, 1.0], abs=0.01)
  assert ranks(things, is_higher_better=False).rank.tolist() == [1, 2]


def test_probabilities_sum_to_one_over_ranks_and_things():
  rng = np.random.default_rng(0)
  things = [Measured({seed: rng.normal(size=3) for seed in range(4)}) for _ in range(5)]
  found = ranks(things, is_higher_better=True)
  assert found.probability.min() >= 0 and found.probability.max() <= 1
  assert found.probability.sum(axis=1) == pytest.approx(np.ones(5))
  assert found.probability.sum(axis=0) == pytest.approx(np.ones(5))


def test_things_that_are_the_same_are_anyones_guess():
  things = [Measured({0: [0.5]}), Measured({0: [0.5]})]
  assert ranks(things, is_higher_better=True).probability == pytest.approx(0.5, abs=0.04)


def test_a_single_figure_varies_by_its_error():
  things = [Measured({0: [0.0]}, error=1.0), Measured({0: [1.0]}, error=1.0)]
  found = ranks(things, is_higher_better=False, num_draws=20000)
  expected = scipy.stats.norm.cdf(1 / np.sqrt(2))
  assert found.of_own_rank()[0] == pytest.approx(expected, abs=0.015)


def test_seeds_are_drawn_together():
  # The second is always above the first by the same, whatever the seed: the order is sure.
  by_seed = {0: [0.1], 1: [0.5], 2: [0.9]}
  above = {seed: [values[0] + 0.001] for seed, values in by_seed.items()}
  found = ranks([Measured(by_seed), Measured(above)], is_higher_better=True)
  assert found.of_own_rank() == pytest.approx([1.0, 1.0])


def _share_of_sure_ranks(gap, num_studies=400):
  """How often the first of two methods at three seeds is first with probability .99."""
  rng = np.random.default_rng(0)
  sure = 0
  for _ in range(num_studies):
    shared = rng.normal(size=3)
    both = [shared + rng.normal(size=3) + place * gap for place in range(2)]
    things = [Measured({seed: [x] for seed, x in enumerate(one)}) for one in both]
    sure += ranks(things, is_higher_better=True, num_draws=1000).of_own_rank()[0] >= 0.99
  return sure / num_studies


def test_a_null_is_seldom_sure_at_three_seeds():
  assert _share_of_sure_ranks(0.0) <= 0.04  # two in a hundred, for there are two sides


def test_a_large_difference_is_sure():
  assert _share_of_sure_ranks(30.0, 100) >= 0.9


def test_rank_correlation_is_that_of_scipy():
  rng = np.random.default_rng(0)
  a = rng.normal(size=30)
  b = a + rng.normal(size=30)
  found = rank_correlation(a, b)
  assert found.value == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
  assert found.low < found.value < found.high and found.num == 30
  assert found.p < 0.05 and found.low > 0


def test_no_correlation_is_not_shown():
  rng = np.random.default_rng(1)
  p_values = [rank_correlation(*rng.normal(size=(2, 20))).p for _ in range(200)]
  assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.1


def test_too_few_or_constant_have_none():
  assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None
  assert rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]) is None
  perfect = rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
  assert perfect.value == pytest.approx(1.0) and np.isfinite([perfect.low, perfect.high]).all()


def test_equal_figures_share_the_better_rank():
  same = Measured({0: [0.5], 1: [0.6], 2: [0.55]})
  best = Measured({0: [0.9], 1: [0.95], 2: [0.92]})
  worst = Measured({0: [0.1], 1: [0.12], 2: [0.11]})
  found = ranks([same, best, same, worst], is_higher_better=True)
  assert found.rank.tolist() == [2, 1, 2, 4]
  assert found.of_own_rank().min() > 0.97  # of the two, either of their places is right


def test_what_differs_between_groups_does_not_count_within_them():
  """Traded over all, for the groups lie apart; together within each."""
  up = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
  groups = [(up, [x + 10 for x in up]), ([x + 10 for x in up], up)]
  a, b = ([x for group in groups for x in group[i]] for i in (0, 1))
  assert rank_correlation(a, b).value < 0
  within = rank_correlation_within(groups)
  assert within.value == pytest.approx(1.0) and within.num == 12


def test_groups_count_by_their_size_and_small_ones_not():
  rng = np.random.default_rng(1)
  large, small = rng.normal(size=(2, 30)), rng.normal(size=(2, 8))
  values = [scipy.stats.spearmanr(*group).statistic for group in (large, small)]
  found = rank_correlation_within([large, small, ([1.0, 2.0], [2.0, 1.0])])
  assert found.value == pytest.approx((27 * values[0] + 5 * values[1]) / 32)
  assert found.num == 38 and found.low < found.value < found.high
  assert rank_correlation_within([([1.0, 2.0], [2.0, 1.0])]) is None


def test_a_perfect_order_of_few_comes_by_chance():
  """Of five things 2 of 120 orders are perfect: p is not below that, and six tests show little."""
  found = rank_correlation([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
  assert found.value == pytest.approx(1.0) and 2 / 120 < found.p < 0.05
  assert 0 < found.low < 0.5 and found.high == pytest.approx(1.0)
  rng = np.random.default_rng(3)
  num_wrong = 0
  for _ in range(300):
    figures = [rng.permutation(5).tolist() for _ in range(4)]
    p_values = [
      one.p
      for i, a in enumerate(figures)
      for b in figures[:i]
      if (one := rank_correlation(a, b)) is not None
    ]
    num_wrong += holm.adjusted(p_values).min() < 0.05
  assert num_wrong / 300 < 0.05
