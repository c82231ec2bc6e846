"""DD-Ranking's scores by hand."""

import math

import pytest

from ddjax.statistics.dd_ranking import augmentation_robust_score, label_robust_score


def _lrs(full_hard, distilled_hard, distilled_any, random_any, **options):
  return label_robust_score(
    full_hard=full_hard,
    distilled_hard=distilled_hard,
    distilled_any=distilled_any,
    random_any=random_any,
    **options,
  )


def _ars(distilled_with, random_with, distilled_without, random_without, **options):
  return augmentation_robust_score(
    distilled_with=distilled_with,
    random_with=random_with,
    distilled_without=distilled_without,
    random_without=random_without,
    **options,
  )


def test_values_by_hand():
  # a = (.5 - .3) / 2 - (.8 - .4) / 2 = -.1;  (.904837 - .367879) / (2.718282 - .367879)
  assert _lrs(0.8, 0.4, 0.5, 0.3) == pytest.approx(0.228454, abs=1e-6)
  # a = (.5 - .3) / 2 + (.4 - .35) / 2 = .125;  (1.133148 - .367879) / 2.350402
  assert _ars(0.5, 0.3, 0.4, 0.35) == pytest.approx(0.325591, abs=1e-6)


@pytest.mark.parametrize("score", [_lrs, _ars])
def test_a_set_like_its_baselines_scores_the_middle_of_the_map(score):
  assert score(0.4, 0.4, 0.4, 0.4) == pytest.approx((1 - 1 / math.e) / (math.e - 1 / math.e))


def test_the_limits_are_zero_and_one():
  assert _lrs(0.0, 1.0, 1.0, 0.0) == pytest.approx(1.0)
  assert _lrs(1.0, 0.0, 0.0, 1.0) == pytest.approx(0.0, abs=1e-12)
  assert _ars(1.0, 0.0, 1.0, 0.0) == pytest.approx(1.0)
  assert _ars(0.0, 1.0, 0.0, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_weights_choose_a_term():
  # a = .2, the improvement alone, and a = -.4, the cost of hard labels alone.
  assert _lrs(0.8, 0.4, 0.5, 0.3, weight=1.0) == pytest.approx(0.363139, abs=1e-6)
  assert _lrs(0.8, 0.4, 0.5, 0.3, weight=0.0) == pytest.approx(0.128676, abs=1e-6)
  # a = .2, with augmentation alone, and a = .05, without.
  assert _ars(0.5, 0.3, 0.4, 0.35, weight=1.0) == pytest.approx(0.363139, abs=1e-6)
  assert _ars(0.5, 0.3, 0.4, 0.35, weight=0.0) == pytest.approx(0.290755, abs=1e-6)


@pytest.mark.parametrize("score", [_lrs, _ars])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("accuracy", [45.2, -0.1, math.nan])
def test_percentages_and_other_numbers_are_refused(score, place, accuracy):
  accuracies = [0.5] * 4
  accuracies[place] = accuracy
  with pytest.raises(ValueError, match=rf"{accuracy} is not a fraction"):
    score(*accuracies)
