"""FairDD: every group of a class is matched by itself, each with weight one.

Zhou, Fang, He, Meng, Chen 2025, "FairDD: Fair Dataset Distillation" (arXiv 2411.19623). A method
that matches a class of real examples as a whole follows its largest group: of digits that are
mostly red it learns red digits. With S(.) what the base method matches (DM: mean features; DC, DSA
and IDC: the gradient of the mean loss) and d its distance, the loss of class c is

  sum over groups g of  d(S(real examples of class c and group g), S(synthetic images of class c)),

in place of d(S(real examples of class c), S(synthetic images of class c)). Groups belong to the
real examples alone: synthetic images have none, and networks that are trained on them see none. A
group that a batch lacks is left out of that step.

A sum over g groups is g times as steep as what the base methods have rates for, and overshoots
at them. So unless `fair.divides_rate` is off, rates are divided by g, which is SGD on the mean over
groups.
"""

from typing import Any

from ml_collections import ConfigDict

from ddjax.distillers.dm import make_dm
from ddjax.distillers.dsa import make_dsa
from ddjax.distillers.idc import make_idc
from ddjax.types import DatasetInfo, Distiller
from ddjax.wording import look_up

BASES: dict[str, Any] = {"dm": make_dm, "dc": make_dsa, "dsa": make_dsa, "idc": make_idc}
"""Methods that FairDD changes: name to factory."""


def make_fairdd(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds FairDD from its config; see `configs/fairdd.py` for the fields.

  Raises:
    ValueError: for a data set without groups, a group without an example of a class, an unknown
      base method, and what that refuses.
  """
  make = look_up(BASES, config.fair.base, "fair.base")
  num_groups, missing = check_groups(info, config.fair.allow_missing)
  remarks = [f"{num_groups} groups are matched by {config.fair.base}, each with weight one."]
  base = config.copy_and_resolve_references().unlock()
  if config.fair.divides_rate:
    base.outer.learning_rate /= num_groups
    base.outer.label_learning_rate /= num_groups
    remarks.append(
      f"Learning rate {base.outer.learning_rate:.3g}: {config.outer.learning_rate:.3g} over the "
      "number of groups."
    )
  distiller = make(base, info, axis_name, num_groups=num_groups)
  if missing:
    remarks.append(f"{_first_of(missing)}; {len(missing)} of such pairs are left out.")
  return distiller._replace(remarks=(*distiller.remarks, *remarks))


def check_groups(info: DatasetInfo, allow_missing: bool) -> tuple[int, list[tuple[int, int]]]:
  """The number of groups, and the pairs (class, group) without a train example.

  Args:
    info: of the data set.
    allow_missing: whether there may be such pairs.
  Raises:
    ValueError: without groups, where every class is of one group, and for a pair that is missing.
  """
  if not info.group_counts:
    raise ValueError(
      f"method='fairdd' needs groups, and {info.name} has none: set data.colour_bias for grey "
      "images, or give data.name=npz a file with an array 'groups'."
    )
  missing = [
    (label, group)
    for label, counts in enumerate(info.group_counts)
    for group, count in enumerate(counts)
    if not count
  ]
  num_groups = len(info.group_counts[0])
  if all(sum(count > 0 for count in counts) == 1 for counts in info.group_counts):
    raise ValueError(
      f"All train examples of a class of {info.name} are of one group (class 0: "
      f"{list(info.group_counts[0])} by group): there is nothing that FairDD could balance."
    )
  if missing and not allow_missing:
    raise ValueError(
      f"{_first_of(missing)} ({len(missing)} such pairs of class and group): merge groups, or set "
      "fair.allow_missing=True, which leaves these pairs out."
    )
  return num_groups, missing


def _first_of(missing: list[tuple[int, int]]) -> str:
  """Words for the first pair."""
  label, group = missing[0]
  return f"Class {label} has no train example of group {group}"
