"""Pairs of conditions that differ in one factor, and how their leaks differ.

Cells of equal pools and splits are compared by target and split (a paired bootstrap on their
scores), others by the seeds that they share.
"""

import itertools
from typing import Any, MutableMapping, NamedTuple, Sequence

import numpy as np

from ddjax.statistics import membership_figures, over_seeds
from ddjax.statistics.holm import adjusted_known
from ddjax.statistics.membership_figures import Scores
from ddjax.study import conditions as of
from ddjax.study.conditions import Condition, Figure
from ddjax.study.records import Record

Known = MutableMapping[str, dict[str, np.ndarray]]
"""Replicates of earlier bootstraps by what they are of."""
_NUM_BOOTSTRAP = 200
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


class Difference(NamedTuple):
  """Of one pair of conditions: {seed: b minus a}, over seeds, and whether members are the same."""

  pair: Pair
  by_seed: dict[int, Figure]
  estimate: over_seeds.Estimate
  is_paired: bool

  @property
  def paired_by(self) -> str:
    """In words."""
    if len(self.by_seed) == 1:
      return "splits and examples" if self.is_paired else "none"
    return "seeds, splits and examples" if self.is_paired else "seeds"


def differences(
  methods: Sequence[Condition],
  attack: str,
  known: Known | None = None,
) -> list[Difference]:
  """The differences in AUC of all pairs that differ in ipc, init or classes alone.

  Args:
    methods: conditions.
    attack: whose AUC.
    known: replicates of earlier calls by what they are of; those of this one are added.
  """
  made = []
  known = {} if known is None else known
  for pair in pairs(methods):
    own, is_paired = _by_seed(pair, attack, known)
    if (mean := of.estimate(own, (-1.0, 1.0))) is not None:
      made.append(Difference(pair, own, mean, is_paired))
  return made


def _by_seed(pair: Pair, attack: str, known: Known) -> tuple[dict[int, Figure], bool]:
  """{seed: b minus a}, and whether all are paired by splits and examples."""
  found, are_paired, key = {}, [], f"{attack}_auc"
  a, b = (of.by_seed(one, "privacy", key) for one in (pair.a, pair.b))
  shared = [seed for seed in a if seed in b]
  for seed in shared:
    of_a, of_b = (_scores(one.records[seed], attack) for one in (pair.a, pair.b))
    found[seed] = of.minus(b[seed], a[seed])
    same = False
    if of_a is not None and of_b is not None:
      same = np.array_equal(of_a.is_member, of_b.is_member)
      if same and len(shared) == 1:  # over several seeds the seeds tell how differences vary
        found[seed] = paired(of_a, of_b, known)
    are_paired.append(same)
  return found, bool(are_paired) and all(are_paired)


def paired(a: Scores, b: Scores, known: Known | None = None) -> Figure:
  """b - a of the AUC on the same targets and splits, by a bootstrap over both.

  Args:
    a: scores of the first.
    b: scores of the second, with the same members.
    known: replicates of earlier calls; those of this one are added.
  """
  _, differences = membership_figures.estimate(
    {"a": a, "b": b}, [("b", "a")], num_bootstrap=_NUM_BOOTSTRAP, seed=0, known=known
  )
  one = differences["b", "a"]["auc"]
  assert one.value is not None, "figures of these scores can be estimated"
  return Figure(one.value, one.low, one.high)


def _scores(record: Record, attack: str) -> Scores | None:
  """The scores of an attack on a cell's distilled set, where they can be compared."""
  arrays = record.scores or {}
  if f"distilled/{attack}" not in arrays:
    return None
  scores = Scores(arrays[f"distilled/{attack}"], arrays["is_member"])
  return scores if membership_figures.is_estimable(scores) else None


def corrected(found: Sequence[Difference]) -> dict[int, float]:
  """{place: p-value by Holm} of the differences that have one."""
  values = adjusted_known([one.estimate.p for one in found])
  return {i: value for i, value in enumerate(values) if value is not None}


def factor_mean(found: Sequence[Difference], factor: str) -> tuple[over_seeds.Estimate, int] | None:
  """The mean difference of a factor over pairs, and over how many."""
  chosen = [one for one in found if one.pair.factor == factor]
  return of.mean_over([one.by_seed for one in chosen], (-1.0, 1.0))
