"""The grid of a study: its axes as data, and the ordinary runs, called cells, that they stand for.

A cell is a config of one of the other tasks. What several cells build on is a cell that they wait
for: networks on the full train set, expert trajectories, packed data.
"""

import ast
import itertools
import re
from typing import Any, Iterable, Mapping

from ml_collections import ConfigDict

from ddjax.config import compare
from ddjax.stages.shadows import DRAW_TARGETS, TRAINED_ON_KERNELS
from ddjax.study import check, filters
from ddjax.study.cell import AXES, FULL_SET, Cell, name_of
from ddjax.wording import nearest

_ORDER = ("seed", "dataset", "num_classes", "ipc", "variant", "method", "init")
"""The axes from the slowest to the fastest: one seed of everything comes before the next seed."""
SHARED = (
  "accuracy_evaluation", "kernel_evaluation", "privacy", "robustness", "fairness", "features",
)  # fmt: skip
"""Groups of the study's config that all cells take as they are: they are judged alike."""


def cells_of(config: ConfigDict) -> list[Cell]:
  """All cells of a study, each after those that it needs.

  Args:
    config: see `configs/study.py`.
  Raises:
    ValueError: for a setting that cannot be meant, see `ddjax.study.check`, a grid without cells,
      an unknown method or variant, or two cells that are the same run.
  """
  check.check(config)
  varied = _varied(config)
  check.check_varied(config, varied)
  combinations = list(_combinations(config))
  check.check_filters(config, combinations, dict(varied))
  made: dict[str, Cell] = {}
  for factors in combinations:
    if filters.matches_any(factors, (*config.preset_exclude, *config.exclude)):
      continue
    for cell in _with_needs(config, factors):
      _add(made, cell)
  for cell in [*_real_curves(config, made), *_transfers(config, made)]:
    _add(made, cell)
  if made and config.only:
    check.check_only(config.only, made.values())
    made = _chosen(made, config.only)
  if not made:
    raise ValueError(
      f"The grid has no cells: axes {_text(config.axes.to_dict())}, exclude={config.exclude!r}, "
      f"only={config.only!r}."
    )
  return list(made.values())


def _varied(config: ConfigDict) -> list[tuple[str, tuple]]:
  """The further axes of `config.vary`, such as "outer.learning_rate=(0.1, 1.0)"."""
  found = []
  for text in config.vary:
    name, has_values, values = (part.strip() for part in text.partition("="))
    try:
      values = ast.literal_eval(values)
      if not has_values or not isinstance(values, (tuple, list)) or not values:
        raise ValueError
    except (ValueError, SyntaxError) as error:
      raise ValueError(
        f"vary={text!r} is not of the form FIELD=(VALUE, ...), such as "
        "'outer.learning_rate=(0.1, 1.0)'."
      ) from error
    found.append((name, tuple(values)))
  return found


def _combinations(config: ConfigDict) -> Iterable[dict[str, Any]]:
  """The factors of every method cell, before exclusions; each once."""
  axes = {name: tuple(config.axes.get(name, ())) or (None,) for name in _ORDER}
  varied = _varied(config)
  seen = set()
  for values in itertools.product(*axes.values(), *(values for _, values in varied)):
    factors = dict(zip((*axes, *dict(varied)), values, strict=True))
    factors = {name: factors[name] for name in (*AXES, *dict(varied))}
    plan = _plan(config, factors)
    if "init" not in plan.get("synthetic", {}):
      factors["init"] = None
    factors["num_classes"] = factors["num_classes"] or None
    for name, _ in varied:
      if not _has_field(plan, name):
        factors[name] = None
    for one in _by_preprocessing(config, plan, factors):
      if repr(one) not in seen:
        seen.add(repr(one))
        yield one


def _by_preprocessing(
  config: ConfigDict, plan: ConfigDict, factors: dict[str, Any]
) -> Iterable[dict[str, Any]]:
  """The factors with the preprocessing of the method; of a coreset, with that of every method.

  None where all methods of the study share one.
  """
  kinds = dict.fromkeys(
    _plan(config, {**factors, "method": method}).data.preprocessing
    for method in config.axes.method
    if _plan(config, {**factors, "method": method}).method != "coreset"
  )
  if len(kinds) < 2:
    return [factors | {"preprocessing": None}]
  own = kinds if plan.method == "coreset" else (plan.data.preprocessing,)
  return [factors | {"preprocessing": kind} for kind in own]


def _plan(config: ConfigDict, factors: Mapping[str, Any]) -> ConfigDict:
  """The config of a method on a data set at an ipc, as its file in `configs/` gives it."""
  name = plan_name(factors["method"], factors["dataset"], factors["ipc"])
  if name not in config.plans:
    raise ValueError(
      f"The study has no plan {name!r}; methods, data sets and ipcs are those of the preset, which "
      f"configs/study.py changes by words behind the colon. {nearest(name, config.plans)}"
    )
  return config.plans[name]


def plan_name(method: str, dataset: str, ipc: int | None = None) -> str:
  """The key of a plan, such as "dm-digits-ipc1"; full sets have no ipc."""
  return f"{method}-{dataset}" + ("" if ipc is None else f"-ipc{ipc}")


def _with_needs(config: ConfigDict, factors: dict[str, Any]) -> list[Cell]:
  """A method cell, after the cells that it needs."""
  plan = _plan(config, factors)
  cell_config = _cell_config(config, plan, factors)
  needed = _data(config, factors)
  if config.full_set:
    needed.append(_full(config, factors, needed))
  if "experts" in cell_config:
    needed.append(_experts(config, factors, needed))
  role = "baseline" if plan.method == "coreset" else "method"
  names = tuple(cell.name for cell in needed)
  return [*needed, Cell(name_of(factors), role, "distill", factors, cell_config, names)]


def _cell_config(config: ConfigDict, plan: ConfigDict, factors: Mapping[str, Any]) -> ConfigDict:
  """An ordinary run's config: the plan, judged as all cells are, with the factors set."""
  cell = plan.copy_and_resolve_references().unlock()
  cell.num_replicas, cell.evaluate_initial = 1, False
  cell.evaluators = _evaluators(config, plan, factors)
  if "curve" in cell:
    cell.curve.models = "none"
  _share(config, cell, factors)
  if config.full_set:  # from the cache; trained here where the machines do not share theirs
    cell.accuracy_evaluation.full_set = "train"
  if "experts" in cell:
    cell.experts.seed = factors["seed"]
  if factors["init"] is not None:
    cell.synthetic.init = factors["init"]
  if factors["variant"] is not None:
    cell.update(_variant(config, factors["variant"]))
  for name, _ in _varied(config):
    if factors[name] is not None:
      _set_field(cell, name, factors[name])
  return cell.lock()


def _share(config: ConfigDict, cell: ConfigDict, factors: Mapping[str, Any]) -> None:
  """Sets what all cells of a study have in common, the seed and the classes."""
  cell.seed = factors["seed"]
  cell.data.num_classes = factors["num_classes"]
  if factors["num_classes"] is not None and cell.get("method") in DRAW_TARGETS:
    cell.outer.target_batch_size = 0  # as large as fewer classes allow
  if factors["preprocessing"] is not None:
    cell.data.preprocessing = factors["preprocessing"]
  cell.variant = "study"
  cell.num_random_subsets = config.num_random_subsets
  for name in SHARED:
    cell[name] = config[name].copy_and_resolve_references()


def _evaluators(config: ConfigDict, plan: ConfigDict, factors: Mapping[str, Any]) -> tuple:
  """The study's evaluators, without those that only the first seed gets."""
  names = [name for name in config.evaluators if name != "kernel" or _has_kernel(plan)]
  is_first = factors["seed"] == config.axes.seed[0]
  return tuple(name for name in names if is_first or name not in config.first_seed_only)


def _has_kernel(plan: ConfigDict) -> bool:
  return plan.method in TRAINED_ON_KERNELS


def _variant(config: ConfigDict, name: str) -> dict[str, Any]:
  if name not in config.variants:
    raise ValueError(f"Unknown variant {name!r}. {nearest(name, config.variants)}")
  return config.variants[name].to_dict()


def _set_field(cell: ConfigDict, name: str, value: Any) -> None:
  """Sets a dotted field that there is."""
  *groups, last = name.split(".")
  for group in groups:
    cell = cell[group]
  cell[last] = value


def _has_field(config: ConfigDict, name: str) -> bool:
  return name in compare.flatten(config.to_dict())


def _full(
  config: ConfigDict, factors: Mapping[str, Any], needed: list[Cell], steps: int | None = None
) -> Cell:
  """Networks on the whole train set; for `steps` steps only."""
  plan = config.plans[plan_name("full", factors["dataset"])]
  kept = ("dataset", "num_classes", "preprocessing", "seed")
  own = dict.fromkeys(factors) | {"method": FULL_SET} | {name: factors[name] for name in kept}
  cell = plan.copy_and_resolve_references().unlock()
  _share(config, cell, own)
  cell.accuracy_evaluation.full_steps = steps
  name = name_of(own | {"method": "full" if steps is None else f"steps{steps}"})
  if steps is not None:
    own["steps"] = steps
  role = "full" if steps is None else "steps"
  return Cell(name, role, "full_set", own, cell.lock(), tuple(one.name for one in needed))


def _experts(config: ConfigDict, factors: Mapping[str, Any], needed: list[Cell]) -> Cell:
  """The expert trajectories that a method follows, for as many epochs as its longest row needs."""
  own = dict.fromkeys(factors) | {
    "method": "experts",
    **{name: factors[name] for name in ("dataset", "num_classes", "preprocessing", "seed")},
  }
  rows = [_plan(config, {**factors, "ipc": ipc}) for ipc in config.axes.ipc]
  kind = _plan(config, factors).data.preprocessing
  rows = [row for row in rows if row.data.preprocessing == kind]
  cell = rows[0].copy_and_resolve_references().unlock()
  _share(config, cell, own)
  cell.task, cell.method, cell.experts.seed = "experts", "experts", factors["seed"]
  cell.experts.num_epochs = max(map(_expert_epochs, rows))
  name = re.sub("^experts", f"experts-{factors['method']}", name_of(own))
  data = tuple(one.name for one in needed if one.role == "data")
  return Cell(name, "experts", "experts", own, cell.lock(), data)


def _expert_epochs(row: ConfigDict) -> int:
  """How many epochs of its experts a method reads; of MTT's, one more than that."""
  if "network_epochs" in row.outer:
    return row.outer.network_epochs
  followed = row.outer.max_start_epoch + row.outer.expert_epochs
  return max(followed, row.synthetic.get("start_epoch", 0))


def _data(config: ConfigDict, factors: Mapping[str, Any]) -> list[Cell]:
  """The decoded real set as one file in the study's folder, where the study packs its data."""
  if not config.pack_data:
    return []
  plan = config.plans[plan_name("data", factors["dataset"])]
  own = dict.fromkeys(factors) | {"method": "data", "dataset": factors["dataset"]}
  return [Cell(f"data-{factors['dataset']}", "data", "pack", own, plan)]


def _real_curves(config: ConfigDict, made: Mapping[str, Cell]) -> list[Cell]:
  """Random subsets of further sizes, and networks on the full set after so many steps."""
  out = []
  kept = ("dataset", "num_classes", "preprocessing", "seed")
  groups = dict.fromkeys(
    tuple(cell.factors[name] for name in kept)
    for cell in made.values()
    if cell.role in ("method", "baseline")
  )
  if any(num_classes is None for _, num_classes, *_ in groups):  # of fewer classes it is not asked
    groups = [group for group in groups if group[1] is None]
  for group in groups:
    factors = dict.fromkeys(next(iter(made.values())).factors) | dict(zip(kept, group, strict=True))
    needed = _data(config, factors)
    names = tuple(one.name for one in needed)
    for ipc in config.subset_ipcs:
      own = factors | {"method": "random", "ipc": ipc}
      plan = config.plans[plan_name("random", factors["dataset"], min(config.axes.ipc))]
      cell = _cell_config(config, plan, own).unlock()
      cell.synthetic.ipc, cell.evaluators, cell.variant = ipc, ("accuracy",), "curve"
      cell.accuracy_evaluation.full_set = "none"
      if name_of(own) not in made:
        out.append(Cell(name_of(own), "curve", "distill", own, cell.lock(), names))
    out += [_full(config, factors, needed, steps) for steps in config.real_steps]
  return out


def _transfers(config: ConfigDict, made: Mapping[str, Cell]) -> list[Cell]:
  """For every variant of the kernel: all sets under it, side by side."""
  if not config.transfer:
    return []
  out, groups = [], {}
  for cell in made.values():
    if cell.role == "method":
      key = tuple(cell.factors[name] for name in ("dataset", "ipc", "num_classes", "seed"))
      groups.setdefault(key, []).append(cell.name)
  for (dataset, ipc, num_classes, seed), names in groups.items():
    for variant in config.axes.variant:
      own = dict.fromkeys(next(iter(made.values())).factors) | {
        "method": "transfer", "dataset": dataset, "ipc": ipc, "num_classes": num_classes,
        "variant": variant, "seed": seed,
      }  # fmt: skip
      plan = config.plans[plan_name("transfer", dataset)]
      cell = plan.copy_and_resolve_references().unlock()
      _share(config, cell, own)
      cell.update(_variant(config, variant))
      out.append(Cell(name_of(own), "transfer", "evaluate", own, cell.lock(), (), tuple(names)))
  return out


def _add(made: dict[str, Cell], cell: Cell) -> None:
  """Adds a cell; one that several need is added once."""
  if cell.name not in made:
    made[cell.name] = cell
  elif compare.plain(made[cell.name].config) != compare.plain(cell.config):
    raise ValueError(f"Two cells of the grid have the name {cell.name!r} and other configs.")


def _chosen(made: Mapping[str, Cell], only: str) -> dict[str, Cell]:
  """The cells that match, and all that they need."""
  found = filters.parse(only)
  wanted = {name for name, cell in made.items() if filters.matches(cell.factors, found)}
  for name in reversed(list(made)):
    if name in wanted:
      wanted |= {*made[name].needs, *made[name].sets}
  return {name: cell for name, cell in made.items() if name in wanted}


def _text(axes: Mapping[str, Any]) -> str:
  return ", ".join(f"{name}={tuple(values)}" for name, values in axes.items())
