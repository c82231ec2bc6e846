"""Cells that differ by their seed alone, and the figures that they measured."""

import math
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ddjax.statistics import over_seeds
from ddjax.statistics.rank_figures import Measured
from ddjax.study.records import Record

NAMES = {
  "kip": "KIP", "dp_kip": "DP-KIP", "robust_kip": "robust KIP", "label_solve": "Label Solve",
  "datm": "DATM", "dc": "DC", "dsa": "DSA", "dm": "DM", "dp_dm": "DP-DM", "robust_dm": "robust DM",
  "fairdd": "FairDD", "idc": "IDC", "mtt": "MTT", "ncfm": "NCFM", "frepo": "FRePo",
  "random": "random subset", "herding": "herding", "k_center": "k-centre", "k_means": "k-means",
  "full set": "full set",
}  # fmt: skip
"""Methods in words."""
_CORE = ("method", "dataset", "ipc", "init", "num_classes", "preprocessing")
DATA = ("dataset", "num_classes", "preprocessing")
"""Factors that conditions must share to be held against each other."""
PROBLEM = ("dataset", "num_classes")  # likewise for accuracies, whatever the preprocessing
KERNEL = "kernel regression"
_FRACTIONS = (0.0, 1.0)
_HALF_NORMAL = 1.959963984540054


class Figure(NamedTuple):
  """A figure of one cell: value, 95 % interval where it has one, and one value a network."""

  value: float
  low: float | None = None
  high: float | None = None
  networks: tuple[float, ...] = ()

  @property
  def half(self) -> float | None:
    """The longer side of the interval, for one may be cut at a limit; None without one."""
    if self.low is None or self.high is None:
      return None
    return max(self.high - self.value, self.value - self.low)

  def moved(self, by: float) -> "Figure":
    """The figure and its interval, so much higher; without networks."""
    if self.low is None or self.high is None:
      return Figure(self.value + by)
    return Figure(self.value + by, self.low + by, self.high + by)


class Condition(NamedTuple):
  """Finished cells that differ by their seed alone.

  Attributes:
    role: of the cells.
    factors: all but the seed, without those that do not apply.
    records: {seed: record}.
  """

  role: str
  factors: dict[str, Any]
  records: dict[int, Record]

  @property
  def method(self) -> str:
    """In words, with further fields that set it apart."""
    return method_label(self.factors)


def conditions(records: Iterable[Record], *roles: str) -> list[Condition]:
  """The conditions of some roles that have at least one finished cell, in order."""
  found: dict[tuple, Condition] = {}
  for record in records:
    if record.role not in roles or record.report is None:
      continue
    factors = {k: v for k, v in record.factors.items() if k != "seed" and v is not None}
    key = (record.role, *sorted((name, repr(value)) for name, value in factors.items()))
    one = found.setdefault(key, Condition(record.role, factors, {}))
    one.records[int(record.factors.get("seed") or 0)] = record
  return list(found.values())


def method_label(factors: Mapping[str, Any]) -> str:
  """`DM`, or `KIP, ntk-fc` where a variant or a further field sets it apart."""
  method = str(factors.get("method"))
  extra = [
    str(value) if name == "variant" else f"{name.rsplit('.', 1)[-1]} {value}"
    for name, value in factors.items()
    if name not in (*_CORE, "seed", "steps") and value not in (None, "")
  ]
  return ", ".join([NAMES.get(method, method), *extra])


def describe(factors: Mapping[str, Any], shown: Sequence[str] = ("ipc", "init")) -> str:
  """`DM (10 images a class, from noise)`; without a method what is in brackets alone."""
  texts = {
    "dataset": lambda value: f"on {value}",
    "ipc": lambda value: f"{value} image{'' if value == 1 else 's'} a class",
    "init": lambda value: f"from {value}" + (" images" if value == "real" else ""),
    "num_classes": lambda value: f"{value} classes",
    "preprocessing": lambda value: f"preprocessing {value}",
  }
  parts = [texts[name](factors[name]) for name in shown if factors.get(name) is not None]
  text = ", ".join(parts)
  if not factors.get("method"):
    return text
  return f"{method_label(factors)} ({text})" if text else method_label(factors)


def varying(conditions: Sequence[Condition]) -> list[str]:
  """Which of data set, ipc, init, classes, preprocessing take several values; ipc always."""
  return [
    name
    for name in ("dataset", "ipc", "init", "num_classes", "preprocessing")
    if name == "ipc" or len({repr(one.factors.get(name)) for one in conditions}) > 1
  ]


def shared_names(conditions: Sequence[Condition]) -> list[str]:
  """What names a group of conditions that can be held against each other; always the ipc."""
  names = varying(conditions)
  is_several = "dataset" in names or "num_classes" in names
  shown = ["dataset", "num_classes", "ipc"] if is_several else ["ipc"]
  return [*shown, "preprocessing"] if "preprocessing" in names else shown


def network_of(record: Record, report: str) -> str | None:
  """The predictor that a report's plain figures are of: the first of its list."""
  content = (record.report or {"reports": {}})["reports"].get(report)
  networks = content["settings"].get("architectures") if content else None
  return networks[0] if networks else None


def predictor_of(condition: Condition, report: str) -> str | None:
  """Whose figures a report's plain ones are: a network, or `KERNEL`; None where it does not say."""
  for record in condition.records.values():
    content = (record.report or {"reports": {}})["reports"].get(report)
    name = content and (content["settings"].get("predictor") or network_of(record, report))
    if name:
      return KERNEL if name in ("kernel", KERNEL, "test_accuracy") else name
  return None


def by_kernel(
  conditions: Iterable[Condition], report: str
) -> tuple[list[Condition], list[Condition]]:
  """The conditions whose figures are of networks, and those of kernel regression."""
  parts: tuple[list[Condition], list[Condition]] = ([], [])
  for one in conditions:
    parts[predictor_of(one, report) == KERNEL].append(one)
  return parts


def different_networks(
  conditions: Iterable[Condition], report: str, figures: str = "Figures"
) -> list[str]:
  """A sentence where the `figures` of a report are not all of one predictor; else none."""
  found: dict[str, dict[str, None]] = {}
  for one in conditions:
    if (predictor := predictor_of(one, report)) is not None:
      found.setdefault(predictor, {})[one.method] = None
  if len(found) < 2:
    return []
  told = "; ".join(f"{name} of {', '.join(methods)}" for name, methods in found.items())
  return [f"{figures} are not all of one predictor, and compare predictors too: {told}."]


def own_keys(record: Record, report: str) -> list[str]:
  """The keys of a report without those of its further predictors, which end in their names."""
  content = (record.report or {"reports": {}})["reports"].get(report)
  if content is None:
    return []
  others = tuple(f"_{name}" for name in (content["settings"].get("architectures") or ())[1:])
  return [key for key in content["scalars"] if not key.endswith(others)]


def with_accuracy(records: Sequence[Record]) -> tuple[list[Record], bool]:
  """Records whose accuracies are all of networks, or all of kernel regression.

  Where no cell of a method trained networks, the report of the kernel predictor takes the place
  of that of networks in every cell; else cells keep what they have, so that an accuracy of kernel
  regression is never held against one of networks.

  Returns:
    the records, and whether their accuracies are those of the kernel predictor.
  """
  reports = [one.report["reports"] for one in records if one.role == "method" and one.report]
  if any("accuracy" in one for one in reports) or not any("kernel" in one for one in reports):
    return list(records), False

  def aliased(record: Record) -> Record:
    if record.report is None or (kernel := record.report["reports"].get("kernel")) is None:
      return record
    own = {**kernel, "settings": {**kernel["settings"], "architectures": ["test_accuracy"]}}
    reports = {**record.report["reports"], "accuracy": own}
    return record._replace(report={**record.report, "reports": reports})

  return [aliased(record) for record in records], True


def figure(record: Record, report: str, key: str, prefix: str = "") -> Figure | None:
  """A figure of a cell's report; None where it was not measured.

  Figures of how unequal classes are stand without what the noise of the test examples adds, where
  the report has them so.

  Args:
    record: the cell.
    report: name of the report.
    key: of the figure; in the report "accuracy" nothing, which is its first network.
    prefix: of a baseline or a paired difference, such as "full_" or "gain_over_random_".
  """
  key = key or network_of(record, report) or ""
  content = (record.report or {"reports": {}})["reports"].get(report)
  if content is None:
    return None
  names = [prefix + key, prefix + key.removeprefix("test_")]
  name = next((one for one in names if content["scalars"].get(one) is not None), None)
  if name is None:
    return None
  value = content["settings"].get("without_noise", {}).get(name)
  low, high = content["interval"].get(name) or (None, None)
  networks = () if value is not None else tuple(content["per_model"].get(name) or ())
  return Figure(content["scalars"][name] if value is None else value, low, high, networks)


def key_like(conditions: Iterable[Condition], report: str, start: str) -> str | None:
  """The first key of a report that begins so, such as `pgd_linf_8_255` for `pgd_linf_`."""
  for one in conditions:
    for record in one.records.values():
      for key in own_keys(record, report):
        if key.startswith(start):
          return key
  return None


def by_seed(condition: Condition, report: str, key: str, prefix: str = "") -> dict[int, Figure]:
  """{seed: figure} of a condition, of the seeds that measured it."""
  found = {seed: figure(record, report, key, prefix) for seed, record in condition.records.items()}
  return {seed: one for seed, one in sorted(found.items()) if one is not None}


def estimate(
  figures: Mapping[int, Figure], limits: tuple[float, float] = (-float("inf"), float("inf"))
) -> over_seeds.Estimate | None:
  """The mean over seeds; of one seed its figure with its own interval."""
  if len(figures) == 1:
    (one,) = figures.values()
    return over_seeds.from_interval(one.value, one.low, one.high)
  return over_seeds.mean([one.value for one in figures.values()], limits) if figures else None


def estimated(
  condition: Condition, report: str, key: str, prefix: str = "", *, is_fraction: bool = True
) -> dict[str, Any] | None:
  """The mean over seeds of a figure for a table, see `as_cell`."""
  limits = (-1.0, 1.0) if prefix.startswith("gain_") else _FRACTIONS
  limits = limits if is_fraction else (-float("inf"), float("inf"))
  return as_cell(estimate(by_seed(condition, report, key, prefix), limits))


def as_cell(one: over_seeds.Estimate | None) -> dict[str, Any] | None:
  """{"value", "low", "high", "seeds"}; None stays."""
  if one is None:
    return None
  return {"value": one.value, "low": one.low, "high": one.high, "seeds": one.num_seeds}


def measured(
  condition: Condition, report: str, key: str, value: Callable[[float], float] = lambda x: x
) -> Measured | None:
  """A figure as it can be redrawn; None where no seed has it."""
  figures = by_seed(condition, report, key)
  if not figures:
    return None
  found = {
    seed: [value(x) for x in (one.networks or (one.value,))] for seed, one in figures.items()
  }
  error = 0.0
  if len(figures) == 1:
    (one,) = figures.values()
    error = (one.half or 0.0) / _HALF_NORMAL
  return Measured(found, error)


def baseline_of(
  condition: Condition, baselines: Sequence[Condition], method: str
) -> Condition | None:
  """The baseline of a method with the same data, classes, preprocessing and images a class."""
  shared = (*DATA, "ipc")
  for one in baselines:
    if one.factors.get("method") == method and all(
      one.factors.get(name) == condition.factors.get(name)
      for name in shared
      if not (name == "ipc" and one.role == "full")
    ):
      return one
  return None


def difference(
  condition: Condition,
  report: str,
  key: str,
  baseline: Condition | None,
  prefix: str,
  gain_prefix: str,
) -> dict[int, Figure]:
  """{seed: what a condition has more than a baseline}.

  The first of these that a seed has: the paired difference of its own report; the figure of the
  baseline in its own report; the baseline's cell of the same seed; the mean of all of them.

  Args:
    condition: whose.
    report: name of the report.
    key: of the figure.
    baseline: its cells, or None.
    prefix: of the baseline's figures in the report.
    gain_prefix: of its paired differences there.
  """
  others = by_seed(baseline, report, key) if baseline else {}
  found = {}
  for seed, own in by_seed(condition, report, key).items():
    record = condition.records[seed]
    if (gain := figure(record, report, key, gain_prefix)) is not None:
      found[seed] = gain
      continue
    other = figure(record, report, key, prefix) or others.get(seed)
    if other is None and others:
      values = [one.value for one in others.values()]
      other = Figure(sum(values) / len(values))
    if other is not None:
      found[seed] = minus(own, other)
  return found


def minus(a: Figure, b: Figure) -> Figure:
  """a - b; the interval as if both were independent."""
  value = a.value - b.value
  if a.half is None or b.half is None:
    return Figure(value)
  half = math.hypot(a.half, b.half)
  return Figure(value, value - half, value + half)


def of_one_problem(conditions: Sequence[Condition], names=DATA) -> list[Condition]:
  """Those of the data and classes that most have: five classes are easier to tell than ten."""
  problems = [tuple(one.factors.get(name) for name in names) for one in conditions]
  most = max(problems, key=problems.count, default=None)
  return [one for one, problem in zip(conditions, problems) if problem == most]


def problem_in_words(conditions: Sequence[Condition], names=DATA) -> str:
  """`, of the 24 sets on digits, all classes`: what `of_one_problem` keeps; nothing for all."""
  kept = of_one_problem(conditions, names)
  if len(kept) == len(conditions):
    return ""
  factors = {name: kept[0].factors.get(name) for name in names}
  if factors["num_classes"] is None:
    factors["num_classes"] = "all"
  return f", of the {len(kept)} sets {describe(factors, names)}"


def seeds_in_words(conditions: Iterable[Condition], report: str, key: str) -> str:
  """How many seeds have a report's figure: `3 seeds`, `1 to 3 seeds`, or `one seed`."""
  counts = sorted({len(by_seed(one, report, key)) for one in conditions}) or [0]
  if counts == [0]:
    return "no seed"
  if counts[-1] == 1:
    return "one seed"
  return f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"


def mean_over(
  table: Sequence[Mapping[int, Figure]], limits: tuple[float, float]
) -> tuple[over_seeds.Estimate, int] | None:
  """The mean over conditions by seed, then over seeds; of one seed with the mean half-width.

  The half-width of a mean of dependent figures is at most the mean of their half-widths.

  Args:
    table: {seed: figure} of each condition.
    limits: the least and the largest possible value.
  Returns:
    the estimate and the number of conditions, None without any.
  """
  named = {str(i): {seed: one.value for seed, one in row.items()} for i, row in enumerate(table)}
  rows, seeds = over_seeds.balanced({name: row for name, row in named.items() if row})
  if not rows:
    return None
  if len(seeds) > 1:
    means = [sum(named[name][seed] for name in rows) / len(rows) for seed in seeds]
    return over_seeds.mean(means, limits), len(rows)
  figures = [table[int(name)][seeds[0]] for name in rows]
  value = sum(one.value for one in figures) / len(figures)
  halves = [one.half for one in figures if one.half is not None]
  if len(halves) < len(figures):
    return over_seeds.from_interval(value, None, None), len(rows)
  half = sum(halves) / len(figures)
  low, high = max(value - half, limits[0]), min(value + half, limits[1])
  return over_seeds.from_interval(value, low, high), len(rows)
