"""Question 4 of a study: whether all classes, and groups, are served alike."""

from typing import Any, Mapping, Sequence

from ddjax.io.comparisons import format_number, words
from ddjax.statistics import over_seeds
from ddjax.statistics.holm import adjusted_columns
from ddjax.study import conditions as of
from ddjax.study import section as page
from ddjax.study.conditions import Condition
from ddjax.study.records import Record

QUESTION = "Fairness: are all classes served alike?"
GAP = "accuracy_gap"
_FIGURES = ("worst_class_accuracy", GAP, "accuracy_std", "accuracy_ratio")
_GROUPS = (
  "deo_max", "deo_mean", "demographic_parity", "equalised_odds", "aligned_accuracy",
  "conflicting_accuracy", "alignment_gap",
)  # fmt: skip


def build(records: Sequence[Record], config: Mapping[str, Any]) -> dict[str, Any]:
  """The section.

  Args:
    records: of the whole study.
    config: of the study.
  """
  del config
  methods = sorted(of.conditions(records, "method"), key=page.sort_key)
  methods = [one for one in methods if of.by_seed(one, "fairness", GAP)]
  if not methods:
    return page.section("fairness", QUESTION, page.NOTHING)
  beside = page.baselines(records, "fairness", GAP)
  names = of.varying(methods)
  columns = {
    "the full set": [against(one, "full_", "gain_over_full_") for one in methods],
    "random subsets": [against(one, "random_subset_", "gain_over_random_") for one in methods],
  }
  return page.section(
    "fairness",
    QUESTION,
    _answer(methods, columns),
    notes=[
      "The gap is the accuracy of the best class minus that of the worst. Figures stand without "
      "what the noise of the test examples adds to them, and differences are of such figures, so "
      "that a less accurate network does not look less fair for that alone.",
      *of.different_networks(methods, "fairness"),
    ],
    tables=[_table(methods, beside, names, columns), _groups([*methods, *beside], names)],
    figures=[_dots(methods, names, columns)],
  )


def against(one: Condition, prefix: str, gain_prefix: str) -> over_seeds.Estimate | None:
  """The difference in the gap between classes from a baseline, over seeds."""
  found = of.difference(one, "fairness", GAP, None, prefix, gain_prefix)
  return of.estimate(found, (-1.0, 1.0))


def _corrected(columns) -> dict[tuple[str, int], float]:
  """{(baseline, row): p-value by Holm} of all tests of the table."""
  return adjusted_columns({name: [x and x.p for x in column] for name, column in columns.items()})


def _table(methods, beside, names, columns) -> dict[str, Any]:
  p_values = _corrected(columns)
  rows = []
  for i, one in enumerate([*methods, *beside]):
    row = [*page.factor_cells(one, names)]
    row += [of.estimated(one, "fairness", key) for key in _FIGURES]
    row += [of.estimated(one, "fairness", GAP, prefix) for prefix in ("random_subset_", "full_")]
    for name, column in columns.items():
      row += [of.as_cell(column[i]) if i < len(column) else None, p_values.get((name, i))]
    rows.append([*row, len(of.by_seed(one, "fairness", GAP))])
  return page.table(
    "fairness-table",
    "How accuracies differ between classes, and the difference of the gap from the full set and "
    f"from random subsets; {len(p_values)} tests corrected by Holm."
    f"{page.BESIDE if beside else ''}",
    [
      *page.factor_columns(names),
      ("worst class", "number"),
      ("gap", "number"),
      ("std over classes", "number"),
      ("worst over best", "number"),
      ("gap, random subset", "number"),
      ("gap, full set", "number"),
      ("gap against the full set", "signed"),
      ("p, Holm", "p"),
      ("gap against random", "signed"),
      ("p, Holm", "p"),
      ("seeds", "count"),
    ],
    rows,
  )


def _answer(methods, columns) -> str:
  cells = [
    (cell, one)
    for one in of.of_one_problem(methods, of.PROBLEM)
    if (cell := of.estimated(one, "fairness", GAP)) is not None
  ]
  (least, fair), (most, unfair) = (
    choose(cells, key=lambda pair: pair[0]["value"]) for choose in (min, max)
  )
  names = of.varying(methods)
  text = (
    f"The gap between the best and the worst class is smallest with "
    f"{of.describe(fair.factors, names)}, {page.with_interval(least)}, and largest with "
    f"{of.describe(unfair.factors, names)}, {page.with_interval(most)} "
    f"({of.seeds_in_words([fair, unfair], 'fairness', GAP)})"
    f"{of.problem_in_words(methods, of.PROBLEM)}"
  )
  if fair is unfair:
    text = (
      f"With {of.describe(fair.factors, names)} the best and the worst class lie "
      f"{page.with_interval(least)} apart ({of.seeds_in_words([fair], 'fairness', GAP)})"
    )
  elif format_number(least["value"]) == format_number(most["value"]):
    kinds = "both kinds" if len(cells) == 2 else f"all {len(cells)} kinds"
    text = (
      f"The gap between the best and the worst class is alike with {kinds} of set, "
      f"{page.with_interval(least)} ({of.seeds_in_words([fair, unfair], 'fairness', GAP)})"
    )
  p_values = _corrected(columns)
  for name, column in columns.items():
    tested = [i for i in range(len(column)) if (name, i) in p_values]
    if tested:
      shown = [i for i in tested if p_values[name, i] < over_seeds.LEVEL]
      wider = sum(column[i].value > 0 for i in shown)
      text += (
        f"; against {name}, {wider} of {len(tested)} kinds of set {page.are(wider)} shown to "
        f"widen it and {len(shown) - wider} to narrow it (Holm)"
      )
  return f"{text} ([[fairness-table]], [[fairness-figure]])."


def _groups(methods: Sequence[Condition], names: Sequence[str]) -> dict[str, Any] | None:
  """Figures of groups, where the data have any."""
  keys = [key for key in _GROUPS if any(of.by_seed(one, "fairness", key) for one in methods)]
  if not keys:
    return None
  return page.table(
    "groups-table",
    "Figures of groups: the range of accuracy over groups within a class (DEO), and parity of what "
    "is predicted.",
    [*page.factor_columns(names), *((words(key), "number") for key in keys)],
    [
      [*page.factor_cells(one, names), *(of.estimated(one, "fairness", key) for key in keys)]
      for one in methods
    ],
  )


def _dots(methods: Sequence[Condition], names: Sequence[str], columns) -> dict[str, Any]:
  marks = page.marks(methods, names, "fairness", GAP)
  p_values = _corrected(columns)
  of_full = columns["the full set"]
  shown = sum(
    one is not None and one.value > 0 and p_values.get(("the full set", i), 1.0) < over_seeds.LEVEL
    for i, one in enumerate(of_full)
  )
  wider = sum(
    mark["own"]["value"] > mark["beside"]["full set"]["value"]
    for mark in marks
    if "full set" in mark["beside"]
  )
  known = sum("full set" in mark["beside"] for mark in marks)
  if known:
    told = (
      f"{wider} of {known} gaps {page.are(wider)} wider than that of the full set, {shown} "
      f"{page.are(shown)} shown to be (Holm)"
    )
  else:
    least = min(mark["own"]["value"] for mark in marks)
    told = f"The smallest of {len(marks)} gaps is {least:.3f}"
  return page.figure(
    "fairness-figure",
    "dots",
    f"{told}. Bars hold 95 % intervals.",
    "Gap between the best and the worst class of each distilled set with its interval, beside a "
    "random subset and the full set.",
    {"marks": marks, "axis": "accuracy of the best class minus the worst", "line": 0.0},
  )
