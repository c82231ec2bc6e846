"""Figures of membership scores against scikit-learn and counting, and their intervals."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from ddjax.statistics import membership_figures as statistics
from ddjax.statistics.membership_figures import Scores


def _scores(num_splits, num_examples, shift, seed):
  rng = np.random.default_rng(seed)
  is_member = np.stack(
    [rng.permutation(num_examples) < num_examples // 2 for _ in range(num_splits)]
  )
  values = rng.normal(size=is_member.shape) + shift * is_member
  return Scores(values + 0.5 * rng.normal(size=num_examples), is_member)


def _alone(scores, **options):
  options = dict(num_bootstrap=100, seed=0) | options
  return statistics.estimate({"a": scores}, [], **options)[0]["a"]


def test_figures_are_scikit_learns_with_ties():
  rng = np.random.default_rng(0)
  values = rng.integers(8, size=(5, 60)).astype(float)  # many ties
  is_member = np.stack([rng.permutation(60) < 25 for _ in range(5)])
  values += is_member
  found = _alone(Scores(values, is_member))
  fpr, tpr, _ = metrics.roc_curve(is_member.ravel(), values.ravel(), drop_intermediate=False)
  assert found["auc"].value == pytest.approx(metrics.auc(fpr, tpr))
  halves, other = [], []
  for half in (0, 1):
    rows = values[:, half::2].ravel(), is_member[:, half::2].ravel()
    grid = np.unique(values)
    halves.append(
      [metrics.balanced_accuracy_score(rows[1], rows[0] >= threshold) for threshold in grid]
    )
    other.append(
      np.flatnonzero(np.isclose(halves[-1], max(halves[-1])))[-1]
    )  # the highest of equals
  expected = (halves[0][other[1]] + halves[1][other[0]]) / 2
  assert found["balanced_accuracy"].value == pytest.approx(expected)


def test_balanced_accuracy_is_one_half_where_there_is_nothing():
  values = [_alone(_scores(2, 200, 0.0, seed))["balanced_accuracy"].value for seed in range(40)]
  assert abs(np.mean(values) - 0.5) < 4 * np.std(values) / np.sqrt(40) + 1e-3
  assert _alone(_scores(4, 200, 6.0, 0))["balanced_accuracy"].value > 0.95


def test_a_rate_is_the_largest_one_below_its_level():
  values = np.arange(4000.0)[None]
  is_member = np.zeros((1, 4000), bool)
  is_member[0, -150:-20] = True  # 20 non-members lie on top, of 3870: an FPR of .0052
  found = _alone(Scores(values, is_member))
  assert found["tpr_at_1_percent_fpr"].value == 1.0
  curve = statistics.roc(Scores(values, is_member))
  place = curve["fpr"].index(1e-3)
  assert curve["tpr"][place] == 0.0  # at one in a thousand none is caught yet
  assert found["tpr_at_0.1_percent_fpr"].value is None  # 3.87 non-members expected
  assert "not estimable" in found["tpr_at_0.1_percent_fpr"].reason


def test_the_interval_holds_one_half_where_there_is_nothing_and_not_where_there_is():
  for shift in (0.0, 0.4):
    truth = stats.norm.cdf(shift / np.sqrt(2 * 1.25))
    inside = half = 0
    for seed in range(60):
      auc = _alone(_scores(8, 120, shift, seed), seed=seed)["auc"]
      inside += auc.low <= truth <= auc.high
      half += auc.low <= 0.5 <= auc.high
    assert inside >= 53  # .95 of 60 is 57; 53 or more has probability .98 if the coverage is .95
    assert half >= 53 if shift == 0 else half <= 6


def test_a_paired_difference_sees_what_separate_intervals_do_not():
  one = _scores(8, 200, 0.3, 0)
  better = Scores(one.values + 0.1 * one.is_member, one.is_member)
  alone, paired = statistics.estimate(
    {"a": one, "b": better}, [("b", "a")], num_bootstrap=100, seed=0
  )
  assert alone["b"]["auc"].low < alone["a"]["auc"].high
  assert 0 < paired["b", "a"]["auc"].low


def test_examples_without_a_score_are_left_out():
  scores = _scores(4, 100, 1.0, 0)
  values = scores.values.copy()
  values[:, :10] = np.nan
  whole = _alone(Scores(values[:, 10:], scores.is_member[:, 10:]))
  assert _alone(Scores(values, scores.is_member))["auc"].value == whole["auc"].value


def test_clopper_pearson_is_that_of_scipy():
  for successes, trials in ((0, 12), (3, 40), (40, 40)):
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert statistics.clopper_pearson(successes, trials) == pytest.approx(exact)


def test_counts_at_a_level_are_those_of_the_curve():
  scores = _scores(4, 500, 1.0, 0)
  caught, members = statistics.tpr_counts(scores, 0.01, seed=0)
  assert 200 < members < 300  # each example once, in a split drawn for it
  rate = _alone(scores)["tpr_at_1_percent_fpr"].value
  assert abs(caught / members - rate) < 4 * np.sqrt(rate * (1 - rate) / members)


def test_networks_of_one_split_are_not_counted_as_further_examples():
  one = _scores(1, 1000, 1.0, 0)
  many = Scores(np.repeat(one.values, 5, axis=0), np.repeat(one.is_member, 5, axis=0))
  assert _alone(many)["tpr_at_1_percent_fpr"].value is None  # 5 of 500 are expected, not 25


def test_nothing_to_estimate_gives_nothing():
  assert statistics.estimate({}, [], num_bootstrap=9, seed=0) == ({}, {})


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 4.0])
def test_the_promised_rate_is_reached_by_the_best_attack_and_by_none_exceeded(epsilon):
  """Randomised response is epsilon-private, and its best attack lies on the bound."""
  right = np.exp(epsilon) / (1 + np.exp(epsilon))  # probability of the true answer
  fpr, tpr = 1 - right, right
  np.testing.assert_allclose(statistics.promised_tpr(fpr, epsilon, 0.0), tpr, rtol=1e-12)
  rates = np.linspace(0, 1, 101)
  mixed = np.interp(rates, [0, fpr, 1], [0, tpr, 1])  # attacks that guess at times
  np.testing.assert_allclose(statistics.promised_tpr(rates, epsilon, 0.0), mixed, atol=1e-12)


def test_the_promised_rate_without_privacy_and_with_all_of_it():
  rates = np.array([0.0, 0.1, 1.0])
  np.testing.assert_array_equal(statistics.promised_tpr(rates, np.inf, 0.0), [0, 1, 1])
  np.testing.assert_allclose(statistics.promised_tpr(rates, 0.0, 0.01), [0.01, 0.11, 1])


def test_epsilon_is_zero_without_a_leak_and_positive_with_one():
  assert statistics.epsilon_lower_bound(_scores(8, 400, 0.0, 0), seed=0) == 0.0
  bound = statistics.epsilon_lower_bound(_scores(8, 400, 6.0, 0), seed=0)
  assert 2.0 < bound < 6.0  # 200 members and 200 others cannot show much more than log 50


def test_impossible_requests_are_refused():
  scores = _scores(2, 20, 0.0, 0)
  with pytest.raises(ValueError, match="num_bootstrap=1"):
    _alone(scores, num_bootstrap=1)
  short = Scores(scores.values[:, :9], scores.is_member[:, :9])
  with pytest.raises(ValueError, match=r"unequal targets.*\(2, 9\)"):
    statistics.estimate({"a": scores, "b": short}, [], num_bootstrap=9, seed=0)
  with pytest.raises(ValueError, match="no members"):
    _alone(Scores(scores.values, np.zeros_like(scores.is_member)))
