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
from ddjax.study.conditions import Condition, Figure
from ddjax.study.records import Record

QUESTION = "Do the claims of Chen et al. 2023 hold here?"
HOLDS, DOES_NOT, NOT_SHOWN, NOT_MEASURED = "holds", "does not", "not shown", "not measured"
_SMALL_AUC, _SMALL_GAP, _SMALL_PERTURBATION = 0.005, 0.02, 0.01
_LIMITS = (-1.0, 1.0)
_BETWEEN = "robust by method"


class Claim(NamedTuple):
  """A claim and our measure of it.

  Attributes:
    name: short.
    text: the claim in a sentence.
    measure: what our value is.
    direction: 1 where the claim says that it is positive, -1 negative, 0 that it is not zero.
    small: a value within plus or minus this is negligible.
    estimate: the value with interval and p, None where it is not measured.
    parts: the value of each condition or pair, of which it is the mean.
    rests_on: names of the table and the figure.
    num_known: of how many something is known; what lacks a seed that most have is not in the mean.
    reach: what must be negligible if not the interval: up to the highest end of all attacks.
  """

  name: str
  text: str
  measure: str
  direction: int
  small: float
  estimate: over_seeds.Estimate | None
  parts: tuple[float, ...]
  rests_on: tuple[str, ...]
  num_known: int = 0
  reach: tuple[float, float] | None = None


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
  low, high = claim.reach or (one.low, one.high)
  return -claim.small < low and high < claim.small


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
  attacks = privacy.attacks_of(methods, config)
  if found is None:
    found = pairs.differences(methods, attacks[0]) if attacks else []
  return [
    *_of_leaks(methods, attacks),
    *_of_factors(attacks, found),
    *_of_robustness(methods),
    *_of_fairness(methods),
  ]


class _Mean(NamedTuple):
  """The mean over conditions, the value of each, and how many there are."""

  estimate: over_seeds.Estimate
  parts: tuple[float, ...]
  num_known: int


_NOTHING: dict[str, Any] = {"estimate": None, "parts": ()}


def _mean(table: Sequence[Mapping[int, Figure]], limits: tuple[float, float]) -> _Mean | None:
  """Over conditions, each {seed: figure}; None without any."""
  known = [row for row in table if row]
  found = of.mean_over(known, limits)
  if found is None:
    return None
  named = {str(i): {seed: one.value for seed, one in row.items()} for i, row in enumerate(known)}
  rows, seeds = over_seeds.balanced(named)
  parts = tuple(float(np.mean([named[name][seed] for seed in seeds])) for name in rows)
  return _Mean(found[0], parts, len(known))


def _by_predictor(methods, report: str) -> list[tuple[str, str, list[Condition]]]:
  """[(what is added to a claim's name, its subject, conditions)]: networks, then kernels if any.

  A claim on networks rests on networks alone.
  """
  networks, kernels = of.by_kernel(methods, report)
  rows = [("", "Networks trained on", networks)]
  return [*rows, (f", {of.KERNEL}", "Kernel regression on", kernels)] if kernels else rows


def _of_leaks(methods, attacks: Sequence[str]) -> list[Claim]:
  """Whether members are told, by the strongest attack on networks, and on kernel regression."""
  made = []
  for suffix, subject, conditions in _by_predictor(methods, "privacy"):
    means = {}
    for attack in attacks:
      rows = [of.by_seed(one, "privacy", f"{attack}_auc") for one in conditions]
      means[attack] = _mean([privacy.above_guessing(row) for row in rows], _LIMITS)
    known = {attack: mean for attack, mean in means.items() if mean is not None}
    name, fields = "an attack", _NOTHING
    if known:
      estimates = [one.estimate for one in known.values()]
      place, estimate = over_seeds.of_largest(estimates, _LIMITS)
      attack = list(known)[place]
      every = [over_seeds.corrected(one, len(known), _LIMITS) for one in estimates]
      highs = [1.0 if one.high is None else one.high for one in every]
      name = words(attack)
      fields = known[attack]._asdict() | {
        "estimate": estimate,
        "reach": (estimate.low or 0.0, max(highs)),
      }
    if len(known) > 1:
      name += f", the strongest of {len(known)} attacks (corrected for the choice),"
    made.append(
      Claim(
        f"leak{suffix}",
        f"{subject} distilled data {'gives' if suffix else 'give'} away which real examples were "
        "distilled.",
        f"AUC of {name} minus one half",
        1,
        _SMALL_AUC,
        rests_on=("leaks", "leaks-figure"),
        **fields,
      )
    )
  return made


def _of_factors(attacks: Sequence[str], found: Sequence[pairs.Difference]) -> list[Claim]:
  """On what the leak depends, by the attack that is the strongest on all conditions."""
  name = words(attacks[0]) if attacks else "an attack"
  changes = {
    "ipc": ("number of images a class", "more images a class"),
    "init": ("initialisation", "a start other than real images"),
    "num_classes": ("number of classes", "more classes"),
  }
  made = []
  for factor, (on, change) in changes.items():
    for suffix, subject in (("", "networks"), (f", {of.KERNEL}", of.KERNEL)):
      rows = [
        one.by_seed
        for one in found
        if (of.predictor_of(one.pair.a, "privacy") == of.KERNEL) == bool(suffix)
        and one.pair.factor == factor
      ]
      mean = _mean(rows, _LIMITS)
      if suffix and mean is None:
        continue
      made.append(
        Claim(
          f"{factor}{suffix}",
          f"The leak of {subject} depends on the {on}.",
          f"change of the AUC of {name} with {change}",
          0,
          _SMALL_AUC,
          rests_on=("factors", "factors-figure"),
          **(mean._asdict() if mean else _NOTHING),
        )
      )
  return made


def _against(methods, report: str, key: str, limits, claim: str) -> list[Claim]:
  """Whether predictors fare worse than on the full set and on random subsets.

  Args:
    methods: conditions.
    report: its name.
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
      mean = _mean(rows, limits)
      made.append(
        Claim(
          f"{claim} against {label}{suffix}",
          f"{subject} distilled sets {'is' if suffix else 'are'} less {claim} "
          f"{'between classes ' if is_fair else ''}than on {label}.",
          f"{figure} minus that of {label}",
          1 if is_fair else -1,
          _SMALL_GAP if is_fair else _SMALL_PERTURBATION,
          rests_on=(f"{report}-table", f"{report}-figure"),
          **(mean._asdict() if mean else _NOTHING),
        )
      )
  return made


def _of_robustness(methods: Sequence[Condition]) -> list[Claim]:
  made = _against(methods, "robustness", robustness.PERTURBATION, (-np.inf, np.inf), "robust")
  spread, means = robustness.largest_between_methods(methods)
  made.append(
    Claim(
      _BETWEEN,
      "How robust the networks are depends on the method.",
      "largest difference of relative perturbation between two methods (Tukey)",
      0,
      _SMALL_PERTURBATION,
      spread,
      means,
      ("robustness-table", "robustness-figure"),
    )
  )
  return made


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
    f"{text}; {claim.measure} {value}, {'one seed' if seeds == 1 else f'{seeds} seeds'}"
    f"{_over(claim)} "
    f"({', '.join(f'[[{name}]]' for name in claim.rests_on)})."
  )


def _over(claim: Claim) -> str:
  """`, mean of 10, from −0.002 to +0.031`; nothing for a single one."""
  if len(claim.parts) < 2 or claim.name == _BETWEEN:
    return ""
  known = f" of {claim.num_known}" if claim.num_known > len(claim.parts) else ""
  return f", mean of {len(claim.parts)}{known}, {_range(claim)}"


def _range(claim: Claim) -> str:
  """`from −0.002 to +0.031`: the least and the largest of what a value is the mean of."""
  ends = (f"{end:+.3f}".replace("-", "−") for end in (min(claim.parts), max(claim.parts)))
  return "from {} to {}".format(*ends)


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
      len(one.parts) or None,
      _range(one) if len(one.parts) > 1 else None,
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
      "Values are means with equal weight over the conditions (or pairs, or methods) that have the "
      "seeds which most have; intervals run over these seeds, or are those of a single one, and "
      "hold for these methods, settings and data. An effect that goes up for some methods and down "
      "for others may vanish in the mean: the range says so.",
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
          ("they are", "text"),
          ("rests on", "text"),
          ("negligible below", "number"),
        ],
        rows,
      )
    ],
  )
