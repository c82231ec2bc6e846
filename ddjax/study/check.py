"""What is wrong with a study's own settings, found before there is a grid.

The settings of a cell are those of an ordinary run, and are checked as that run checks them.
"""

import math
from typing import Any, Callable, Collection, Iterable, Iterator, Mapping

from ml_collections import ConfigDict

from ddjax.attacks import corruptions
from ddjax.config import compare
from ddjax.distillers import idc, mtt
from ddjax.evaluators import attack_runs, privacy
from ddjax.registry import EVALUATORS
from ddjax.stages.fit import FULL_SET
from ddjax.stages.shadows import PREDICTORS
from ddjax.study import filters
from ddjax.study.cell import AXES, Cell
from ddjax.tuning import MACHINES
from ddjax.wording import nearest

_POSITIVE, _FROM_ZERO = "a whole number from 1", "a whole number from 0"
_TEXT = "a name"
_OF_AXES = {
  "method": _TEXT, "dataset": _TEXT, "ipc": _POSITIVE, "init": _TEXT,
  "num_classes": _FROM_ZERO, "variant": _TEXT, "seed": _FROM_ZERO,
}  # fmt: skip
_NEEDED_AXES = ("method", "dataset", "ipc", "seed")
_LENGTHS = ("subset_ipcs", "real_steps")
_NAMES = {
  "evaluators": EVALUATORS,
  "first_seed_only": EVALUATORS,
  "claims_attacks": privacy.ATTACKS,
  "privacy.attacks": privacy.ATTACKS,
  "robustness.attacks": attack_runs.ATTACKS,
  "robustness.corruptions": corruptions.CORRUPTIONS,
}
_ONE_OF = {
  "estimate_for": ("", *MACHINES),
  "accuracy_evaluation.full_set": FULL_SET,
  "privacy.predictor": ("", *PREDICTORS),
  "privacy.init": ("", *dict.fromkeys((*mtt.INITS, *idc.INITS))),
}
_LEAST = {
  "max_minutes": 0, "max_cell_minutes": 0, "max_attempts": 1, "patience_seconds": 1,
  "num_random_subsets": 1, "kernel_evaluation.num_bootstrap": 2, "fairness.num_bootstrap": 2,
  "accuracy_evaluation.num_bootstrap": 2, "accuracy_evaluation.full_epochs": 1,
  "accuracy_evaluation.full_steps": 1, "privacy.num_splits": 4, "privacy.num_networks": 1,
  "privacy.num_epochs": 1, "privacy.full_epochs": 1, "privacy.max_targets": 1,
  "privacy.num_bootstrap": 2, "privacy.max_examples": 0, "privacy.ipc": 0, "privacy.num_steps": 0,
  "privacy.max_experts": 0, "privacy.max_steps": 0, "robustness.num_bootstrap": 2,
  "robustness.convergence_tolerance": 0, "robustness.deepfool.overshoot": 0,
  "robustness.index_weight": 0,
}  # fmt: skip
"""Of what others find only when it is used, in the middle of a study, or of a study alone."""
_POSITIVE_NUMBERS = (
  "privacy.member_fraction", "robustness.pgd.relative_step",
  "robustness.carlini_wagner.learning_rate", "robustness.carlini_wagner.initial_weight",
)  # fmt: skip
_MOST = {"robustness.index_weight": 1}
_BY_AXIS = {
  "method": "method", "coreset.method": "method", "data.name": "dataset", "synthetic.ipc": "ipc",
  "synthetic.init": "init", "data.num_classes": "num_classes", "variant": "variant",
  "seed": "seed", "experts.seed": "seed",
}  # fmt: skip
"""Fields of a cell that an axis sets."""
_BY_STUDY = (
  "task", "num_replicas", "evaluate_initial", "evaluators", "num_random_subsets", "curve.models",
)  # fmt: skip
"""Fields that a study sets for all of its cells."""


def check(config: ConfigDict) -> None:
  """Raises ValueError for a setting of a study that cannot be meant, naming it.

  Args:
    config: see `configs/study.py`.
  """
  _check_numbers(config)
  for name, known in _NAMES.items():
    for one in _texts(name, _get(config, name)):
      if one not in known:
        raise ValueError(f"Unknown name {one!r} in {name}. {nearest(one, known)}")
  for name, known in _ONE_OF.items():
    if (one := _get(config, name)) not in known:
      raise ValueError(f"Unknown {name}={one!r}. {nearest(one, filter(None, known))}")
  _check_axes(config)
  for name in _LENGTHS:
    _check_each(name, config[name], _POSITIVE)
  for name in ("vary", "exclude", "preset_exclude"):
    _texts(name, config[name])


def _get(config: ConfigDict, name: str) -> Any:
  """The value of a dotted field."""
  for part in name.split("."):
    config = config[part]
  return config


def _check_numbers(config: ConfigDict) -> None:
  """Refuses numbers out of their range; an absent one is not looked at."""

  def refuse(name: str, is_right: Callable[[float], bool], must: str) -> None:
    value = _get(config, name)
    fields = {name: value}
    if isinstance(value, ConfigDict):
      fields = {f"{name}.{one}": value[one] for one in value}
    for field, one in fields.items():
      if one is not None and not is_right(one):
        raise ValueError(f"{field}={one} must be {must}.")

  for name, least in _LEAST.items():
    refuse(name, lambda one, least=least: one >= least, f"at least {least}")
  for name in _POSITIVE_NUMBERS:
    refuse(name, lambda one: one > 0, "positive")
  for name, most in _MOST.items():
    refuse(name, lambda one, most=most: one <= most, f"at most {most}")
  refuse("privacy.member_fraction", lambda one: one < 1, "less than 1")


def _check_axes(config: ConfigDict) -> None:
  for name in config.axes:
    if name not in AXES:
      raise ValueError(f"Unknown axis {name!r}. {nearest(name, AXES)}")
    values = config.axes[name]
    if not isinstance(values, (tuple, list)):
      raise ValueError(f"axes.{name}={values!r} must be a tuple, such as (1, 10).")
    if name in _NEEDED_AXES and not values:
      raise ValueError(f"The grid has no cells: axes.{name} is empty.")
    if name == "num_classes":  # None is 0, all of them
      values = tuple(0 if one is None else one for one in values)
    _check_each(f"axes.{name}", values, _OF_AXES[name])


def _check_each(name: str, values: Iterable[Any], kind: str) -> None:
  """Refuses a value that is not of the kind, and one that stands twice."""
  seen: list[Any] = []
  for one in values:
    is_number = isinstance(one, int) and not isinstance(one, bool)
    is_right = is_number and one >= (kind == _POSITIVE)
    if kind == _TEXT:
      is_right = isinstance(one, str) and bool(one)
    if not is_right:
      raise ValueError(f"{name}={tuple(values)!r}: {one!r} must be {kind}.")
    if one in seen:
      raise ValueError(f"{name}={tuple(values)!r} names {one!r} twice.")
    seen.append(one)


def _texts(name: str, values: Iterable[Any]) -> Iterable[str]:
  for one in values:
    if not isinstance(one, str):
      raise ValueError(f"{name}={tuple(values)!r}: {one!r} must be a text.")
  return values


def check_varied(config: ConfigDict, varied: Iterable[tuple[str, tuple]]) -> None:
  """Raises ValueError for further axes, or variants, that the cells cannot take.

  Args:
    config: see `configs/study.py`.
    varied: dotted fields and their values, of `config.vary`.
  """
  used = [name for name in config.axes.get("variant", ()) if name in config.variants]
  of_variants = {name: compare.flatten(config.variants[name].to_dict()) for name in used}
  seen = set()
  for name, values in varied:
    where = f"vary: {name}={values!r}"
    if name in seen:
      raise ValueError(f"vary names {name!r} twice; give it all values at once.")
    seen.add(name)
    for variant, fields in of_variants.items():
      if name in fields:
        raise ValueError(f"{where}: the variant {variant!r} sets that field too.")
    _check_field(config, name, where)
    for place, value in enumerate(values):
      _check_value(config, name, value, where)
      if value in values[:place]:
        raise ValueError(f"{where} names {value!r} twice.")
  for variant, fields in of_variants.items():
    for name, value in fields.items():
      where = f"variants.{variant}: {name}={value!r}"
      _check_field(config, name, where)
      _check_value(config, name, value, where)


def _check_field(config: ConfigDict, name: str, where: str) -> None:
  """Refuses a field that no method of the study has, and one that the grid sets."""
  known = set()
  for plan in config.plans.values():
    known |= compare.flatten(plan.to_dict()).keys()
  if name not in known:
    raise ValueError(f"No method here has a field {name!r} to vary. {nearest(name, known)}")
  if name in _BY_AXIS:
    raise ValueError(f"{where}: an axis sets that field; use axes.{_BY_AXIS[name]}.")
  is_set = {
    "accuracy_evaluation.full_set": config.full_set,
    "data.data_dir": config.pack_data,
    "data.preprocessing": len(_kinds(config)) > 1,
  }
  if name in _BY_STUDY or is_set.get(name):
    raise ValueError(f"{where}: the study sets that field of its cells itself.")


def _kinds(config: ConfigDict) -> set[str]:
  """How the methods' own configs preprocess; more than one are a factor of the grid."""
  plans = (plan for plan in config.plans.values() if plan.get("method") in config.axes.method)
  return {plan.data.preprocessing for plan in plans}


def _check_value(config: ConfigDict, name: str, value: Any, where: str) -> None:
  """Refuses a value of another type than a method's field has."""
  for group in _groups(config, name):
    last = name.rpartition(".")[2]
    kind = group.get_type(last)
    if value is None and kind is not type(None):
      raise ValueError(f"{where}: None cannot be varied, it says that a method has no such field.")
    if not _suits(value, kind):
      article = "an" if kind.__name__[0] in "aeiou" else "a"
      raise ValueError(f"{where}: {value!r} must be {article} {kind.__name__}.")
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f"{where}: {value!r} must be finite.")


def _groups(config: ConfigDict, name: str) -> Iterator[ConfigDict]:
  """The innermost groups that hold a field: of the methods that have it, and of the study."""
  *outer, last = name.split(".")
  for group in (*config.plans.values(), *([config] if outer else [])):
    for one in outer:
      group = group.get(one) if isinstance(group, ConfigDict) else None
    if isinstance(group, ConfigDict) and last in group:
      yield group


def _suits(value: Any, kind: type) -> bool:
  """Whether a field of the type takes the value; one that nobody gave a type takes all but None."""
  if value is None or isinstance(value, bool):
    return value is not None and kind in (bool, type(None))
  if kind in (float, int):
    return isinstance(value, int) or (kind is float and isinstance(value, float))
  if kind is tuple:
    return isinstance(value, (tuple, list))
  return kind is type(None) or isinstance(value, kind)


def check_filters(
  config: ConfigDict, combinations: Collection[Mapping[str, Any]], varied: Iterable[str]
) -> None:
  """Raises ValueError for a filter that is none, names no axis, or excludes a value there is not.

  What a preset leaves out need not be there: a smaller grid of the same preset has less.

  Args:
    config: see `configs/study.py`.
    combinations: the factors of every method cell, before exclusions.
    varied: dotted fields of `config.vary`.
  """
  known = (*AXES, "preprocessing", *varied)
  for text in (*config.preset_exclude, *config.exclude, *([config.only] if config.only else [])):
    wanted = filters.parse(text)
    if not wanted:
      raise ValueError(f"{text!r} names no axis; a filter has the form AXIS=VALUE.")
    for name in wanted:
      if name not in known and name != "steps":
        raise ValueError(f"Unknown axis {name!r} in {text!r}. {nearest(name, known)}")
  for text in config.exclude:
    if "steps" in filters.parse(text):
      raise ValueError(f"exclude={text!r}: lengths of trainings are left out by real_steps.")
    _check_found(f"exclude={text!r}", text, combinations)


def check_only(only: str, cells: Iterable[Cell]) -> None:
  """Raises ValueError for a value in `only` that no cell has."""
  _check_found(f"only={only!r}", only, [cell.factors for cell in cells])


def _check_found(where: str, text: str, factors: Collection[Mapping[str, Any]]) -> None:
  for name, value in filters.parse(text).items():
    known = {filters.text_of(one, name) for one in factors}
    if value not in known:
      raise ValueError(f"{where}: no cell has {name}={value}. {nearest(value, known)}")
