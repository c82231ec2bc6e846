"""Question 2 of a study: what a set gives away of its real examples, and on what that depends.

What it depends on is in `ddjax.study.pairs`.
"""

from typing import Any, Mapping, Sequence

from ddjax.io.comparisons import words
from ddjax.statistics import over_seeds
from ddjax.statistics.holm import adjusted_known
from ddjax.study import conditions as of
from ddjax.study import section as page
from ddjax.study.conditions import Condition, Figure
from ddjax.study.pairs import Difference, corrected, differences, factor_mean
from ddjax.study.records import Record

QUESTION = "Privacy: does a distilled set tell which real examples it was made from?"
ATTACKS = ("lira", "lira_offline", "loss")
_LOW_FPR = ("tpr_at_0.1_percent_fpr", "tpr_at_1_percent_fpr")
_FACTOR_NAMES = {"ipc": "images a class", "init": "initialisation", "num_classes": "classes"}
_CHANGES = {
  "ipc": "more images a class",
  "init": "a start other than real images",
  "num_classes": "more classes",
}


def attacks_of(conditions: Sequence[Condition], config: Mapping[str, Any]) -> list[str]:
  """Those of the config's `claims_attacks` that most conditions have, the strongest first.

  The strongest has the largest AUC in mean over the conditions: a set is as private as the best
  attack on it leaves it. P-values that ask whether there is a leak are corrected for this choice.
  """
  means = {}
  for attack in config.get("claims_attacks") or ATTACKS:
    cells = [of.estimated(one, "privacy", f"{attack}_auc") for one in conditions]
    means[attack] = [cell["value"] for cell in cells if cell is not None]
  most = max(map(len, means.values()), default=0)
  known = [attack for attack, values in means.items() if len(values) == most > 0]
  return sorted(known, key=lambda attack: -sum(means[attack]))


def attack_of(conditions: Sequence[Condition], config: Mapping[str, Any]) -> str | None:
  """The strongest attack, see `attacks_of`; None where there is none."""
  return next(iter(attacks_of(conditions, config)), None)


def build(
  records: Sequence[Record],
  config: Mapping[str, Any],
  found: Sequence[Difference] | None = None,
) -> dict[str, Any]:
  """The section.

  Args:
    records: of the whole study.
    config: of the study; `claims_attacks` names the attacks to look at, the first one first.
    found: from `ddjax.study.pairs.differences`, where they are known.
  """
  methods = sorted(of.conditions(records, "method"), key=page.sort_key)
  attacks = attacks_of(methods, config)
  if not attacks:
    return page.section("privacy", QUESTION, page.NOTHING)
  attack, num_attacks = attacks[0], len(attacks)
  methods = [one for one in methods if of.by_seed(one, "privacy", f"{attack}_auc")]
  found = differences(methods, attack) if found is None else found
  beside = page.baselines(records, "privacy", f"{attack}_auc")
  names = of.varying(methods)
  return page.section(
    "privacy",
    QUESTION,
    _answer(methods, attack, num_attacks, found),
    notes=[
      _of_choice(attacks),
      "An AUC of one half is guessing. The bound on epsilon is the lower end of an interval of "
      "95 %, over several seeds the mean of these ends; 0 says that this attack shows nothing, not "
      "that there is privacy.",
      *_of_shadows(methods),
      "The true positive rate stands at the lowest false positive rate at which it can be "
      "estimated; the report of each cell holds all attacks.",
      "Differences between conditions: of one seed a bootstrap over splits and examples, paired by "
      "both where the conditions share them; of several seeds the interval of Student over the "
      "seeds' differences.",
      *of.different_networks(methods, "privacy"),
    ],
    tables=[
      _levels(methods, beside, attack, num_attacks),
      _factors(found, names),
    ],
    figures=[_dots(methods, attack, num_attacks, names), _factor_figure(found)],
  )


def above_guessing(row: Mapping[int, Figure]) -> dict[int, Figure]:
  """AUCs by seed minus one half."""
  return {seed: one.moved(-0.5) for seed, one in row.items()}


def _of_choice(attacks: Sequence[str]) -> str:
  """Which attack the section speaks of, and why."""
  if len(attacks) == 1:
    return f"The attack is {words(attacks[0])}."
  others = page.joined([words(name) for name in attacks[1:]])
  return (
    f"The attack is {words(attacks[0])}: in mean over these sets it tells members better than "
    f"{others}. P-values of an AUC are multiplied by {len(attacks)}, the number of attacks to "
    "choose from, before they are corrected by Holm. The report of each cell holds all attacks."
  )


def leak_p_values(
  methods: Sequence[Condition], attack: str, num_attacks: int = 1
) -> list[float | None]:
  """By Holm, that the AUC of each condition is one half; None without an interval.

  Args:
    methods: conditions.
    attack: whose AUC.
    num_attacks: out of how many it was chosen.
  """
  found = [
    of.estimate(above_guessing(of.by_seed(one, "privacy", f"{attack}_auc"))) for one in methods
  ]
  p_values = [one and one.p for one in found]
  return adjusted_known([None if p is None else min(1.0, num_attacks * p) for p in p_values])


def num_leaking(methods: Sequence[Condition], attack: str, num_attacks: int = 1) -> int:
  """How many conditions are shown to have an AUC above one half; arguments as `leak_p_values`."""
  count = 0
  for one, p in zip(methods, leak_p_values(methods, attack, num_attacks)):
    auc = of.estimated(one, "privacy", f"{attack}_auc")
    if p is not None and auc is not None:
      count += p < over_seeds.LEVEL and auc["value"] > 0.5
  return count


def _levels(
  methods: Sequence[Condition], beside: Sequence[Condition], attack: str, num_attacks: int
) -> dict[str, Any]:
  """AUC, rate at low FPR and bound on epsilon of every condition."""

  def key_of(one: Condition, keys: Sequence[str]) -> dict[str, Any] | None:
    return next((cell for key in keys if (cell := of.estimated(one, "privacy", key))), None)

  rates = [f"{attack}_{name}" for name in _LOW_FPR]
  low = next((rate for rate in rates if any(of.by_seed(x, "privacy", rate) for x in methods)), "")
  bounds = (f"{attack}_epsilon_lower_bound", "loss_epsilon_lower_bound")
  names, p_values = of.varying(methods), leak_p_values(methods, attack, num_attacks)
  rows = [
    [
      *page.factor_cells(one, names),
      of.predictor_of(one, "privacy"),
      of.estimated(one, "privacy", f"{attack}_auc"),
      p,
      len(of.by_seed(one, "privacy", f"{attack}_auc")),
      of.estimated(one, "privacy", f"{attack}_auc", "random_subset_"),
      of.estimated(one, "privacy", f"{attack}_auc", "full_"),
      key_of(one, [low]),
      next((cell for bound in bounds if (cell := _mean_bound(one, bound))), None),
      of.estimated(one, "privacy", "loss_auc") if attack != "loss" else None,
      of.estimated(one, "privacy", "nearest_is_train_pixels"),
    ]
    for one, p in zip([*methods, *beside], [*p_values, *(None for _ in beside)])
  ]
  rate = words(low.removeprefix(f"{attack}_")) if low else "TPR at low FPR"
  return page.table(
    "leaks",
    f"What membership inference ({words(attack)}) finds out of the predictor that each set "
    "trained, beside random subsets of the same members and all of them, and how many synthetic "
    f"images lie nearest to a train image.{page.BESIDE if beside else ''}",
    [
      *page.factor_columns(names),
      ("predictor", "text"),
      ("AUC", "number"),
      ("p, Holm", "p"),
      ("seeds", "count"),
      ("random subset", "number"),
      ("full set", "number"),
      (rate, "number"),
      ("epsilon at least", "number"),
      ("AUC of the loss alone", "number"),
      ("nearest is a train image", "number"),
    ],
    rows,
  )


def _mean_bound(one: Condition, key: str) -> dict[str, Any] | None:
  """The mean over seeds of a bound; without an interval, for a bound is the end of one itself."""
  cell = of.estimated(one, "privacy", key, is_fraction=False)
  return cell and {**cell, "low": None, "high": None}


def _of_shadows(methods: Sequence[Condition]) -> list[str]:
  """A sentence where attacks saw sets that were made in fewer steps than the one in question."""
  shorter: dict[str, set[tuple[int, int]]] = {}
  for one in methods:
    for record in one.records.values():
      report = record.report
      if report is None or (content := report["reports"].get("privacy")) is None:
        continue
      own, steps = report["run"].get("num_steps"), content["settings"].get("num_steps")
      if own and steps and steps < own:
        shorter.setdefault(one.method, set()).add((steps, own))
  if not shorter:
    return []
  told = []
  for method, pairs_of in shorter.items():
    few, many = (sorted({pair[i] for pair in pairs_of}) for i in (0, 1))
    told.append(f"{method} {_range(few)} instead of {_range(many)}")
  return [
    "Attacks are on sets that were made again from random halves of the data. To spare time these "
    f"took fewer steps than the sets of the other questions: {page.joined(told)}. More steps may "
    "leak more, or less."
  ]


def _range(values: Sequence[int]) -> str:
  """`50`, `50 to 300`."""
  return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _factors(found: Sequence[Difference], names: Sequence[str]) -> dict[str, Any] | None:
  """Every difference, with its corrected p-value."""
  if not found:
    return None
  p_values = corrected(found)
  rows = []
  for i, one in enumerate(found):
    shared = [
      name
      for name in dict.fromkeys(("ipc", "init", "num_classes", *names))
      if name != one.pair.factor and one.pair.a.factors.get(name) is not None
    ]
    rows.append(
      [
        one.pair.change,
        of.describe(one.pair.a.factors, shared),
        of.as_cell(one.estimate),
        one.estimate.num_seeds,
        p_values.get(i),
        one.paired_by,
      ]
    )
  return page.table(
    "factors",
    f"Differences in AUC between conditions that differ in one factor alone, {len(p_values)} tests "
    "corrected by Holm.",
    [
      ("change", "text"),
      ("of", "text"),
      ("change of AUC", "signed"),
      ("seeds", "count"),
      ("p, Holm", "p"),
      ("paired by", "text"),
    ],
    rows,
  )


def _answer(
  methods: Sequence[Condition], attack: str, num_attacks: int, found: Sequence[Difference]
) -> str:
  """The leak, and what each factor does to it."""
  cells = [(of.estimated(one, "privacy", f"{attack}_auc"), one) for one in methods]
  values = [(cell, one) for cell, one in cells if cell is not None]
  leaking = num_leaking(methods, attack, num_attacks)
  worst, condition = max(values, key=lambda pair: pair[0]["value"])
  through = f" through {of.KERNEL}" * (of.predictor_of(condition, "privacy") == of.KERNEL)
  text = (
    f"By {words(attack)}, {leaking} of {len(methods)} kinds of distilled set "
    f"{page.are(leaking)} shown to tell their members (AUC above one half, Holm); the most telling "
    f"is {of.describe(condition.factors, of.varying(methods))}{through}, AUC "
    f"{page.with_interval(worst)} "
    f"({of.seeds_in_words([condition], 'privacy', f'{attack}_auc')}) ([[leaks]], [[leaks-figure]])."
  )
  parts = []
  for factor, change in _CHANGES.items():
    if (mean := factor_mean(found, factor)) is not None:
      cell = of.as_cell(mean[0])
      pairs_of = f"{mean[1]} pair{'s' if mean[1] != 1 else ''}"
      parts.append(f"{change} by {page.with_interval(cell, is_signed=True)} ({pairs_of})")
  if parts:
    kernels = of.by_kernel((one.pair.a for one in found), "privacy")[1]
    if kernels and len(kernels) < len(found):
      parts[-1] += f", pairs of {of.KERNEL} included"
    shown = sum(p < over_seeds.LEVEL for p in corrected(found).values())
    text += (
      f" On average the AUC changes with {page.joined(parts)}; {shown} of {len(found)} "
      f"single differences {page.are(shown)} shown after Holm's correction ([[factors]], "
      "[[factors-figure]])."
    )
  return text


def _dots(
  methods: Sequence[Condition], attack: str, num_attacks: int, names: Sequence[str]
) -> dict[str, Any]:
  key = f"{attack}_auc"
  marks = page.marks(methods, names, "privacy", key)
  above = num_leaking(methods, attack, num_attacks)
  return page.figure(
    "leaks-figure",
    "dots",
    f"{above} of {len(marks)} kinds of distilled set {page.are(above)} shown to leak more than "
    "guessing, the dotted line, would find (Holm).",
    f"Area under the ROC curve of {words(attack)} on each distilled set with its interval, beside "
    "a random subset and the full set.",
    {"marks": marks, "axis": f"AUC of {words(attack)}", "line": 0.5},
  )


def _factor_figure(found: Sequence[Difference]) -> dict[str, Any] | None:
  """The differences with their intervals, by factor."""
  if not found:
    return None
  p_values = corrected(found)
  marks = [
    {
      "label": f"{one.pair.a.method}: {one.pair.change}"
      + "".join(
        f", {one.pair.a.factors[name]}{suffix}"
        for name, suffix in (("ipc", " a class"), ("init", ""))
        if name != one.pair.factor and one.pair.a.factors.get(name) is not None
      ),
      "group": _FACTOR_NAMES[one.pair.factor],
      "own": of.as_cell(one.estimate),
      "beside": {},
    }
    for one in found
  ]
  shown = sum(p < over_seeds.LEVEL for p in p_values.values())
  return page.figure(
    "factors-figure",
    "dots",
    f"{shown} of {len(found)} changes of one factor alone are shown to change the leak (Holm); "
    "no change is the dotted line.",
    "Change of the AUC with its interval for every pair of conditions that differ in images a "
    "class, initialisation or number of classes alone.",
    {"marks": marks, "axis": "change of AUC", "line": 0.0, "own_word": "difference"},
  )
