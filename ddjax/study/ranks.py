"""Question 5 of a study: all four axes at once, who comes first, and what is traded for what."""

import itertools
from typing import Any, Mapping, NamedTuple, Sequence

from ddjax.io.comparisons import words
from ddjax.statistics import over_seeds, rank_figures
from ddjax.statistics.holm import adjusted_known
from ddjax.study import conditions as of
from ddjax.study import fairness, privacy, robustness
from ddjax.study import section as page
from ddjax.study.conditions import Condition
from ddjax.study.records import Record

QUESTION = "All four at once: which method comes first, and what is traded for what?"
_CONTEST = 3  # ways to make a set, from which on a first place says something
_BASELINES = ("random", "herding", "k_center", "k_means")


class Axis(NamedTuple):
  """One axis: its name, the report and key of its figure, what is better, and it in words."""

  name: str
  report: str
  key: str
  is_higher_better: bool
  figure: str


def axes(attack: str | None) -> list[Axis]:
  """The four axes, each by its one figure.

  Args:
    attack: whose AUC stands for privacy, None without.
  """
  leaks = [
    Axis("privacy", "privacy", f"{name}_auc", False, f"AUC of {words(name)}")
    for name in [attack]
    if name
  ]
  return [
    Axis("performance", "accuracy", "", True, "accuracy"),
    *leaks,
    Axis("robustness", "robustness", robustness.PERTURBATION, True, "relative perturbation"),
    Axis("fairness", "fairness", fairness.GAP, False, "gap between classes"),
  ]


def build(records: Sequence[Record], config: Mapping[str, Any]) -> dict[str, Any]:
  """The section.

  Args:
    records: of the whole study.
    config: of the study.
  """
  methods = sorted(of.conditions(records, "method"), key=page.sort_key)
  baselines = [
    one for one in of.conditions(records, "baseline") if one.factors.get("method") in _BASELINES
  ]
  known = axes(privacy.attack_of(methods, config))
  groups = _groups(methods, sorted(baselines, key=page.sort_key))
  rankings = {name: _rank(group, known) for name, group in groups.items() if len(group) > 1}
  rankings = {name: ranking for name, ranking in rankings.items() if ranking}
  trades = trade_offs(methods, known)
  if not rankings:
    return page.section("together", QUESTION, page.NOTHING)
  return page.section(
    "together",
    QUESTION,
    _answer(groups, rankings, trades),
    notes=[
      "Better is: more accurate, a lower AUC, a larger relative perturbation, a smaller gap "
      "between classes. Ways with equal figures share the better rank. The probability of a rank "
      "comes from draws of the true means by Student's t over seeds, which methods of the same "
      "seeds share, or over networks where there is one seed; where a figure has only its "
      "interval, from normal noise of that width. One start a method: that from real images where "
      "there is one.",
      "An axis ranks figures of one kind of predictor, networks or kernel regression, whichever "
      "more methods have; the others have a dash.",
      "Trade-offs are Spearman's correlations over conditions, each the mean of its seeds, turned "
      "so that a positive one says that what is good on one axis is good on the other. One start "
      "a method and number of images a class counts, for two starts often give nearly the same "
      "figures; only conditions of the same data and classes count. They are taken as independent, "
      "which those of one method are not. What more images a class change on two axes at once "
      "counts over all conditions, and not at equal images a class.",
    ],
    tables=[*(_table(name, groups[name], one) for name, one in rankings.items()), _trades(trades)],
    figures=[_parallel(groups, rankings)],
  )


def _groups(methods, baselines) -> dict[str, list[Condition]]:
  """{what they share: conditions}: equal data, classes, images a class and preprocessing."""
  groups: dict[str, list[Condition]] = {}
  shown = of.shared_names(methods)
  for one in robustness.reference(methods):
    groups.setdefault(_name(one, shown), []).append(one)
  for one in baselines:
    if (group := groups.get(_name(one, shown))) is not None:
      group.append(one)
  return groups


def _name(one: Condition, shown: Sequence[str]) -> str:
  factors = {name: one.factors.get(name) for name in shown}
  return of.describe(factors, shown)


def _rank(
  group: Sequence[Condition], known: Sequence[Axis]
) -> dict[Axis, tuple[list[Condition], rank_figures.Ranks]]:
  """{axis: (those that measured it, their ranks)}; an axis that fewer than two measured is out."""
  found = {}
  for axis in known:
    have = _alike(group, axis)
    measured = [of.measured(one, axis.report, axis.key) for one in have]
    values = [one for one in measured if one is not None]
    assert len(values) == len(have), "`_alike` leaves out what was not measured"
    if len(have) > 1:
      found[axis] = have, rank_figures.ranks(values, is_higher_better=axis.is_higher_better)
  return found


def _alike(conditions: Sequence[Condition], axis: Axis) -> list[Condition]:
  """Those that measured an axis, by networks or by kernel regression: whichever are more."""
  have = [one for one in conditions if of.by_seed(one, axis.report, axis.key)]
  return max(of.by_kernel(have, axis.report), key=len)


def _table(name: str, group: Sequence[Condition], ranking) -> dict[str, Any]:
  """Ranks of every method on every axis, each with the probability that it is right."""
  rows = []
  for one in group:
    row: list[Any] = [one.method]
    places = []
    for chosen, ranks in ranking.values():
      if one not in chosen:
        row.append(None)
        continue
      i = chosen.index(one)
      places.append(int(ranks.rank[i]))
      row.append({"rank": places[-1], "probability": float(ranks.of_own_rank()[i])})
    whole = len(places) == len(ranking)
    rows.append([*row, sum(places) / len(places) if whole else None])
  rows.sort(key=lambda row: (row[-1] is None, row[-1] or 0.0))
  slug = "".join(c if c.isalnum() else "-" for c in name)
  return page.table(
    f"ranks-{slug}",
    f"Ranks {_at(name, is_start=False)}: 1 is the best, in brackets the probability that the rank "
    "is right.",
    [
      ("method", "text"),
      *((f"{axis.name}: {axis.figure}", "rank") for axis in ranking),
      ("mean rank", "number"),
    ],
    rows,
  )


class TradeOff(NamedTuple):
  """The rank correlation of two axes, with p-values by Holm.

  Attributes:
    a: an axis.
    b: another.
    correlation: over all conditions.
    p: of it.
    within: over conditions of equal images a class, None where too few have that.
    p_within: of it.
  """

  a: Axis
  b: Axis
  correlation: rank_figures.Correlation
  p: float
  within: rank_figures.Correlation | None
  p_within: float | None


def trade_offs(methods: Sequence[Condition], known: Sequence[Axis]) -> list[TradeOff]:
  """Rank correlations between every two axes over conditions; positive: good goes with good."""
  found = []
  methods = of.of_one_problem(robustness.reference(methods))
  for a, b in itertools.combinations(known, 2):
    groups: dict[Any, list[list[float]]] = {}
    both = [_alike(methods, axis) for axis in (a, b)]
    for one in both[0]:
      if one not in both[1]:
        continue
      cells = [of.estimated(one, x.report, x.key, is_fraction=False) for x in (a, b)]
      signs = [1 if x.is_higher_better else -1 for x in (a, b)]
      values = [cell["value"] * sign for cell, sign in zip(cells, signs) if cell is not None]
      if len(values) == 2:
        groups.setdefault(one.factors.get("ipc"), []).append(values)
    columns = [values for group in groups.values() for values in group]
    if columns and (one := rank_figures.rank_correlation(*zip(*columns))) is not None:
      parts = [([a for a, _ in group], [b for _, b in group]) for group in groups.values()]
      within = rank_figures.rank_correlation_within(parts) if len(parts) > 1 else None
      found.append((a, b, one, within))
  p_values = adjusted_known([one.p for _, _, one, _ in found])
  within = adjusted_known([one and one.p for *_, one in found])
  return [
    TradeOff(a, b, one, p or 0.0, other, p_other)
    for (a, b, one, other), p, p_other in zip(found, p_values, within)
  ]


def _trades(trades: Sequence[TradeOff]) -> dict[str, Any] | None:
  def cell(one: rank_figures.Correlation | None) -> dict[str, Any] | None:
    return one and {key: getattr(one, key) for key in ("value", "low", "high")}

  return page.table(
    "trade-offs",
    "Rank correlations between axes, over all conditions and over those of equal images a class; "
    f"{len(trades)} tests of each kind corrected by Holm. Negative where one is bought with the "
    "other.",
    [
      ("axes", "text"),
      ("all conditions", "signed"),
      ("conditions", "count"),
      ("p, Holm", "p"),
      ("in words", "text"),
      ("at equal images a class", "signed"),
      ("p, Holm", "p"),
      ("in words", "text"),
    ],
    [
      [
        f"{one.a.name} and {one.b.name}",
        cell(one.correlation),
        one.correlation.num,
        one.p,
        _in_words(one.correlation, one.p),
        cell(one.within),
        one.p_within,
        _in_words(one.within, one.p_within),
      ]
      for one in trades
    ],
  )


def _in_words(one: rank_figures.Correlation | None, p: float | None) -> str | None:
  if one is None or p is None:
    return None
  if p >= over_seeds.LEVEL:
    return "not shown"
  return "they go together" if one.value > 0 else "one is bought with the other"


def _in_digits(one: rank_figures.Correlation) -> str:
  """`−0.62 [−0.85, −0.20]`."""
  value, low, high = (f"{x:+.2f}".replace("-", "−") for x in (one.value, one.low, one.high))
  return f"{value} [{low}, {high}]"


def _answer(groups, rankings, trades: Sequence[TradeOff]) -> str:
  """Who is first on each axis in every group that has a contest, and which trade-offs are shown."""
  names = [name for name in rankings if len(groups[name]) >= _CONTEST] or list(rankings)[:1]
  text = " ".join(_firsts(name, groups[name], rankings[name]) for name in names)
  if trades:
    shown = [one for one in trades if one.p < over_seeds.LEVEL]
    told = [
      f"{one.a.name} and {one.b.name} ({'go together' if one.correlation.value > 0 else 'traded'}, "
      f"{_in_digits(one.correlation)})"
      for one in shown
    ]
    text += (
      f" Of {len(trades)} pairs of axes, {len(shown)} {page.are(len(shown))} shown to be "
      f"correlated over all conditions (Holm){': ' if told else ''}{page.joined(told)}"
    )
    within = [one.p_within for one in trades if one.p_within is not None]
    if within:
      num = sum(p < over_seeds.LEVEL for p in within)
      text += f"; at equal images a class, {num} of {len(within)} {page.are(num)} shown"
    text += " ([[trade-offs]])."
  return text


def _firsts(name: str, group: Sequence[Condition], ranking) -> str:
  """Who is first on each axis in one group."""
  slug = "".join(c if c.isalnum() else "-" for c in name)
  firsts = []
  for axis, (chosen, ranks) in ranking.items():
    i = int(ranks.rank.argmin())
    of_all = "" if len(chosen) == len(group) else f"of {len(chosen)} measured, "
    probability = f"{of_all}probability {ranks.of_own_rank()[i]:.2f}"
    firsts.append(f"{chosen[i].method} in {axis.name} ({probability})")
  return (
    f"{_at(name)}, of {len(group)} ways to make a set, the first are {page.joined(firsts)} "
    f"([[ranks-{slug}]], [[parallel]])."
  )


def _at(name: str, is_start: bool = True) -> str:
  """`At 1 image a class`, or `On digits, 1 image a class`; small within a sentence."""
  text = name if name.startswith("on ") else f"at {name}"
  return text[0].upper() + text[1:] if is_start else text


def _parallel(groups, rankings) -> dict[str, Any]:
  """Every method's figures on all axes."""
  panels = {}
  for name, ranking in rankings.items():
    lines = {}
    for one in groups[name]:
      lines[one.method] = [
        cell and cell["value"] if one in chosen else None
        for axis, (chosen, _) in ranking.items()
        for cell in [of.estimated(one, axis.report, axis.key, is_fraction=False)]
      ]
    panels[name] = {
      "axes": [
        {"name": axis.name, "figure": axis.figure, "is_higher_better": axis.is_higher_better}
        for axis in ranking
      ],
      "lines": lines,
    }
  num_axes = len({axis for ranking in rankings.values() for axis in ranking})
  winners = {
    name: [chosen[int(ranks.rank.argmin())].method for chosen, ranks in ranking.values()]
    for name, ranking in rankings.items()
  }
  alike = [
    name
    for name, firsts in winners.items()
    if len(set(firsts)) == 1 and len(firsts) == num_axes and len(groups[name]) >= _CONTEST
  ]
  contests = [name for name in winners if len(groups[name]) >= _CONTEST]
  told = ""
  if alike and num_axes > 1:
    told = f"{_at(page.joined(alike))} one method is the best on every axis. "
  elif contests and num_axes > 1:
    few = f" where {_CONTEST} or more were measured" if len(contests) < len(winners) else ""
    told = f"No method is the best on every axis{few}. "
  return page.figure(
    "parallel",
    "parallel",
    f"{told}Each line is a method; the top of each axis is the best measured, the bottom the "
    "worst.",
    "Parallel coordinates: each method as a line over performance, privacy, robustness and "
    "fairness, one panel for each number of images a class.",
    {"panels": panels},
  )
