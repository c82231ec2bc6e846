"""Accuracy under adversarial attacks and common corruptions, of the networks of every set.

Everything happens in pixels of [0, 1]; preprocessing is part of the attacked network. The kernel
predictor is a network like any other.
"""

from typing import Any, Callable, Mapping

import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax.attacks import corruptions
from ddjax.data.load import RealData
from ddjax.data.preprocess import as_pixels
from ddjax.data.splits import stratified_rows
from ddjax.evaluators import attack_runs, battery
from ddjax.evaluators.battery import Figures
from ddjax.evaluators.report_keys import check_distilled, figure_key, why_missing
from ddjax.statistics import beard, intervals
from ddjax.types import Array, DatasetInfo, EvaluationContext, Models, Report
from ddjax.wording import nearest

RATIO, EFFICIENCY, INDEX = "robustness_ratio", "attack_efficiency", "crei"


def make_robustness_evaluator(
  config: ConfigDict, info: DatasetInfo, *, unit: str = "distillation"
) -> Callable[..., Report]:
  """Accuracy under attack and corruption, with paired differences from the random subset.

  Figures of the first network of the set `distilled` have plain keys, those of the random subset
  and the full set the prefixes `random_subset_` and `full_`, those of a further network NETWORK the
  suffix `_NETWORK`; `gain_over_random_KEY` is the paired difference. The keys, with epsilon in
  1/255 in their names:

    clean                        accuracy on the test images as they are
    ATTACK_NORM_EPSILON_255      accuracy under that attack
    autoattack_linf_EPSILON_255  APGD on cross-entropy, targeted APGD, Square: the worst of them for
                                 each image; AutoAttack without FAB
    worst_case_NORM_EPSILON_255  the worst of all attacks of that norm, for each image
    deepfool_relative_perturbation  mean of ||r||_2 / ||x||_2 over correctly classified images
    carlini_wagner_norm          mean of ||r||_2 likewise; both over the images that the attack
                                 fools at all, whose share stands in `settings["share_perturbed"]`
    corruption_KIND, corruption_mean   accuracy, mean over five severities, and over the kinds
    robustness_ratio, attack_efficiency, crei   see `ddjax.statistics.beard`; of the
                                 accuracies under the single attacks above

  Of DeepFool and Carlini-Wagner, which bound no perturbation, the accuracy is the share of images
  whose perturbation is larger than epsilon.

  Args:
    config: the group `robustness`.
    info: of the data set.
    unit: what one entry of the set `distilled` is, for what the intervals run over.
  Returns:
    measure(models, dataset, rng, context) -> Report of kind "robustness". Settings hold the
    verdicts on convergence (PGD with twice the steps) and gradient masking (Square against the
    white-box attacks), the cost of each attack, and what the figures of `ddjax.plots.robustness`
    need. `measure` compiles each attack once for every `predict_fn` and number of networks.
  Raises:
    ValueError: for an unknown attack, corruption or count, a set twice; by measure, if there is no
      distilled set, or for an unknown network.
  """
  _check(config)
  forms = attack_runs.make_forms(config)

  def measure(
    models: Mapping[str, Mapping[str, Models]],
    dataset: RealData,
    rng: Array,
    context: EvaluationContext = EvaluationContext({}),
  ) -> Report:
    check_distilled(models)
    examples = battery.Examples(*test_images(config, dataset), info.num_classes)
    networks = _networks(config, models)
    settings = _settings(config, networks, len(examples.labels))
    report = Report("robustness", {}, {}, {}, {}, {}, settings)
    for network in networks:
      fits = {
        name: first_models(models[name][network], config.num_networks)
        for name in config.sets
        if network in models.get(name, {})
      }
      own = context._replace(keep=_within(network, context.keep))
      figures = battery.run_battery(config, forms, fits, examples, rng, own)
      suffix = "" if network == networks[0] else f"_{network}"
      resampling = intervals.Resampling(
        config.num_bootstrap, attack_runs.as_seed(rng), intervals.UNITS | {"distilled": unit}
      )
      _add(report, config, figures, fits, suffix, resampling)
    _add_verdicts(report, config)
    return report

  return measure


def test_images(config: ConfigDict, dataset: RealData) -> tuple[np.ndarray, np.ndarray]:
  """The test images that are attacked, f32[T h w c] in [0, 1], and their labels i32[T]."""
  labels = dataset.test_labels
  rows = np.arange(len(labels))
  if 0 < config.num_test < len(labels):
    rows = stratified_rows(labels, config.num_test, 0)
  return np.asarray(as_pixels(dataset.test_images[rows], dataset.max_value)), labels[rows]


def first_models(models: Models, count: int) -> Models:
  """At most `count` models, from as many groups as there are, in the order of the groups."""
  group = np.asarray(models.group)
  rank = np.array([np.sum(group[:place] == one) for place, one in enumerate(group)])
  chosen = np.sort(np.lexsort((group, rank))[:count])
  params = jax.tree.map(lambda leaf: leaf[chosen], models.params)
  return models._replace(params=params, group=group[chosen])


def _within(network: str, keep: Callable) -> Callable:
  """`keep` for the pieces of one architecture."""
  return lambda name, make: keep(f"{network} {name}", make)


def _check(config: ConfigDict) -> None:
  """Raises ValueError for what cannot be run."""
  known = {"attacks": attack_runs.ATTACKS, "corruptions": corruptions.CORRUPTIONS}
  for field, names in known.items():
    for name in config[field]:
      if name not in names:
        raise ValueError(f"Unknown name {name!r} in robustness.{field}. {nearest(name, names)}")
  for field in ("attacks", "corruptions", "sets"):
    if len(set(config[field])) < len(config[field]):
      raise ValueError(f"robustness.{field}={tuple(config[field])} names one twice.")
  if "distilled" not in config.sets:
    raise ValueError(f"robustness.sets={tuple(config.sets)} must hold 'distilled'.")
  for field in ("linf_255", "l2_255"):
    if not 0 < config[field]:
      raise ValueError(f"robustness.{field}={config[field]} must be positive.")
  if any(epsilon < 0 for epsilon in config.curve_255):
    raise ValueError(f"robustness.curve_255={tuple(config.curve_255)} must not be negative.")
  if config.num_test < 0 or config.num_networks < 1:
    raise ValueError(
      f"robustness.num_test={config.num_test} must be at least 0, and "
      f"num_networks={config.num_networks} at least 1."
    )


def _networks(config: ConfigDict, models: Mapping[str, Mapping[str, Models]]) -> list[str]:
  """The names of the predictors that are attacked."""
  for name in config.networks:
    if name not in models["distilled"]:
      raise ValueError(
        f"Unknown network {name!r} in robustness.networks. {nearest(name, models['distilled'])}"
      )
  return list(config.networks or models["distilled"])


def _settings(config: ConfigDict, networks: list[str], num_test: int) -> dict[str, Any]:
  """What was set, before anything is measured."""
  linf, l2 = (f"{config[f'{norm}_255']:g}/255" for norm in attack_runs.BALLS)
  return {
    "budget": config.budget,
    "space": "pixels in [0, 1], preprocessing inside the attacked function",
    "architectures": networks,
    "headline": [
      "clean",
      battery.with_epsilon(config, "autoattack_linf", "linf"),
      "deepfool_relative_perturbation",
      "corruption_mean",
    ],
    "num_test": num_test,
    "num_models": {},
    "epsilon_linf": linf,
    "epsilon_l2": l2,
    "attacks": list(config.attacks),
    "autoattack": f"{', '.join(battery.AUTOATTACK)}; without FAB",
    **{
      name: config[name].to_dict()
      for name in ("pgd", "apgd", "square", "deepfool", "carlini_wagner")
    },
    "cost_unit": "gradients, each with its forward pass, and further forward passes; means an "
    "image, up to the first success",
    "cost": {},
    "scores": "BEARD's, over the single attacks, cost counted in gradients and forward passes",
    "index_weight": config.index_weight,
    "corruptions": list(config.corruptions),
    "corruption_source": "kinds and severities of CIFAR-10-C; on images larger than 32 pixels the "
    "blur grows with the side",
    "corruption_by_severity": {},
    "curve": {},
    "curve_attack": "PGD in l_inf, one start, at epsilon_linf as many as pgd has; who is fooled in "
    "one ball is fooled in a larger",
    "share_perturbed": {},  # of the correctly classified images, those that a size is the mean over
    "convergence": {},
    "gradient_masking": {},
    "spread": "standard deviation over networks (ddof 1), over paired networks for a gain",
    "interval_over": {},
    "not_measured": {},
  }


def _add(
  report: Report,
  config: ConfigDict,
  figures: Figures,
  fits: Mapping[str, Models],
  suffix: str,
  resampling: intervals.Resampling,
) -> None:
  """Puts the figures of one architecture into the report."""
  settings = report.settings
  group = {name: np.asarray(fit.group) for name, fit in fits.items()}
  has_pair = {"distilled", "random_subset"} <= fits.keys()
  pairs = [("distilled", "random_subset")] if has_pair else []

  def add(key, estimates, rows):
    for source, estimate in estimates.items():
      name = figure_key(source, f"{key}{suffix}")
      report.scalars[name] = estimate.mean
      report.interval[name] = [estimate.low, estimate.high]
      settings["interval_over"][name] = estimate.over
      if estimate.std is not None:
        report.spread[name] = estimate.std
    for name, values in rows.items():
      report.per_model[figure_key(name, f"{key}{suffix}")] = np.nanmean(values, axis=1).tolist()

  for key, rows in figures.correct.items():
    add(key, intervals.bootstrap_accuracies(rows, group, pairs, resampling), rows)
  for key, rows in figures.sizes.items():
    found = {name: values for name, values in rows.items() if _is_known(values)}
    used = [pair for pair in pairs if set(pair) <= found.keys()]
    add(key, intervals.bootstrap_means(found, group, used, resampling), found)
    for name in rows.keys() - found.keys():
      _leave_out(
        report,
        figure_key(name, f"{key}{suffix}"),
        "a network has no image that it could be taken of",
      )
  for name in fits:
    for key, value in _scores(figures, name, config.index_weight).items():
      report.scalars[figure_key(name, f"{key}{suffix}")] = value

  keys = [*figures.correct, *figures.sizes, RATIO, EFFICIENCY, INDEX]
  for name in config.sets:
    for key in figures.missing:
      _leave_out(report, figure_key(name, f"{key}{suffix}"), figures.missing[key])
    if name not in fits:
      reason = why_missing(name)
      for key in keys:
        _leave_out(report, figure_key(name, f"{key}{suffix}"), reason)
      for key in (*figures.correct, *figures.sizes) if name == "random_subset" else ():
        _leave_out(report, figure_key(("distilled", name), f"{key}{suffix}"), reason)

  curve = {}
  for epsilon_255, rows in figures.on_curve.items():
    for name, estimate in intervals.bootstrap_accuracies(rows, group, [], resampling).items():
      columns = curve.setdefault(name, {"epsilon": [], "accuracy": [], "low": [], "high": []})
      numbers = epsilon_255 / 255, estimate.mean, estimate.low, estimate.high
      for column, number in zip(columns.values(), numbers, strict=True):
        column.append(number)
  for name, fit in fits.items():
    place = f"{name}{suffix}"
    settings["num_models"][place] = len(fit.group)
    settings["curve"][place] = curve[name]
    settings["corruption_by_severity"][place] = figures.by_severity.get(name, {})
    settings["cost"][place] = {
      attack: {"gradients": gradients, "forwards": forwards}
      for attack, (gradients, forwards) in figures.cost[name].items()
    }
    settings["share_perturbed"][place] = {
      key: float((~np.isnan(rows[name])).sum() / max(figures.correct["clean"][name].sum(), 1))
      for key, rows in figures.sizes.items()
    }
    settings["convergence"][place] = {
      "steps": config.pgd.num_steps,
      "accuracy": float(figures.pgd[name].mean()),
      "doubled_accuracy": float(figures.doubled[name].mean()),
    }
    masking = _masking(figures, name)
    if masking:
      settings["gradient_masking"][place] = masking


def _add_verdicts(report: Report, config: ConfigDict) -> None:
  """What the checks say, over all sets and networks."""
  settings = report.settings
  change = max(
    (one["accuracy"] - one["doubled_accuracy"] for one in settings["convergence"].values()),
    key=abs,
  )
  settings["converged"] = bool(abs(change) <= config.convergence_tolerance)
  settings["convergence_verdict"] = (
    f"{'converged' if settings['converged'] else 'not converged'}: doubling the "
    f"{config.pgd.num_steps} steps of PGD changes an accuracy by up to {0.0 - change:+.3f}, where "
    f"{config.convergence_tolerance:g} is allowed"
  )
  checks = settings["gradient_masking"]
  suspects = [name for name, one in checks.items() if one["square"] < one["white_box"]]
  settings["masking_suspected"] = bool(suspects) if checks else None
  if not checks:
    verdict = "not checked: it needs square_linf and a gradient attack in l_inf"
  elif suspects:
    verdict = f"suspected, as Square beats the white-box attacks: {', '.join(suspects)}"
  else:
    verdict = "none seen: Square beats the white-box attacks nowhere"
  settings["masking_verdict"] = verdict
  settings["checks"] = [
    f"Steps of PGD: {settings['convergence_verdict']}.",
    f"Gradient masking: {verdict}.",
  ]


def _masking(figures: Figures, name: str) -> dict[str, float] | None:
  """Square against the worst of the white-box attacks in l_inf."""
  white_box = [
    figures.correct[key][name]
    for attack, key in figures.attacked.items()
    if battery.norm_of(attack) == "linf" and attack != "square_linf"
  ]
  if "square_linf" not in figures.attacked or not white_box:
    return None
  square, worst = figures.correct[figures.attacked["square_linf"]][name], np.min(white_box, axis=0)
  return {
    "square": float(square.mean()),
    "white_box": float(worst.mean()),
    "fooled_by_square_alone": float((square < worst).mean()),
  }


def _scores(figures: Figures, name: str, weight: float) -> dict[str, float]:
  """RR, AE and CREI of one set."""
  if not figures.attacked:
    return {}
  ratio = beard.robustness_ratio(
    float(figures.correct["clean"][name].mean()),
    [float(figures.correct[key][name].mean()) for key in figures.attacked.values()],
  )
  efficiency = beard.attack_efficiency(
    [sum(figures.cost[name][attack]) for attack in figures.attacked]
  )
  index = beard.robustness_efficiency_index(ratio, efficiency, weight)
  return {RATIO: ratio, EFFICIENCY: efficiency, INDEX: index}


def _leave_out(report: Report, key: str, reason: str) -> None:
  report.scalars[key] = None
  report.settings["not_measured"][key] = reason


def _is_known(values: np.ndarray) -> bool:
  """Whether every network has a number for some image."""
  return bool((~np.isnan(values)).any(axis=1).all())
