"""Leaks and factors: planted ones are found, a null is not shown."""

import numpy as np
import pytest

from ddjax.statistics.membership_figures import Scores
from ddjax.study import conditions as of
from ddjax.study import privacy
from ddjax.study import section as page
from tests.study import made

_RNG = np.random.default_rng(0)
_IS_MEMBER = np.stack([_RNG.permutation(400) < 200 for _ in range(8)])
_NOISE = _RNG.normal(size=(8, 400))


def _scores(leak, noise=_NOISE, is_member=_IS_MEMBER):
  return {"is_member": is_member, "distilled/lira": (noise + leak * is_member).astype(np.float32)}


def _record(auc, leak=None, **factors):
  scores = None if leak is None else _scores(leak)
  return made.record(reports={"privacy": made.privacy(auc)}, scores=scores, **factors)


def _differences(records):
  return privacy.differences(of.conditions(records, "method"), "lira")


def test_one_seed_is_paired_by_splits_and_examples():
  (found,) = _differences([_record(0.5, 0.0, ipc=1), _record(0.7, 1.0, ipc=10)])
  assert found.is_paired and found.pair.change == "ipc 1 to 10"
  assert found.estimate.low > 0.15 and found.estimate.num_seeds == 1
  assert privacy.corrected([found])[0] < 0.001


def test_pairing_makes_the_interval_narrower():
  records = [_record(0.5, 0.0, ipc=1), _record(0.51, 0.02, ipc=10)]
  (paired,) = _differences(records)
  (apart,) = _differences([one._replace(scores=None) for one in records])
  assert not apart.is_paired
  width = paired.estimate.high - paired.estimate.low
  assert width < 0.5 * (apart.estimate.high - apart.estimate.low)


def test_no_difference_is_not_shown():
  (found,) = _differences([_record(0.5, 0.0, ipc=1), _record(0.5, 0.0, ipc=10)])
  assert found.estimate.value == 0.0
  assert privacy.corrected([found])[0] > 0.05


def test_other_members_are_not_paired():
  other = _scores(1.0, is_member=~_IS_MEMBER)
  records = [
    _record(0.5, 0.0, ipc=1), _record(0.7, ipc=10)._replace(scores=other),
  ]  # fmt: skip
  (found,) = _differences(records)
  assert not found.is_paired and found.estimate.value == pytest.approx(0.2)


def test_several_seeds_have_the_interval_of_student():
  records = [
    _record(0.5 + 0.001 * seed + 0.1 * (ipc == 10), ipc=ipc, seed=seed)
    for ipc in (1, 10)
    for seed in range(3)
  ]
  (found,) = _differences(records)
  assert found.estimate.value == pytest.approx(0.1) and found.estimate.num_seeds == 3


def test_paired_is_what_the_scores_say():
  found = privacy.paired(Scores(_NOISE, _IS_MEMBER), Scores(_NOISE + 9 * _IS_MEMBER, _IS_MEMBER))
  assert found.low < found.value < found.high and found.value > 0.45


def test_replicates_are_kept_between_calls():
  records = [_record(0.5, 0.0, ipc=1), _record(0.7, 1.0, ipc=10)]
  known = {}
  first = privacy.differences(of.conditions(records, "method"), "lira", known)
  assert len(known) == 2
  again = privacy.differences(of.conditions(records, "method"), "lira", known)
  assert [one.estimate for one in first] == [one.estimate for one in again]


def test_mean_over_conditions_of_one_seed_takes_the_mean_half_width():
  rows = [{0: of.Figure(0.1, 0.0, 0.2)}, {0: of.Figure(0.3, 0.1, 0.5)}]
  found, count = privacy.mean_over(rows, (-1.0, 1.0))
  assert count == 2
  assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.05, 0.35))


def test_mean_over_conditions_and_seeds():
  rows = [{0: of.Figure(0.1), 1: of.Figure(0.2)}, {0: of.Figure(0.3), 1: of.Figure(0.4)},
          {0: of.Figure(9.0)}]  # fmt: skip
  found, count = privacy.mean_over(rows, (-1.0, 1.0))
  assert count == 2 and found.value == pytest.approx(0.25) and found.num_seeds == 2
  assert privacy.mean_over([], (-1.0, 1.0)) is None


def test_the_attack_is_the_first_that_most_cells_have():
  reports = made.privacy(0.6)
  reports["scalars"]["lira_auc"] = None
  records = [made.record(reports={"privacy": reports}, ipc=ipc) for ipc in (1, 10)]
  methods = of.conditions(records, "method")
  assert privacy.attack_of(methods, {"claims_attacks": ["lira", "loss"]}) == "loss"
  assert privacy.attack_of([], {}) is None


def test_the_answer_in_words():
  records = [
    _record(0.6 + 0.001 * seed + 0.05 * (ipc == 10), ipc=ipc, seed=seed)
    for ipc in (1, 10)
    for seed in range(3)
  ]
  answer = page.numbered([privacy.build(records, made.CONFIG)])[0]["answer"]
  assert answer == (
    "By LiRA, 2 of 2 kinds of distilled set are shown to tell their members (AUC above one half, "
    "Holm); the most telling is DM (10 images a class), AUC 0.651 [0.649, 0.653] (3 seeds) "
    "(Table 1, Figure 1). On average the AUC changes with more images a class by +0.050 [+0.050, "
    "+0.050] (1 pair); 1 of 1 single differences is shown after Holm's correction (Table 2, "
    "Figure 2)."
  )


def test_a_leak_that_is_none_is_not_shown():
  records = [_record(0.5 + value, ipc=ipc) for ipc, value in ((1, 0.004), (10, 0.1))]
  methods = of.conditions(records, "method")
  assert privacy.num_leaking(methods, "lira") == 1
  found = privacy.leak_p_values(methods, "lira")
  assert found[0] > 0.05 and found[1] < 0.001


def test_nothing_measured():
  assert privacy.build([made.record(reports={})], {})["answer"] == page.NOTHING
