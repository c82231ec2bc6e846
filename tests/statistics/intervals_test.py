import numpy as np
import pytest

from ddjax.statistics.intervals import Resampling, bootstrap_accuracies, bootstrap_means

GROUPS = 4
RUNS = 300


def _simulate(rng, shift, num_test=200):
  """Right or wrong for 4 groups of 2 models, whose group effects are as large as the test noise."""
  difficulty = rng.uniform(-0.25, 0.25, num_test)
  effect = np.repeat(rng.normal(0, 0.04, GROUPS), 2)[:, None]
  return rng.random((2 * GROUPS, num_test)) < np.clip(0.6 + shift + effect + difficulty, 0, 1)


def test_intervals_cover_and_a_naive_one_does_not():
  rng = np.random.default_rng(0)
  group = np.repeat(np.arange(GROUPS), 2)
  covered = {"mean": 0, "difference": 0, "naive": 0}
  for seed in range(RUNS):
    correct = {"distilled": _simulate(rng, 0.1), "random_subset": _simulate(rng, 0.0)}
    estimates = bootstrap_accuracies(
      correct,
      dict.fromkeys(correct, group),
      [("distilled", "random_subset")],
      Resampling(300, seed),
    )
    mean = estimates["distilled"]
    difference = estimates["distilled", "random_subset"]
    covered["mean"] += mean.low <= 0.7 <= mean.high
    covered["difference"] += difference.low <= 0.1 <= difference.high
    pooled = correct["distilled"].mean()
    half = 1.96 * np.sqrt(pooled * (1 - pooled) / correct["distilled"].size)
    covered["naive"] += abs(pooled - 0.7) <= half
  shares = {name: count / RUNS for name, count in covered.items()}
  assert 0.92 <= shares["mean"] <= 0.995, shares
  assert 0.92 <= shares["difference"] <= 0.995, shares
  assert shares["naive"] < 0.85, shares


def test_width_against_closed_forms():
  """One model: the binomial error. Constant rows: Student's t over groups."""
  correct = {"one": np.arange(400)[None] < 300}
  estimate = bootstrap_accuracies(correct, {"one": [0]}, [], Resampling(4000, seed=0))["one"]
  assert estimate.mean == 0.75 and estimate.std is None
  half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
  np.testing.assert_allclose([estimate.low, estimate.high], [0.75 - half, 0.75 + half], atol=2e-3)

  # On so large a test set little but the groups adds to the variance.
  accuracies = np.array([0.5, 0.6, 0.7])
  rng = np.random.default_rng(0)
  rows = np.stack([rng.permutation(20000) < 20000 * a for a in accuracies])
  estimate = bootstrap_accuracies({"a": rows}, {"a": [0, 1, 2]}, [], Resampling(4000, seed=0))["a"]
  half = 4.303 * 0.1 / 3**0.5
  np.testing.assert_allclose(
    [estimate.low, estimate.high], [0.6 - half, 0.6 + half], rtol=0, atol=0.02
  )
  np.testing.assert_allclose(estimate.std, 0.1)


def test_pairing_removes_what_two_sets_share():
  rng = np.random.default_rng(0)
  rows = _simulate(rng, 0.0)
  group = np.repeat(np.arange(GROUPS), 2)
  flipped = rows.copy()
  flipped[:, 0] = ~flipped[:, 0]
  correct = {"distilled": rows, "initial": rows.copy(), "random_subset": _simulate(rng, 0.0)}
  correct["flipped"] = flipped
  estimates = bootstrap_accuracies(
    correct,
    dict.fromkeys(correct, group),
    [("distilled", "initial"), ("distilled", "random_subset"), ("distilled", "flipped")],
    Resampling(500, seed=3),
  )
  same = estimates["distilled", "initial"]
  assert (same.mean, same.low, same.high, same.std) == (0.0, 0.0, 0.0, 0.0)
  apart = estimates["distilled", "random_subset"]
  assert apart.low < 0 < apart.high and apart.std is None


def test_over_says_what_was_resampled():
  rng = np.random.default_rng(0)
  correct = {
    "distilled": rng.random((4, 10)) < 0.5,
    "initial": rng.random((2, 10)) < 0.5,
    "random_subset": rng.random((5, 10)) < 0.5,
    "full": rng.random((1, 10)) < 0.5,
  }
  group = {"distilled": [0, 0, 1, 1], "initial": [0, 0], "random_subset": range(5), "full": [0]}
  group = {name: np.array(labels) for name, labels in group.items()}
  pair = ("distilled", "random_subset")
  estimates = bootstrap_accuracies(correct, group, [pair], Resampling(50, seed=0))
  assert {name: estimate.over for name, estimate in estimates.items()} == {
    "distilled": "10 test examples, 2 distillations of 2 models each",
    "initial": "10 test examples, 2 models, given one distillation",
    "random_subset": "10 test examples, 5 subsets",
    "full": "10 test examples, given one full set",
    pair: "10 test examples, 2 distillations of 2 models each, 5 subsets",
  }


def test_equal_arguments_give_equal_results_and_another_seed_does_not():
  correct = {"a": _simulate(np.random.default_rng(0), 0.0)}
  first, again, other = (
    bootstrap_accuracies(correct, {"a": np.arange(8)}, [], Resampling(50, seed=seed))["a"]
    for seed in (1, 1, 2)
  )
  assert first == again != other


def test_bad_arguments():
  rows = np.ones((2, 5), bool)
  group = np.arange(2)
  with pytest.raises(ValueError, match="num_bootstrap=1"):
    bootstrap_accuracies({"a": rows}, {"a": group}, [], Resampling(1, seed=0))
  with pytest.raises(ValueError, match="Unknown set 'b'"):
    bootstrap_accuracies({"a": rows}, {"a": group}, [("a", "b")], Resampling(10, seed=0))
  with pytest.raises(ValueError, match="unequal numbers.*'b': 4"):
    bootstrap_accuracies(
      {"a": rows, "b": rows[:, :4]}, {"a": group, "b": group}, [], Resampling(10, seed=0)
    )
  with pytest.raises(ValueError, match=r"2 models but groups of shape \(3,\)"):
    bootstrap_accuracies({"a": rows}, {"a": np.arange(3)}, [], Resampling(10, seed=0))


def test_means_over_the_examples_that_have_a_number():
  values = np.array([[1.0, np.nan, 3.0, 8.0], [np.nan, np.nan, 2.0, 5.0]])
  estimates = bootstrap_means(
    {"full": values}, {"full": np.array([0, 1])}, [], Resampling(200, seed=0)
  )
  assert estimates["full"].mean == pytest.approx((4.0 + 3.5) / 2)
  assert estimates["full"].std == pytest.approx(np.std([4.0, 3.5], ddof=1))
  assert estimates["full"].low < 3.75 < estimates["full"].high
  with pytest.raises(ValueError, match="'full' has a model without a number"):
    bootstrap_means(
      {"full": values * np.nan}, {"full": np.array([0, 1])}, [], Resampling(200, seed=0)
    )


def test_interval_of_a_mean_with_gaps_is_that_of_the_ratio():
  """Against the plain bootstrap of sum over count; a mean over all examples would be narrower."""
  rng = np.random.default_rng(0)
  values = np.where(rng.random((1, 400)) < 0.5, rng.exponential(2.0, (1, 400)), np.nan)
  estimate = bootstrap_means(
    {"full": values}, {"full": np.zeros(1, int)}, [], Resampling(4000, seed=0)
  )
  drawn = values[0, rng.integers(400, size=(4000, 400))]
  half = 1.96 * np.nanmean(drawn, axis=1).std()
  assert estimate["full"].high - estimate["full"].mean == pytest.approx(half, rel=0.06)
  assert estimate["full"].high > 1
