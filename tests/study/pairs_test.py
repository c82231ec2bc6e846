"""Pairs that differ in one factor alone."""

from ddjax.study import conditions as of
from ddjax.study.pairs import pairs
from tests.study import made


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
