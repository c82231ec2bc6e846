"""Question 3 of a study: how much networks trained on a set withstand."""

from typing import Any, Mapping, Sequence

import numpy as np

from ddjax.io.comparisons import words
from ddjax.statistics import over_seeds
from ddjax.statistics.holm import adjusted_columns
from ddjax.study import conditions as of
from ddjax.study import section as page
from ddjax.study.conditions import Condition
from ddjax.study.records import Record

QUESTION = "Robustness: how much do networks trained on a distilled set withstand?"
PERTURBATION = "deepfool_relative_perturbation"
_MOST_KINDS = 24
_RANDOM, _FULL = "random subsets", "the full set"


def build(records: Sequence[Record], config: Mapping[str, Any]) -> dict[str, Any]:
  """The section.

  Args:
    records: of the whole study.
    config: of the study.
  """
  del config
  methods = sorted(of.conditions(records, "method"), key=page.sort_key)
  methods = [one for one in methods if of.by_seed(one, "robustness", "clean")]
  if not methods:
    return page.section("robustness", QUESTION, page.NOTHING)
  beside = page.baselines(records, "robustness", "clean")
  names = of.varying(methods)
  gains = [_gain(one, "random_subset_", "gain_over_random_") for one in methods]
  of_full = [_gain(one, "full_", "gain_over_full_") for one in methods]
  return page.section(
    "robustness",
    QUESTION,
    _answer(methods, gains, of_full),
    notes=[
      "The relative perturbation is the least that DeepFool finds, over the size of the image, in "
      "mean over images that are recognised: it does not grow with accuracy as accuracy under "
      "attack does. Against the full set it is the difference of two networks' figures, against "
      "random subsets paired by image.",
      *of.different_networks(methods, "robustness"),
    ],
    tables=[
      _table(methods, beside, names, gains, of_full),
      _corruptions_table([*methods, *beside], names),
    ],
    figures=[_curves(methods), _corruptions(methods)],
  )


def _gain(one: Condition, prefix: str, gain_prefix: str) -> over_seeds.Estimate | None:
  return of.estimate(of.difference(one, "robustness", PERTURBATION, None, prefix, gain_prefix))


def _table(methods, beside, names, gains, of_full) -> dict[str, Any]:
  starts = ("pgd_linf_", "pgd_l2_", "autoattack_linf_", "worst_case_linf_")
  found = [of.key_like(methods, "robustness", start) for start in starts]
  found = [key for key in found if key and _is_measured(methods, key)]
  # The worst case of all attacks stands in where AutoAttack was not run.
  keys = ["clean", *found[:3], *(["corruption_mean"] * _is_measured(methods, "corruption_mean"))]
  p_values = _corrected(gains, of_full)
  rows = [
    [
      *page.factor_cells(one, names),
      *(of.estimated(one, "robustness", key) for key in keys),
      of.estimated(one, "robustness", PERTURBATION, is_fraction=False),
      of.as_cell(gains[i]) if i < len(gains) else None,
      p_values.get((_RANDOM, i)),
      of.as_cell(of_full[i]) if i < len(of_full) else None,
      p_values.get((_FULL, i)),
      len(of.by_seed(one, "robustness", "clean")),
    ]
    for i, one in enumerate([*methods, *beside])
  ]
  return page.table(
    "robustness-table",
    "Accuracy under attack and corruption, and the relative perturbation that fools, with its "
    f"difference from random subsets and the full set; {len(p_values)} tests corrected by Holm."
    f"{page.BESIDE if beside else ''}",
    [
      *page.factor_columns(names),
      *((words(key), "number") for key in keys),
      ("relative perturbation", "number"),
      ("against random", "signed"),
      ("p, Holm", "p"),
      ("against the full set", "signed"),
      ("p, Holm", "p"),
      ("seeds", "count"),
    ],
    rows,
  )


def _corrected(gains, of_full) -> dict[tuple[str, int], float]:
  """{(baseline, row): p-value by Holm} of all tests of the table."""
  columns = {_RANDOM: gains, _FULL: of_full}
  return adjusted_columns({name: [x and x.p for x in column] for name, column in columns.items()})


def _is_measured(methods: Sequence[Condition], key: str) -> bool:
  return any(of.by_seed(one, "robustness", key) for one in methods)


def _answer(methods, gains, of_full) -> str:
  measured = [
    (cell, one)
    for one in methods
    if (cell := of.estimated(one, "robustness", PERTURBATION, is_fraction=False))
  ]
  names = of.varying(methods)
  if not measured:
    cells = [(of.estimated(one, "robustness", "clean"), one) for one in of.of_one_problem(methods)]
    known = [(cell, one) for cell, one in cells if cell is not None]
    cell, one = max(known, key=lambda pair: pair[0]["value"])
    return (
      f"Of {len(methods)} kinds of distilled set {of.describe(one.factors, names)} is the most "
      f"accurate without an attack, {page.with_interval(cell)}; what fools networks is not "
      "measured ([[robustness-table]], [[robustness-figure]])."
    )
  alike = of.of_one_problem([one for _, one in measured])
  best, most = max(
    (pair for pair in measured if pair[1] in alike), key=lambda pair: pair[0]["value"]
  )
  alike_text = of.problem_in_words([one for _, one in measured])
  text = (
    f"Networks trained on {of.describe(most.factors, names)} withstand the most{alike_text}: "
    f"fooling them takes {page.with_interval(best)} of the size of an image "
    f"({of.seeds_in_words([most], 'robustness', PERTURBATION)})"
  )
  p_values = _corrected(gains, of_full)
  for name, column in ((_RANDOM, gains), (_FULL, of_full)):
    tested = [i for i in range(len(column)) if (name, i) in p_values]
    if tested:
      shown = [i for i in tested if p_values[name, i] < over_seeds.LEVEL]
      less = sum(column[i].value < 0 for i in shown)
      text += (
        f"; against {name}, {less} of {len(tested)} kinds of set {page.are(less)} shown to "
        f"withstand less and {len(shown) - less} more (Holm)"
      )
  return f"{text} ([[robustness-table]], [[robustness-figure]])."


def _curve(one: Condition, name: str) -> dict[str, Any] | None:
  """Accuracy against epsilon, mean over seeds, with the interval over seeds or of the one seed."""
  found = []
  for record in one.records.values():
    report = (record.report or {"reports": {}})["reports"].get("robustness")
    curve = ((report or {}).get("settings") or {}).get("curve", {}).get(name)
    if curve:
      found.append(curve)
  if not found or len({tuple(curve["epsilon"]) for curve in found}) > 1:
    return None
  if len(found) == 1:
    return {key: found[0][key] for key in ("epsilon", "accuracy", "low", "high")}
  columns = zip(*(curve["accuracy"] for curve in found))
  points = [over_seeds.mean(values, (0.0, 1.0)) for values in columns]
  return {
    "epsilon": found[0]["epsilon"],
    "accuracy": [point.value for point in points],
    "low": [point.low for point in points],
    "high": [point.high for point in points],
  }


def reference(methods: Sequence[Condition]) -> list[Condition]:
  """One condition a method, data and ipc: that from real images where there is one."""
  kept: dict[tuple, Condition] = {}
  for one in sorted(methods, key=page.sort_key):
    key = (one.method, *(repr(one.factors.get(n)) for n in (*of.DATA, "ipc")))
    kept.setdefault(key, one)
  return list(kept.values())


def largest_between_methods(
  methods: Sequence[Condition],
) -> tuple[over_seeds.Estimate | None, tuple[float, ...]]:
  """The largest difference of relative perturbation between methods, on settings that all have.

  Of networks alone, and of the preprocessing that most methods have.

  Args:
    methods: conditions.
  Returns:
    the estimate over seeds, None for fewer than two methods or seeds; and the mean of each method,
    nothing without the estimate.
  """
  networks = [
    one
    for one in of.by_kernel(methods, "robustness")[0]
    if of.by_seed(one, "robustness", PERTURBATION)
  ]
  kinds: dict[Any, set[str]] = {}
  for one in networks:
    kinds.setdefault(one.factors.get("preprocessing"), set()).add(one.method)
  most = max(kinds, key=lambda kind: len(kinds[kind]), default=None)
  table: dict[str, dict[tuple, dict[int, float]]] = {}
  for one in reference(networks):
    if one.factors.get("preprocessing") != most:
      continue
    row = {
      seed: figure.value for seed, figure in of.by_seed(one, "robustness", PERTURBATION).items()
    }
    if row:
      setting = tuple(repr(one.factors.get(n)) for n in ("dataset", "num_classes", "ipc"))
      table.setdefault(one.method, {})[setting] = row
  if len(table) < 2:
    return None, ()
  settings = set.intersection(*(set(rows) for rows in table.values()))
  if not settings:
    return None, ()
  seeds = sorted(set.intersection(*(set(rows[s]) for rows in table.values() for s in settings)))
  if len(seeds) < 2:
    return None, ()
  values = [
    [np.mean([rows[setting][seed] for setting in sorted(settings)]) for seed in seeds]
    for rows in table.values()
  ]
  means = tuple(float(np.mean(row)) for row in values)
  return over_seeds.largest_difference(np.array(values)), means


def _curves(methods: Sequence[Condition]) -> dict[str, Any] | None:
  """Accuracy against epsilon, one panel for each number of images a class."""
  panels: dict[str, dict[str, Any]] = {}
  shown = of.shared_names(methods)
  for one in reference(methods):
    if (own := _curve(one, "distilled")) is None:
      continue
    panel = of.describe(_only(one.factors, shown), shown)
    curves = panels.setdefault(panel, {})
    curves.setdefault(one.method, own)
    for label, name in (("random subset", "random_subset"), ("full set", "full")):
      if label not in curves and (other := _curve(one, name)):
        curves[label] = other
  if not panels:
    return None
  alike = {
    of.describe(_only(one.factors, shown), shown) for one in of.of_one_problem(reference(methods))
  }
  ends = [
    (curve["accuracy"][-1], name, panel)
    for panel, curves in panels.items()
    for name, curve in curves.items()
    if panel in alike and name not in ("random subset", "full set")
  ]
  value, name, panel = max(ends)
  epsilon = 255 * next(iter(next(iter(panels.values())).values()))["epsilon"][-1]
  return page.figure(
    "robustness-figure",
    "epsilon",
    f"At the largest perturbation, {epsilon:.0f}/255, networks of {name} ({panel}) keep the most "
    f"accuracy{of.problem_in_words(methods) or ' of all distilled sets'}, {value:.3f}. Bands hold "
    "95 % intervals.",
    "Accuracy under PGD against epsilon, one curve a method, one panel for each number of images a "
    "class, with random subsets and the full set.",
    {"panels": panels},
  )


def _only(factors: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
  return {name: factors[name] for name in names if name in factors}


def _kinds(methods: Sequence[Condition]) -> list[str]:
  """The corruptions that were tried."""
  found: dict[str, None] = {}
  for one in methods:
    for record in one.records.values():
      found |= {
        key: None
        for key in of.own_keys(record, "robustness")
        if key.startswith("corruption_") and key != "corruption_mean"
      }
  return list(found)[:_MOST_KINDS]


def _corruptions_table(methods, names) -> dict[str, Any] | None:
  kinds = _kinds(methods)
  if not kinds:
    return None
  return page.table(
    "corruptions-table",
    "Accuracy under each corruption, mean over its severities and over seeds.",
    [
      *page.factor_columns(names),
      *((words(kind.removeprefix("corruption_")), "number") for kind in kinds),
    ],
    [
      [
        *page.factor_cells(one, names),
        *(
          cell and cell["value"]
          for kind in kinds
          for cell in [of.estimated(one, "robustness", kind)]
        ),
      ]
      for one in methods
    ],
  )


def _corruptions(methods: Sequence[Condition]) -> dict[str, Any] | None:
  kinds, shown = _kinds(methods), reference(methods)
  if not kinds:
    return None
  values = [
    [cell and cell["value"] for kind in kinds for cell in [of.estimated(one, "robustness", kind)]]
    for one in shown
  ]
  means = {
    kind: sum(known) / len(known)
    for kind, column in zip(kinds, zip(*values))
    if (known := [value for value in column if value is not None])
  }
  worst = min(means, key=lambda kind: means[kind])
  starts = ", one start a method" if len(shown) < len(methods) else ""
  names = [name for name in of.varying(shown) if name != "init"]
  return page.figure(
    "corruptions-figure",
    "matrix",
    f"The corruption that costs the most is {words(worst.removeprefix('corruption_'))}: the mean "
    f"accuracy under it is {means[worst]:.3f} (all rows of the figure{starts}).",
    "Accuracy of each kind of distilled set, a row, under each corruption, a column.",
    {
      "rows": [of.describe(one.factors, names) for one in shown],
      "columns": [words(kind.removeprefix("corruption_")) for kind in kinds],
      "values": values,
      "row_label": "distilled set",
      "column_label": "corruption",
      "value_label": "accuracy",
    },
  )
