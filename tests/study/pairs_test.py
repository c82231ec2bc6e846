"""Pairs that differ in one factor alone: planted differences are found, a null is not shown."""

import numpy as np
import pytest

from ddjax.statistics.membership_figures import Scores
from ddjax.study import conditions as of
from ddjax.study.pairs import corrected, differences, paired, pairs
from tests.study import made

_RNG = np.random.default_rng(0)
_IS_MEMBER = np.stack([_RNG.permutation(400) < 200 for _ in range(8)])
_NOISE = _RNG.normal(size=(8, 400))


def _conditions(*factors):
  return of.conditions(
    [made.record(reports={"privacy": made.privacy(0.5)}, **one) for one in factors], "method"
  )


def test_one_factor_at_a_time():
  found = pairs(
    _conditions(dict(ipc=10, init="noise"), dict(ipc=10), dict(ipc=1), dict(ipc=1, method="kip"))
  )
  assert [one.change for one in found] == ["init real to noise", "ipc 1 to 10"]
  assert found[0].a.factors["init"] == "real" and found[1].a.factors["ipc"] == 1


def test_all_classes_are_the_most():
  (one,) = pairs(_conditions(dict(num_classes=None), dict(num_classes=5)))
  assert one.factor == "num_classes" and one.change == "classes 5 to all"
  assert one.a.factors["num_classes"] == 5


def test_another_field_is_no_pair():
  assert pairs(_conditions(dict(ipc=1), dict(ipc=10, variant="other"))) == []
  assert pairs(_conditions(dict(dataset="digits"), dict(dataset="mnist"))) == []
  kinds = (dict(ipc=1, preprocessing="zca"), dict(ipc=10, preprocessing="standardise"))
  assert pairs(_conditions(*kinds)) == []


def _scores(leak, noise=_NOISE, is_member=_IS_MEMBER):
  return {"is_member": is_member, "distilled/lira": (noise + leak * is_member).astype(np.float32)}


def _record(auc, leak=None, **factors):
  scores = None if leak is None else _scores(leak)
  return made.record(reports={"privacy": made.privacy(auc)}, scores=scores, **factors)


def _differences(records):
  return differences(of.conditions(records, "method"), "lira")


def test_one_seed_is_paired_by_splits_and_examples():
  (found,) = _differences([_record(0.5, 0.0, ipc=1), _record(0.7, 1.0, ipc=10)])
  assert found.is_paired and found.pair.change == "ipc 1 to 10"
  assert found.estimate.low > 0.15 and found.estimate.num_seeds == 1
  assert corrected([found])[0] < 0.001


def test_pairing_makes_the_interval_narrower():
  records = [_record(0.5, 0.0, ipc=1), _record(0.51, 0.02, ipc=10)]
  (narrow,) = _differences(records)
  (apart,) = _differences([one._replace(scores=None) for one in records])
  assert not apart.is_paired
  width = narrow.estimate.high - narrow.estimate.low
  assert width < 0.5 * (apart.estimate.high - apart.estimate.low)


def test_no_difference_is_not_shown():
  (found,) = _differences([_record(0.5, 0.0, ipc=1), _record(0.5, 0.0, ipc=10)])
  assert found.estimate.value == 0.0
  assert corrected([found])[0] > 0.05


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


@pytest.mark.parametrize("is_same", [True, False])
def test_members_are_compared_for_several_seeds_too(is_same):
  other = _scores(0.0, is_member=_IS_MEMBER if is_same else ~_IS_MEMBER)
  records = [
    one
    for seed in range(3)
    for one in (
      _record(0.5, 0.0, ipc=1, seed=seed),
      _record(0.6 + 0.01 * seed, ipc=10, seed=seed)._replace(scores=other),
    )
  ]
  (found,) = _differences(records)
  assert found.is_paired == is_same
  assert found.paired_by == ("seeds, splits and examples" if is_same else "seeds")
  assert found.estimate.value == pytest.approx(0.11)


def test_paired_is_what_the_scores_say():
  found = paired(Scores(_NOISE, _IS_MEMBER), Scores(_NOISE + 9 * _IS_MEMBER, _IS_MEMBER))
  assert found.low < found.value < found.high and found.value > 0.45


def test_replicates_are_kept_between_calls():
  records = [_record(0.5, 0.0, ipc=1), _record(0.7, 1.0, ipc=10)]
  known = {}
  first = differences(of.conditions(records, "method"), "lira", known)
  assert len(known) == 2
  again = differences(of.conditions(records, "method"), "lira", known)
  assert [one.estimate for one in first] == [one.estimate for one in again]
