"""Scores of membership: against formulas written out, and LiRA against a slow loop."""

import numpy as np
import pytest
from scipy import stats

from ddjax.attacks import membership


def _leaky(num_splits, num_examples, leak, num_classes=4, seed=0):
  """Logits of splits whose models are surer of their own members by `leak`."""
  rng = np.random.default_rng(seed)
  labels = rng.integers(num_classes, size=num_examples)
  is_member = np.stack(
    [rng.permutation(num_examples) < num_examples // 2 for _ in range(num_splits)]
  )
  logits = rng.normal(size=(num_splits, num_examples, num_classes))
  hardness = rng.normal(size=num_examples)
  logits[:, np.arange(num_examples), labels] += hardness + leak * is_member
  return logits, labels, is_member


def test_signals_by_hand():
  p = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
  found = membership.signals(np.log(p) + 3.0, np.array([0, 1]))  # a shift changes nothing
  np.testing.assert_allclose(found["loss"], np.log([0.7, 0.25]))
  np.testing.assert_allclose(found["confidence"], np.log([0.7, 0.5]))
  np.testing.assert_allclose(found["entropy"], (p * np.log(p)).sum(axis=1))
  np.testing.assert_allclose(found["logit"], np.log([0.7 / 0.3, 0.25 / 0.75]))
  modified = [
    0.3 * np.log(0.7) + 0.2 * np.log(0.8) + 0.1 * np.log(0.9),
    0.75 * np.log(0.25) + 0.25 * np.log(0.75) + 0.5 * np.log(0.5),
  ]
  np.testing.assert_allclose(found["modified_entropy"], modified)


def test_signals_stay_finite_where_a_model_is_sure():
  logits = np.array([[500.0, 0.0, -500.0], [-500.0, 500.0, 0.0]])
  for label in (0, 2):
    for name, score in membership.signals(logits, np.array([label, label])).items():
      assert np.isfinite(score).all(), name


@pytest.mark.parametrize("is_online", [True, False])
@pytest.mark.parametrize("is_fixed", [True, False])
def test_lira_is_what_a_loop_over_shadow_models_gives(is_online, is_fixed):
  rng = np.random.default_rng(1)
  x = rng.normal(size=(9, 12)) * 2 + 100
  is_member = np.stack([rng.permutation(12) < 6 for _ in range(9)])
  found = membership.lira(x, is_member, is_online=is_online, has_fixed_variance=is_fixed)
  for target in range(9):
    others = [split for split in range(9) if split != target]
    sides = {}
    for side, chosen in (("in", is_member), ("out", ~is_member)):
      values = [[x[s, i] for s in others if chosen[s, i]] for i in range(12)]
      sums = sum(np.var(v, ddof=1) * (len(v) - 1) for v in values if len(v) > 1)
      pooled = sums / sum(len(v) - 1 for v in values if len(v) > 1)
      sides[side] = values, pooled
    for i in range(12):
      scale = {}
      for side, (values, pooled) in sides.items():
        enough = len(values[i]) >= (1 if is_fixed else 2)
        variance = pooled if is_fixed else np.var(values[i], ddof=1) if enough else np.nan
        scale[side] = (np.mean(values[i]) if values[i] else np.nan, np.sqrt(variance))
      if is_online:
        expected = stats.norm.logpdf(x[target, i], *scale["in"])
        expected -= stats.norm.logpdf(x[target, i], *scale["out"])
      else:
        expected = (x[target, i] - scale["out"][0]) / scale["out"][1]
      np.testing.assert_allclose(found[target, i], expected, rtol=1e-6)


def test_lira_does_not_look_at_whether_the_target_had_the_example():
  x, _, is_member = _leaky(8, 10, 0.0)
  statistic = x[..., 0]
  before = membership.lira(statistic, is_member)
  turned = is_member.copy()
  turned[3] = ~turned[3]
  np.testing.assert_allclose(membership.lira(statistic, turned)[3], before[3], rtol=1e-12)


@pytest.mark.parametrize("kind", membership.CLASSIFIERS)
def test_classifiers_find_a_leak_and_nothing_where_there_is_none(kind):
  from sklearn.metrics import roc_auc_score

  for leak, low, high in ((0.0, 0.45, 0.55), (4.0, 0.85, 1.0)):
    logits, labels, is_member = _leaky(8, 200, leak)
    scores = membership.shadow_classifier(logits, labels, is_member, kind=kind, seed=0)
    assert low <= roc_auc_score(is_member.ravel(), scores.ravel()) <= high


def test_a_classifier_never_sees_the_splits_that_it_attacks():
  logits, labels, is_member = _leaky(8, 100, 1.0)
  turned = is_member.copy()
  fold = np.arange(8) % membership.NUM_FOLDS == 1
  turned[fold] = ~turned[fold]
  options = dict(kind="shadow_logistic", seed=0)
  scores = membership.shadow_classifier(logits, labels, is_member, **options)
  np.testing.assert_allclose(
    membership.shadow_classifier(logits, labels, turned, **options)[fold], scores[fold], rtol=1e-9
  )


def test_impossible_classifiers_are_refused():
  logits, labels, is_member = _leaky(2, 10, 0.0)
  with pytest.raises(ValueError, match="'shadow_tree'"):
    membership.shadow_classifier(logits, labels, is_member, kind="shadow_tree", seed=0)
  with pytest.raises(ValueError, match="at least 2 splits, not 1"):
    membership.shadow_classifier(logits[:1], labels, is_member[:1], kind="shadow_logistic", seed=0)
