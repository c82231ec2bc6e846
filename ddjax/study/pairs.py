"""Pairs of conditions that differ in one factor, and their differences."""

import itertools
from typing import Any, NamedTuple, Sequence

from ddjax.study.conditions import Condition

FACTORS = ("ipc", "init", "num_classes")
_FIRST = {"real": 0, "noise": 1}


class Pair(NamedTuple):
  """Two conditions that differ in one factor: b minus a is asked for."""

  factor: str
  a: Condition
  b: Condition

  @property
  def change(self) -> str:
    """`ipc 1 to 10`."""
    name = {"num_classes": "classes"}.get(self.factor, self.factor)
    values = (one.factors.get(self.factor) for one in (self.a, self.b))
    before, after = ("all" if value in (None, 0) else value for value in values)
    return f"{name} {before} to {after}"


def pairs(conditions: Sequence[Condition], factors: Sequence[str] = FACTORS) -> list[Pair]:
  """All pairs that differ in exactly one of the factors and in nothing else.

  Of ipc and classes the smaller comes first, of init real images.
  """
  found = []
  for a, b in itertools.combinations(conditions, 2):
    names = sorted({*a.factors, *b.factors})
    differing = [name for name in names if a.factors.get(name) != b.factors.get(name)]
    if len(differing) != 1 or differing[0] not in factors:
      continue
    name = differing[0]
    first, second = sorted((a, b), key=lambda one: _order(name, one.factors.get(name)))
    found.append(Pair(name, first, second))
  return found


def _order(factor: str, value: Any) -> tuple:
  if factor == "init":
    return (_FIRST.get(value, 2), str(value))
  return (float("inf") if value in (None, 0) else value,)
