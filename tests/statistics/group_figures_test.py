"""Group figures on a hand-made table, and against fairlearn's own on random ones."""

from fairlearn import metrics
import numpy as np
import pytest

from ddjax.statistics import group_figures

# Two classes, two groups; counts of (true, predicted) in each.
BY_HAND = np.array([[[3, 1], [0, 4]], [[2, 2], [3, 1]]])


def test_by_hand():
  accuracies = group_figures.group_accuracies(BY_HAND)
  np.testing.assert_array_equal(accuracies, [[0.75, 0.5], [1.0, 0.25]])
  assert group_figures.deo_max(accuracies) == 0.75
  assert group_figures.deo_mean(accuracies) == 0.5
  # Taken for class 0: 3 of 8 in the first group, 5 of 8 in the second.
  np.testing.assert_array_equal(group_figures.demographic_parity(BY_HAND), [0.25, 0.25])
  # Class 0: true positives .75 and .5, false positives 0 and .75; class 1: 1 and .25, .25 and .5.
  np.testing.assert_array_equal(group_figures.equalised_odds(BY_HAND), [0.75, 0.75])


def test_cells_without_examples_do_not_count():
  counts = BY_HAND.copy()
  counts[1, 0] = 0
  accuracies = group_figures.group_accuracies(counts)
  np.testing.assert_array_equal(accuracies, [[0.75, np.nan], [1.0, 0.25]])
  assert group_figures.deo_mean(accuracies) == 0.375
  counts[0, 0] = 0  # nor do classes
  assert group_figures.deo_mean(group_figures.group_accuracies(counts)) == 0.75


@pytest.fixture(scope="module")
def drawn():
  rng = np.random.default_rng(0)
  true, groups = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
  predicted = np.where(rng.random((2, 200)) < 0.5 + 0.2 * groups, true, rng.integers(0, 4, 200))
  confusion = group_figures.confusion_by_group(true, predicted, groups, 4, 3)
  return true, predicted, groups, confusion


def test_counts(drawn):
  true, predicted, groups, confusion = drawn
  assert confusion.shape == (2, 3, 4, 4) and confusion.sum() == 400
  for model, group, label, taken in ((0, 0, 1, 1), (1, 2, 3, 0)):
    here = (groups == group) & (true == label) & (predicted[model] == taken)
    assert confusion[model, group, label, taken] == here.sum()


def test_accuracies_against_fairlearn(drawn):
  true, predicted, groups, confusion = drawn
  ours = group_figures.group_accuracies(confusion)
  for model in range(2):
    frame = metrics.MetricFrame(
      metrics=lambda true, predicted: np.mean(true == predicted),
      y_true=true, y_pred=predicted[model], sensitive_features=groups, control_features=true,
    )  # fmt: skip
    theirs = frame.by_group.to_numpy(np.float64).reshape(4, 3)
    np.testing.assert_array_equal(ours[model], theirs)
    ranges = frame.difference(method="between_groups").to_numpy(np.float64)
    assert group_figures.deo_max(ours)[model] == ranges.max()
    assert group_figures.deo_mean(ours)[model] == ranges.mean()


def test_parity_and_odds_against_fairlearn(drawn):
  true, predicted, groups, confusion = drawn
  for model in range(2):
    for label in range(4):
      own, taken = true == label, predicted[model] == label
      for ours, theirs in (
        (group_figures.demographic_parity, metrics.demographic_parity_difference),
        (group_figures.equalised_odds, metrics.equalized_odds_difference),
      ):
        expected = theirs(own, taken, sensitive_features=groups)
        np.testing.assert_allclose(ours(confusion)[model, label], expected, rtol=1e-14)
