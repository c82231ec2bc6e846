"""What a distilled set gives away of its real examples: membership inference, and copies.

Members are the real examples that were distilled, non-members others of the same distribution
(Chen et al. 2023, "A Comprehensive Study on Dataset Distillation"). With shadow runs of the whole
pipeline every split is attacked by all attacks of `ddjax.attacks.membership`; without, a set is
attacked by the scores of single models, its train set against its test set. Beside the distilled
set stand random subsets of equal size, and networks trained on all members.
"""

import hashlib
import itertools
from typing import Any, Callable, Mapping, MutableMapping

from absl import logging
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.attacks import membership
from ddjax.data.load import RealData
from ddjax.data.splits import stratified_rows
from ddjax.evaluators import copy_check
from ddjax.files.plain_arrays import bytes_of
from ddjax.fitting.predictions import predict_logits
from ddjax.statistics import membership_figures
from ddjax.statistics.membership_figures import FIGURES, FPR_LEVELS, Scores
from ddjax.types import Array, EvaluationContext, Models, Report
from ddjax.wording import nearest

ATTACKS = (*membership.SIGNALS, *membership.CLASSIFIERS, *membership.LIRA)
_WITH_SHADOWS = (*membership.CLASSIFIERS, *membership.LIRA)
_SETS = ("distilled", "random_subset", "full")
_BOUND_BY = ("lira", "loss")
"""Attacks that have a ROC curve and a lower bound on epsilon."""
_RATES = np.geomspace(1e-4, 1, 101)
_GAIN_FIGURES = ("auc", "tpr_at_1_percent_fpr")
_COLOURED = (
  "train images have the colours of their classes and test images any colour: they are not of one "
  "distribution, so that colours alone would tell members"
)


def make_privacy_evaluator(config: ConfigDict) -> Callable[..., Report]:
  """Membership inference and the copy check.

  Args:
    config: the group `privacy`.
  Returns:
    measure(models, dataset, rng, context: EvaluationContext) -> Report of kind "privacy". For each
    attack ATTACK it holds `ATTACK_auc`, `ATTACK_balanced_accuracy`, `ATTACK_tpr_at_1_percent_fpr`
    and `ATTACK_tpr_at_0.1_percent_fpr` of the distilled set, the same behind `random_subset_` and
    `full_`, paired gains over the random subset, and `lira_epsilon_lower_bound`. The copy check
    gives `nearest_is_train_pixels` and `nearest_is_train_features`, to be held against the same of
    held-out images, `held_out_nearest_is_train_pixels`, and the median distances.
  Raises:
    ValueError: for an unknown attack.
  """
  for name in config.attacks:
    if name not in ATTACKS:
      raise ValueError(f"privacy.attacks names {name!r}. {nearest(name, ATTACKS)}")

  def measure(
    models: Mapping[str, Mapping[str, Models]],
    dataset: RealData,
    rng: Array,
    context: EvaluationContext,
  ) -> Report:
    seed = int(jax.random.bits(rng, dtype=jnp.uint32))
    # Which LiRA is the stronger one depends on the set: with few shadow runs often the offline one.
    aucs = ["lira_auc", *(["lira_offline_auc"] * ("lira_offline" in config.attacks)), "loss_auc"]
    settings = {
      "subject": "distilled",
      "headline": [*aucs, "lira_tpr_at_1_percent_fpr", "nearest_is_train_pixels"],
      "spread": "none: an interval holds what splits and examples vary",
      "interval_over": {},
      "not_measured": {},
    }
    report = Report("privacy", {}, {}, {}, {}, {}, settings)
    is_coloured = dataset.is_coloured
    if context.run_shadows is not None:
      shadows = context.run_shadows()
      scores = with_shadows(report, shadows, config, seed)
      if "promise" in settings:
        settings["headline"].append("lira_epsilon_lower_bound")
      context.leave("privacy", as_arrays(scores, shadows.is_member))
    elif is_coloured:
      _leave_out(report, settings["headline"][:-1], _COLOURED)
      settings["left_out"] = dict.fromkeys(config.attacks, _COLOURED)
    else:
      _without_shadows(report, models, dataset, config, seed, context.why_not)
    if is_coloured:
      _leave_out(report, settings["headline"][-1:], _COLOURED)
      settings["left_out"]["the copy check"] = _COLOURED
    else:
      copy_check.enter(report, models, dataset, context)
    _warn_of_direction(report)
    settings["checks"] = [
      *settings.get("checks", []), *_checks(settings), *_promise_kept(report)
    ]  # fmt: skip
    return report

  return measure


def _leave_out(report: Report, keys: list[str], reason: str) -> None:
  """Figures that are not measured, with the reason."""
  report.scalars.update(dict.fromkeys(keys))
  report.settings["not_measured"] |= dict.fromkeys(keys, reason)


def with_shadows(
  report: Report,
  shadows: Any,
  config: ConfigDict,
  seed: int,
  known: MutableMapping[str, dict[str, np.ndarray]] | None = None,
) -> dict[tuple[str, str], Scores]:
  """Attacks every split of shadow runs and enters the figures into a report.

  Args:
    report: to be filled.
    shadows: `ddjax.stages.shadows.Shadows`.
    config: the group `privacy`.
    seed: of classifiers and bootstrap.
    known: scores and replicates of earlier calls by what they are of; those of this one are added.
      Cells of a study share their baselines.
  Returns:
    {(set, attack): Scores}, also of attacks whose figures are not estimable.
  """
  settings, known = report.settings, {} if known is None else known
  settings |= shadows.settings | {
    "mode": "shadow runs of the whole pipeline",
    "left_out": {},
    "members_of_the_random_subset": "all that it was drawn from, though it holds ipc of each class",
  }
  num_splits, num_examples = shadows.is_member.shape
  over = f"{num_splits} splits and {num_examples} examples, resampled at once"
  scores = {
    (name, attack): Scores(values, shadows.is_member)
    for name in _SETS
    if name in shadows.logits
    for attack, values in _score_once(
      known, shadows.logits[name], shadows, config.attacks, seed
    ).items()
  }
  every = dict(scores)
  unscored = [key for key, one in scores.items() if not membership_figures.is_estimable(one)]
  for name, attack in unscored:
    del scores[name, attack]
    for figure in FIGURES:
      report.scalars[f"{_prefix(name)}{attack}_{figure}"] = None
      settings["not_measured"][f"{_prefix(name)}{attack}_{figure}"] = (
        f"{num_splits} splits are too few: a split has no member, or no non-member, of which "
        "enough other splits have a score"
      )
  pairs = [
    (("distilled", attack), ("random_subset", attack))
    for attack in config.attacks
    if ("distilled", attack) in scores and ("random_subset", attack) in scores
  ]
  alone, paired = membership_figures.estimate(
    scores, pairs, num_bootstrap=config.num_bootstrap, seed=seed, known=known
  )
  for (name, attack), estimates in alone.items():
    _enter(report, _prefix(name), attack, estimates, over)
  for (a, _), estimates in paired.items():
    gains = {figure: estimates[figure] for figure in _GAIN_FIGURES}
    _enter(report, "gain_over_random_", a[1], gains, over)
  _enter_details(report, scores, seed)
  right = {
    name: logits.argmax(axis=-1) == shadows.labels for name, logits in shadows.logits.items()
  }
  for name, rows in right.items():
    for key, chosen in (("member", shadows.is_member), ("non_member", ~shadows.is_member)):
      report.scalars[f"{_prefix(name)}{key}_accuracy"] = float(rows[chosen].mean())
  return every


def as_arrays(
  scores: Mapping[tuple[str, str], Scores], is_member: np.ndarray
) -> dict[str, np.ndarray]:
  """What later comparisons between runs need, for an npz file.

  Args:
    scores: {(set, attack): Scores}.
    is_member: bool[s N].
  Returns:
    {"is_member": bool[s N], "SET/ATTACK": f32[s N]}; NaN where an example has no score.
  """
  arrays = {
    f"{name}/{attack}": one.values.astype(np.float32) for (name, attack), one in scores.items()
  }
  return {"is_member": np.asarray(is_member, bool), **arrays}


def _score_once(
  known: MutableMapping[str, dict[str, np.ndarray]],
  logits: np.ndarray,
  shadows: Any,
  attacks: tuple[str, ...],
  seed: int,
) -> dict[str, np.ndarray]:
  """`score`, or what it gave for the same before."""
  content = hashlib.sha256(repr((logits.shape, tuple(attacks), seed)).encode())
  for array in (logits, shadows.labels, shadows.is_member):
    content.update(bytes_of(array))
  key = f"scores {content.hexdigest()}"
  if key not in known:
    known[key] = score(logits, shadows, attacks, seed)
  return known[key]


def score(
  logits: np.ndarray, shadows: Any, attacks: tuple[str, ...], seed: int
) -> dict[str, np.ndarray]:
  """Scores f[s N] of every attack on what the splits' models say, logits f[s N k]."""
  labels = np.broadcast_to(shadows.labels, shadows.is_member.shape)
  signals = membership.signals(logits, labels)
  found = {}
  for attack in attacks:
    if attack in membership.SIGNALS:
      found[attack] = signals[attack]
    elif attack in membership.CLASSIFIERS:
      found[attack] = membership.shadow_classifier(
        logits, shadows.labels, shadows.is_member, kind=attack, seed=seed % 2**32
      )
    else:
      found[attack] = membership.lira(
        signals["logit"],
        shadows.is_member,
        is_online="offline" not in attack,
        has_fixed_variance="fixed" in attack,
      )
  return found


def _without_shadows(
  report: Report,
  models: Mapping[str, Mapping[str, Models]],
  dataset: RealData,
  config: ConfigDict,
  seed: int,
  why_not: str,
) -> None:
  """The attacks on single models: train images are members, test images are not."""
  count = config.max_targets
  members = stratified_rows(dataset.train_labels, min(count, len(dataset.train_labels)), (seed, 0))
  others = stratified_rows(dataset.test_labels, min(count, len(dataset.test_labels)), (seed, 1))
  images = np.concatenate([dataset.train_images[members], dataset.test_images[others]])
  labels = np.concatenate([dataset.train_labels[members], dataset.test_labels[others]])
  is_member = np.arange(len(labels)) < len(members)
  left_out = [attack for attack in config.attacks if attack in _WITH_SHADOWS]
  report.settings.update(
    mode="single models, without shadow runs",
    left_out=dict.fromkeys(left_out, why_not),
    members=f"{len(members)} train images; non-members: {len(others)} test images",
  )
  for attack, name in itertools.product(dict.fromkeys([*left_out, "lira"]), _SETS):
    for figure in FIGURES:
      key = f"{_prefix(name)}{attack}_{figure}"
      report.scalars[key] = None
      report.settings["not_measured"][key] = why_not
  every = {}
  for name in (name for name in _SETS if name in models):
    of_set = next(iter(models[name].values()))
    logits = predict_logits(of_set, images, dataset.max_value)
    signals = membership.signals(logits, np.broadcast_to(labels, logits.shape[:2]))
    scores = {
      (name, attack): Scores(signals[attack], np.broadcast_to(is_member, logits.shape[:2]))
      for attack in config.attacks
      if attack in membership.SIGNALS
    }
    if not scores:
      continue
    over = f"{len(logits)} networks and {len(labels)} examples, resampled at once"
    alone, _ = membership_figures.estimate(
      scores, [], num_bootstrap=config.num_bootstrap, seed=seed
    )
    for (_, attack), estimates in alone.items():
      _enter(report, _prefix(name), attack, estimates, over)
    every |= scores
  _enter_details(report, every, seed)


def _enter(report: Report, prefix: str, attack: str, estimates: Mapping, over: str) -> None:
  """The figures of one attack on one set."""
  for figure, one in estimates.items():
    key = f"{prefix}{attack}_{figure}"
    report.scalars[key] = one.value
    if one.value is None:
      report.settings["not_measured"][key] = one.reason
    else:
      report.interval[key] = [one.low, one.high]
      report.settings["interval_over"][key] = over


def _enter_details(report: Report, scores: Mapping[tuple[str, str], Scores], seed: int) -> None:
  """ROC curves, exact intervals of rates, and the bound on epsilon."""
  report.settings["roc"] = {
    f"{_prefix(name)}{attack}": membership_figures.roc(one)
    for (name, attack), one in scores.items()
    if attack in _BOUND_BY
  }
  report.settings["clopper_pearson"] = {
    f"{_prefix(name)}{attack}_{figure}": membership_figures.clopper_pearson(
      *membership_figures.tpr_counts(one, level, seed)
    )
    for (name, attack), one in scores.items()
    for figure, level in FPR_LEVELS.items()
    if report.scalars.get(f"{_prefix(name)}{attack}_{figure}") is not None
  }
  if promise := report.settings.get("promise"):
    most = membership_figures.promised_tpr(_RATES, promise["epsilon"], promise["delta"])
    report.settings["promise"] = {**promise, "fpr": _RATES.tolist(), "tpr": most.tolist()}
  for name in _SETS:
    for attack in _BOUND_BY:
      if (name, attack) in scores:
        bound = membership_figures.epsilon_lower_bound(scores[name, attack], seed=seed)
        report.scalars[f"{_prefix(name)}{attack}_epsilon_lower_bound"] = bound


def _warn_of_direction(report: Report) -> None:
  """A score that is lower for members than for others is of the wrong sign, or luck: named."""
  wrong = [
    key
    for key, (_, high) in report.interval.items()
    if key.endswith("_auc") and not key.startswith("gain_") and high < 0.5
  ]
  report.settings["wrong_direction"] = wrong
  if wrong:
    logging.warning("Scores that are lower for members than for others: %s.", ", ".join(wrong))


def _promise_kept(report: Report) -> list[str]:
  """The bounds on epsilon beside the one that a private set promises, in a sentence."""
  promise = report.settings.get("promise")
  if promise is None:
    return []
  epsilon, delta = promise["epsilon"], promise["delta"]
  found = {
    attack: report.scalars[f"{attack}_epsilon_lower_bound"]
    for attack in _BOUND_BY
    if f"{attack}_epsilon_lower_bound" in report.scalars
  }
  bounds = ", ".join(f"{bound:.3g} by {attack}" for attack, bound in found.items())
  promised = f"The set of each split promises epsilon {epsilon:.4g} at delta {delta:g}"
  if any(bound > epsilon for bound in found.values()):
    return [
      f"{promised}, and the attacks show more than that: {bounds}, at 95 %. There is a fault in "
      "the noise or in its accounting: do not publish the set."
    ]
  return [f"{promised}; the attacks show at least {bounds}, at 95 %, which is no more."]


def _checks(settings: Mapping[str, Any]) -> list[str]:
  """What was left out, and scores of the wrong sign, in sentences."""
  by_reason: dict[str, list[str]] = {}
  for attack, reason in settings["left_out"].items():
    by_reason.setdefault(reason, []).append(attack.replace("_", " "))
  checks = [f"Left out: {', '.join(names)}: {reason}." for reason, names in by_reason.items()]
  if wrong := settings["wrong_direction"]:
    names = ", ".join(key.removesuffix("_auc").replace("_", " ") for key in wrong)
    checks.append(f"Lower for members than for others, by intervals below one half: {names}.")
  return checks


def _prefix(name: str) -> str:
  return "" if name == "distilled" else f"{name}_"
