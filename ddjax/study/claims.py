"""The claims of Chen et al. 2023, each against what a study measured.

Their paper is "A Comprehensive Study on Dataset Distillation", arXiv 2305.03355.

The paper says that distilled data give away their members, that this depends on the number of
images a class, the initialisation and the number of classes, that models trained on distilled sets
are less robust, by an amount that depends on the method, and that distillation makes models less
fair between classes. The claims are in our words: its tables are not at hand.
"""

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from ddjax.io.comparisons import words
from ddjax.statistics import over_seeds
from ddjax.statistics.holm import adjusted_known
from ddjax.study import conditions as of
from ddjax.study import fairness, pairs, privacy, robustness
from ddjax.study import section as page
from ddjax.study.conditions import Condition
from ddjax.study.records import Record

QUESTION = "Do the claims of Chen et al. 2023 hold here?"
HOLDS, DOES_NOT, NOT_SHOWN, NOT_MEASURED = "holds", "does not", "not shown", "not measured"
_SMALL_AUC, _SMALL_GAP, _SMALL_PERTURBATION = 0.02, 0.02, 0.01
_LIMITS = (-1.0, 1.0)


class Claim(NamedTuple):
  """A claim and our measure of it.

  Attributes:
    name: short.
    text: the claim in a sentence.
    measure: what our value is.
    direction: 1 where the claim says that it is positive, -1 negative, 0 that it is not zero.
    small: a value within plus or minus this is negligible.
    estimate: the value with interval and p, None where it is not measured.
    num_conditions: over how many conditions or pairs the value is a mean.
    rests_on: names of the table and the figure.
  """

  name: str
  text: str
  measure: str
  direction: int
  small: float
  estimate: over_seeds.Estimate | None
  num_conditions: int
  rests_on: tuple[str, ...]


def verdict(claim: Claim, p: float | None) -> str:
  """Whether a claim holds.

  Args:
    claim: with its estimate.
    p: its p-value, corrected for the number of claims.
  Returns:
    "holds" where the value differs from zero in the claimed direction; "does not" where it differs
    in the other one, or where the interval lies within plus or minus what is negligible; else
    "not shown"; "not measured" without a value.
  """
  one = claim.estimate
  if one is None:
    return NOT_MEASURED
  if one.low is None or one.high is None or p is None:
    return NOT_SHOWN
  if _is_negligible(claim):
    return DOES_NOT  # also where it is surely not zero: too small to matter
  if p < over_seeds.LEVEL:
    agrees = claim.direction == 0 or np.sign(one.value) == claim.direction
    return HOLDS if agrees else DOES_NOT
  return NOT_SHOWN


def _is_negligible(claim: Claim) -> bool:
  """Whether the whole interval, which must be known, is nearer to zero than what matters."""
  one = claim.estimate
  assert one is not None and one.low is not None and one.high is not None
  return -claim.small < one.low and one.high < claim.small


def claims(
  records: Sequence[Record],
  config: Mapping[str, Any],
  found: Sequence[pairs.Difference] | None = None,
) -> list[Claim]:
  """Every claim with our measure of it.

  Args:
    records: of the whole study.
    config: of the study.
    found: from `pairs.differences`, where they are known.
  """
  methods = of.conditions(records, "method")
  attack = privacy.attack_of(methods, config)
  if found is None:
    found = pairs.differences(methods, attack) if attack else []
  return [*_of_privacy(methods, attack, found), *_of_robustness(methods), *_of_fairness(methods)]


def _by_predictor(methods, report: str) -> list[tuple[str, str, list[Condition]]]:
  """[(what is added to a claim's name, its subject, conditions)]: networks, then kernels if any.

  A claim on networks rests on networks alone.
  """
  networks, kernels = of.by_kernel(methods, report)
  rows = [("", "Networks trained on", networks)]
  return [*rows, (f", {of.KERNEL}", "Kernel regression on", kernels)] if kernels else rows


def _of_privacy(methods, attack: str | None, found) -> list[Claim]:
  name = words(attack) if attack else "an attack"
  made = []
  for suffix, subject, conditions in _by_predictor(methods, "privacy"):
    leaks = [of.by_seed(one, "privacy", f"{attack}_auc") for one in conditions] if attack else []
    above = of.mean_over([privacy.above_guessing(row) for row in leaks if row], _LIMITS)
    verb = "gives" if suffix else "give"
    made.append(
      Claim(
        f"leak{suffix}",
        f"{subject} distilled data {verb} away which real examples were distilled.",
        f"AUC of {name} minus one half",
        1,
        0.005,
        *(above or (None, 0)),
        ("leaks", "leaks-figure"),
      )
    )
  changes = {
    "ipc": ("number of images a class", "more images a class"),
    "init": ("initialisation", "a start other than real images"),
    "num_classes": ("number of classes", "more classes"),
  }
  for factor, (on, change) in changes.items():
    for suffix, subject in (("", "networks"), (f", {of.KERNEL}", of.KERNEL)):
      pairs_of = [
        one
        for one in found
        if (of.predictor_of(one.pair.a, "privacy") == of.KERNEL) == bool(suffix)
      ]
      mean = pairs.factor_mean(pairs_of, factor)
      if suffix and mean is None:
        continue
      made.append(
        Claim(
          f"{factor}{suffix}",
          f"The leak of {subject} depends on the {on}.",
          f"change of the AUC of {name} with {change}",
          0,
          _SMALL_AUC,
          *(mean or (None, 0)),
          ("factors", "factors-figure"),
        )
      )
  return made


def _against(methods, report: str, key: str, limits, claim: str) -> list[Claim]:
  """Whether predictors fare worse than on the full set and on random subsets.

  Args:
    methods: conditions.
    report: name of the report.
    key: of the figure.
    limits: its least and largest difference.
    claim: "robust" or "fair".
  """
  is_fair = claim == "fair"
  figure = "gap between classes" if is_fair else "relative perturbation"
  made = []
  for label, prefix, gain in (
    ("the full set", "full_", "gain_over_full_"),
    ("random real subsets of equal size", "random_subset_", "gain_over_random_"),
  ):
    for suffix, subject, conditions in _by_predictor(methods, report):
      rows = [of.difference(one, report, key, None, prefix, gain) for one in conditions]
      mean = of.mean_over([row for row in rows if row], limits)
      made.append(
        Claim(
          f"{claim} against {label}{suffix}",
          f"{subject} distilled sets {'is' if suffix else 'are'} less {claim} "
          f"{'between classes ' if is_fair else ''}than on {label}.",
          f"{figure} minus that of {label}",
          1 if is_fair else -1,
          _SMALL_GAP if is_fair else _SMALL_PERTURBATION,
          *(mean or (None, 0)),
          (f"{report}-table", f"{report}-figure"),
        )
      )
  return made


def _of_robustness(methods: Sequence[Condition]) -> list[Claim]:
  made = _against(methods, "robustness", robustness.PERTURBATION, (-np.inf, np.inf), "robust")
  spread, count = largest_between_methods(methods, "robustness", robustness.PERTURBATION)
  made.append(
    Claim(
      "robust by method",
      "How robust the networks are depends on the method.",
      "largest difference of relative perturbation between two methods (Tukey)",
      0,
      _SMALL_PERTURBATION,
      spread,
      count,
      ("robustness-table", "robustness-figure"),
    )
  )
  return made


def largest_between_methods(
  methods: Sequence[Condition], report: str, key: str
) -> tuple[over_seeds.Estimate | None, int]:
  """The largest difference between methods, on the settings that all of them have.

  Of networks alone, and of the preprocessing that most methods have.

  Args:
    methods: conditions.
    report: name of the report.
    key: of the figure.
  Returns:
    the estimate over seeds, None for fewer than two methods or seeds; and the number of methods.
  """
  networks = [one for one in of.by_kernel(methods, report)[0] if of.by_seed(one, report, key)]
  kinds: dict[Any, set[str]] = {}
  for one in networks:
    kinds.setdefault(one.factors.get("preprocessing"), set()).add(one.method)
  most = max(kinds, key=lambda kind: len(kinds[kind]), default=None)
  table: dict[str, dict[tuple, dict[int, float]]] = {}
  for one in robustness.reference(networks):
    if one.factors.get("preprocessing") != most:
      continue
    row = {seed: figure.value for seed, figure in of.by_seed(one, report, key).items()}
    if row:
      setting = tuple(repr(one.factors.get(n)) for n in ("dataset", "num_classes", "ipc"))
      table.setdefault(one.method, {})[setting] = row
  if len(table) < 2:
    return None, len(table)
  settings = set.intersection(*(set(rows) for rows in table.values()))
  if not settings:
    return None, len(table)
  seeds = sorted(set.intersection(*(set(rows[s]) for rows in table.values() for s in settings)))
  if len(seeds) < 2:
    return None, len(table)
  values = [
    [np.mean([rows[setting][seed] for setting in sorted(settings)]) for seed in seeds]
    for rows in table.values()
  ]
  return over_seeds.largest_difference(np.array(values)), len(table)


def _of_fairness(methods: Sequence[Condition]) -> list[Claim]:
  return _against(methods, "fairness", fairness.GAP, _LIMITS, "fair")


def in_words(claim: Claim, word: str, p: float | None) -> str:
  """A claim's verdict in a sentence, with the value, its interval, seeds and what it rests on.

  Args:
    claim: any.
    word: its verdict.
    p: its p-value, corrected for the number of claims.
  """
  told = f"does not hold ({_why_not(claim, p)})" if word == DOES_NOT else word
  text = f"{claim.text.removesuffix('.')}: {told}"
  if claim.estimate is None:
    return f"{text}."
  seeds = claim.estimate.num_seeds
  value = page.with_interval(of.as_cell(claim.estimate), is_signed=True)
  return (
    f"{text}; {claim.measure} {value}, {'one seed' if seeds == 1 else f'{seeds} seeds'} "
    f"({', '.join(f'[[{name}]]' for name in claim.rests_on)})."
  )


def _why_not(claim: Claim, p: float | None) -> str:
  """Why a claim with the verdict "does not" does not hold."""
  if not _is_negligible(claim):
    return "the effect goes the other way"
  start = "there is an effect, but it" if p is not None and p < over_seeds.LEVEL else "any effect"
  return f"{start} is smaller than {claim.small:g}, too little to matter"


def corrected(made: Sequence[Claim]) -> list[float | None]:
  """P-values by Holm over all claims that have one; None for the others."""
  return adjusted_known([one.estimate and one.estimate.p for one in made])


def build(
  records: Sequence[Record],
  config: Mapping[str, Any],
  found: Sequence[pairs.Difference] | None = None,
) -> dict[str, Any]:
  """The section; arguments as `claims`."""
  made = claims(records, config, found)
  p_values = corrected(made)
  verdicts = [verdict(one, p) for one, p in zip(made, p_values)]
  counts = {word: verdicts.count(word) for word in (HOLDS, DOES_NOT, NOT_SHOWN, NOT_MEASURED)}
  if counts[NOT_MEASURED] == len(made):
    return page.section("claims", QUESTION, page.NOTHING)
  answer = (
    f"Of {len(made)} claims: {counts[HOLDS]} {'holds' if counts[HOLDS] == 1 else 'hold'}, "
    f"{counts[DOES_NOT]} {'does' if counts[DOES_NOT] == 1 else 'do'} not, "
    f"{counts[NOT_SHOWN]} not shown, {counts[NOT_MEASURED]} not measured ([[claims]])."
  )
  rows = [
    [
      one.text,
      word,
      of.as_cell(one.estimate),
      p,
      one.estimate.num_seeds if one.estimate else None,
      one.measure,
      one.num_conditions or None,
      ", ".join(f"[[{name}]]" for name in one.rests_on),
      one.small,
    ]
    for one, p, word in zip(made, p_values, verdicts)
  ]
  methods = of.conditions(records, "method")
  return page.section(
    "claims",
    QUESTION,
    answer,
    points=[in_words(*row) for row in zip(made, verdicts, p_values)],
    notes=[
      "A claim holds where our value differs from zero in the claimed direction, after Holm's "
      "correction for all rows. It does not where the value differs in the other direction, or "
      "where the whole interval lies nearer to zero than what is negligible (last column). Else it "
      "is not shown: this study is too small to tell.",
      "Values are means over all conditions (or pairs, or methods) of this study with equal "
      "weight; intervals run over its seeds, or are those of the single seed, and hold for these "
      "methods, settings and data. An effect that goes up for some methods and down for others "
      "may vanish in the mean: the table that a row rests on has them one by one.",
      *(
        note
        for axis in ("privacy", "robustness", "fairness")
        for note in of.different_networks(methods, axis, f"Figures of {axis}")
      ),
    ],
    tables=[
      page.table(
        "claims",
        "The claims of Chen et al. 2023 in our words, and what this study measured.",
        [
          ("claim", "text"),
          ("verdict", "verdict"),
          ("value", "signed"),
          ("p, Holm", "p"),
          ("seeds", "count"),
          ("our measure", "text"),
          ("conditions averaged", "count"),
          ("rests on", "text"),
          ("negligible below", "number"),
        ],
        rows,
      )
    ],
  )
