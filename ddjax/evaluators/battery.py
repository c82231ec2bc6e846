"""Every attack and corruption on the networks of one architecture."""

import collections
from concurrent import futures
import hashlib
from typing import Any, Callable, Mapping, NamedTuple

import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax import backend
from ddjax.attacks import corruptions
from ddjax.evaluators import attack_runs
from ddjax.evaluators.attack_runs import Outcome, Trial
from ddjax.files.plain_arrays import bytes_of
from ddjax.types import Array, EvaluationContext, Models

MINIMISING = ("deepfool", "carlini_wagner")
"""Attacks that look for the smallest perturbation instead of staying within epsilon."""
AUTOATTACK = ("apgd_ce_linf", "apgd_t_linf", "square_linf")

Rows = dict[str, np.ndarray]
"""{set: f64[m T]}, a number for each network and test image."""

_FORMAT = 1  # of kept outcomes: raise it when an attack of equal settings would find something else


class Examples(NamedTuple):
  """Test images f32[T h w c] in [0, 1], their labels i32[T], and of how many classes these are."""

  pixels: np.ndarray
  labels: np.ndarray
  num_classes: int


class Figures(NamedTuple):
  """What was measured.

  Attributes:
    correct: {key: Rows in [0, 1]}, accuracies.
    sizes: {key: Rows}, perturbations; NaN where there is none.
    attacked: keys in `correct` of the single attacks, by attack.
    cost: {set: {attack or ensemble: (gradients, forward passes)}}, means an image.
    by_severity: {set: {corruption: accuracy at each severity}}.
    on_curve: {epsilon in 1/255: Rows}; an image fooled within one ball is fooled in a larger.
    pgd: Rows under PGD in l_inf, the one of the curve.
    doubled: Rows under it with twice the steps.
    missing: {key: reason}.
  """

  correct: dict[str, Rows]
  sizes: dict[str, Rows]
  attacked: dict[str, str]
  cost: dict[str, dict[str, tuple[float, float]]]
  by_severity: dict[str, dict[str, list[float]]]
  on_curve: dict[float, Rows]
  pgd: Rows
  doubled: Rows
  missing: dict[str, str]


def run_battery(
  config: ConfigDict,
  forms: attack_runs.Forms,
  fits: Mapping[str, Models],
  examples: Examples,
  rng: Array,
  context: EvaluationContext = EvaluationContext({}),
) -> Figures:
  """Runs everything that the group `robustness` asks for.

  Args:
    config: the group.
    forms: from `make_forms`.
    fits: {set: Models} of one architecture.
    examples: that are attacked.
    rng: of starts, squares and noise; trials of one form draw alike, so that only their settings
      differ.
    context: keeps what every trial found, and says when to stop.
  """
  pixels, labels, num_classes = examples
  digest = _digest(fits)
  failures: list[BaseException] = []

  def check_stop() -> None:
    context.check_stop()
    if failures:
      raise RuntimeError("An attack beside this one has failed.") from failures[0]

  def run(name: str, trial: Trial, images: np.ndarray = pixels) -> dict[str, Outcome]:
    def make() -> dict[str, np.ndarray]:
      found = attack_runs.run_trial(trial, fits, images, labels, rng, check_stop)
      return {
        f"{of_set}/{field}": array
        for of_set, outcome in found.items()
        for field, array in outcome._asdict().items()
      }

    arrays = context.keep(f"{name} on {digest}", make)
    return {
      of_set: Outcome(*(arrays[f"{of_set}/{field}"] for field in Outcome._fields))
      for of_set in fits
    }

  def pgd(epsilon_255: float, **changes: int) -> Rows:
    trial = attack_runs.pgd_trial(forms, config, "linf", epsilon_255 / 255, **changes)
    return _accuracy(run(f"pgd within {epsilon_255!r} {changes or ''}".strip(), trial))

  look = attack_runs.look_trial(forms)
  clean = _accuracy(run("clean", look))
  correct, missing, trials = {"clean": clean}, {}, {}
  for attack in config.attacks:
    trial = attack_runs.make_trial(forms, config, attack, num_classes)
    if isinstance(trial, str):
      missing[_attack_key(config, attack)] = trial
    else:
      trials[attack] = trial
  outcomes = _side_by_side(run, trials, failures)
  attacked = {attack: _attack_key(config, attack) for attack in outcomes}
  for attack, key in attacked.items():
    bound = config.l2_255 / 255 if attack in MINIMISING else np.inf
    correct[key] = _accuracy(outcomes[attack], bound)
  ensembles = _ensembles(config, list(outcomes), missing)
  for key, attacks in ensembles.items():
    correct[key] = _worst([correct[attacked[attack]] for attack in attacks])
  survivors = {attack: correct[key] for attack, key in attacked.items()}
  cost = {name: _costs(outcomes, ensembles, survivors, name) for name in fits}

  if "pgd_linf" in attacked:
    on_curve = {float(config.linf_255): correct[attacked["pgd_linf"]]}
  else:
    on_curve = {float(config.linf_255): pgd(config.linf_255)}
  at_epsilon = on_curve[float(config.linf_255)]
  worst = clean
  for epsilon_255 in sorted({0.0, float(config.linf_255), *map(float, config.curve_255)}):
    if epsilon_255:
      worst = _worst([worst, on_curve.get(epsilon_255) or pgd(epsilon_255, num_restarts=1)])
    on_curve[epsilon_255] = worst

  corrupted, by_severity = _corrupted(config, run, look, pixels, rng)
  return Figures(
    correct=correct | corrupted,
    sizes=_sizes(outcomes, clean, pixels),
    attacked=attacked,
    cost=cost,
    by_severity=by_severity,
    on_curve=dict(sorted(on_curve.items())),
    pgd=at_epsilon,
    doubled=pgd(config.linf_255, num_steps=2 * config.pgd.num_steps),
    missing=missing,
  )


def _digest(fits: Mapping[str, Models]) -> str:
  """Of everything that is attacked: a kept outcome is of no use to other networks."""
  content = hashlib.sha256(str(_FORMAT).encode())
  for name, fit in fits.items():
    for array in (fit.group, *jax.tree.leaves(fit.params)):
      content.update(f"{name} {np.shape(array)}".encode())
      content.update(bytes_of(array))
  return content.hexdigest()[:16]


def _side_by_side(
  run: Callable[[str, Trial], dict[str, Outcome]],
  trials: Mapping[str, Trial],
  failures: list[BaseException],
) -> dict[str, dict[str, Outcome]]:
  """Runs every trial; on CPUs those of different forms side by side.

  A compilation takes one core, and so does an attack on small networks. Trials of one form share
  its program and take turns. What one fails with is put into `failures`, so that the others can
  stop at their next look, and raised.
  """
  by_form: dict[Callable, list[str]] = {}
  for attack, trial in trials.items():
    by_form.setdefault(trial.form, []).append(attack)

  settings: Any = jax.config
  is_double = settings.jax_enable_x64  # a thread begins with the default

  def of_form(attacks: list[str]) -> dict[str, dict[str, Outcome]]:
    try:
      with jax.enable_x64(is_double):
        return {attack: run(attack, trials[attack]) for attack in attacks}
    except BaseException as error:
      failures.append(error)
      raise

  with futures.ThreadPoolExecutor(backend.host_workers()) as pool:
    try:
      runs = [pool.submit(of_form, attacks) for attacks in by_form.values()]
      futures.wait(runs)
    except KeyboardInterrupt as error:  # which reaches this thread alone
      failures.append(error)
      pool.shutdown(wait=False, cancel_futures=True)
      raise
  if failures:
    raise failures[0]
  found = collections.ChainMap(*(one.result() for one in runs))
  return {attack: found[attack] for attack in trials}


def norm_of(attack: str) -> str:
  """The norm of the ball that an attack is held against."""
  return "linf" if attack.endswith("_linf") else "l2"


def with_epsilon(config: ConfigDict, name: str, norm: str) -> str:
  """`worst_case_linf` -> `worst_case_linf_8_255`."""
  return f"{name}_{config[f'{norm}_255']:g}_255"


def _attack_key(config: ConfigDict, attack: str) -> str:
  name = f"{attack}_l2" if attack in MINIMISING else attack
  return with_epsilon(config, name, norm_of(attack))


def _accuracy(outcomes: Mapping[str, Outcome], bound: float = np.inf) -> Rows:
  """Whether each image is still right, perturbations larger than the bound not counted."""
  return {
    name: 1.0 - (outcome.is_fooled & (outcome.distance <= bound))
    for name, outcome in outcomes.items()
  }


def _worst(rows: list[Rows]) -> Rows:
  """The least of several for each network and image."""
  return {name: np.min([one[name] for one in rows], axis=0) for name in rows[0]}


def _ensembles(
  config: ConfigDict, attacks: list[str], missing: dict[str, str]
) -> dict[str, list[str]]:
  """{key: attacks taken together, in the order in which they are tried}; notes what is missing."""
  made = {}
  key = with_epsilon(config, "autoattack_linf", "linf")
  if all(part in attacks for part in AUTOATTACK):
    made[key] = list(AUTOATTACK)
  else:
    lacking = [part for part in AUTOATTACK if part not in attacks]
    missing[key] = f"it needs {', '.join(lacking)} too"
  for norm in attack_runs.BALLS:
    of_norm = [attack for attack in attacks if norm_of(attack) == norm]
    if of_norm:
      made[with_epsilon(config, f"worst_case_{norm}", norm)] = of_norm
  return made


def _costs(
  outcomes: Mapping[str, Mapping[str, Outcome]],
  ensembles: Mapping[str, list[str]],
  survivors: Mapping[str, Rows],
  name: str,
) -> dict[str, tuple[float, float]]:
  """Mean gradients and forward passes an image; of an ensemble up to the attack that fools it."""
  costs = {}
  for key, attacks in ({attack: [attack] for attack in outcomes} | dict(ensembles)).items():
    total, is_left = np.zeros(2), 1.0
    for attack in attacks:
      outcome = outcomes[attack][name]
      counts = np.stack([outcome.num_gradients, outcome.num_forwards])
      total += (counts * is_left).mean(axis=(1, 2))
      is_left = is_left * survivors[attack][name]
    costs[key] = tuple(total.tolist())
  return costs


def _sizes(
  outcomes: Mapping[str, Mapping[str, Outcome]], clean: Rows, pixels: np.ndarray
) -> dict[str, Rows]:
  """Perturbations of the images that are right without one; NaN elsewhere."""
  lengths = np.sqrt(np.sum(np.asarray(pixels, np.float64) ** 2, axis=(1, 2, 3)))
  wanted = {
    "deepfool": ("deepfool_relative_perturbation", np.maximum(lengths, 1e-12)),
    "carlini_wagner": ("carlini_wagner_norm", 1.0),
  }
  return {
    key: {
      name: np.where(outcome.is_fooled & (clean[name] == 1), outcome.distance / scale, np.nan)
      for name, outcome in outcomes[attack].items()
    }
    for attack, (key, scale) in wanted.items()
    if attack in outcomes
  }


def _corrupted(
  config: ConfigDict, run: Any, look: Trial, pixels: np.ndarray, rng: Array
) -> tuple[dict[str, Rows], dict[str, dict[str, list[float]]]]:
  """Accuracies on corrupted images, means over severities, and {set: {kind: by severity}}."""
  seed = attack_runs.as_seed(rng)
  made, by_severity = {}, {}
  for kind in config.corruptions:
    levels = [
      _accuracy(run(f"{kind} {severity}", look, corruptions.corrupt(pixels, kind, severity, seed)))
      for severity in corruptions.SEVERITIES
    ]
    made[f"corruption_{kind}"] = _mean(levels)
    for name in levels[0]:
      accuracies = [float(level[name].mean()) for level in levels]
      by_severity.setdefault(name, {})[kind] = accuracies
  if made:
    made["corruption_mean"] = _mean(list(made.values()))
  return made, by_severity


def _mean(rows: list[Rows]) -> Rows:
  return {name: np.mean([one[name] for one in rows], axis=0) for name in rows[0]}
