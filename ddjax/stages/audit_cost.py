"""What the audit of a run costs: networks of shadow runs, and bounds of what ends early.

A distillation of splits is as much work as so many distillations, and faster where one of them does
not fill the machine. An attack leaves an image as soon as it is fooled. So both are said as the
most that they can take.
"""

from absl import logging
from ml_collections import ConfigDict
import numpy as np

from ddjax import registry
from ddjax.attacks import corruptions
from ddjax.fitting import protocols
from ddjax.stages import stage_cost
from ddjax.stages.prepare import Job
from ddjax.stages.shadows import predictor_of, shadow_config

DISTILLATIONS, ATTACKED = "distillation of the splits", "attacks"
_GRADIENT = 3  # passes that a pass with its gradient is worth


def bounds(job: Job, origin: ConfigDict | None = None) -> dict[str, np.ndarray]:
  """{stage: the most that it takes}, of the evaluators of the config.

  `origin` is the config that made a set from disk, as of all functions here; None where it is not
  known, so that nothing is distilled again, and of a run that distils.
  """
  found = {}
  if "privacy" in job.config.evaluators and _distilled_by(job, origin) is not None:
    found[DISTILLATIONS] = distillations(job, origin)
  if "robustness" in job.config.evaluators:
    found[ATTACKED] = attacks(job)
  return found


def networks_of_splits(job: Job, origin: ConfigDict | None = None) -> np.ndarray:
  """[flops, seconds, 0] of the networks of shadow runs, without their distillations."""
  config, settings, real = job.config, job.config.privacy, job.real
  made_by = _distilled_by(job, origin)
  if made_by is None or predictor_of(made_by, settings) == "kernel":
    return np.zeros(3)
  own = protocols.configure(config.accuracy_evaluation)
  own = own._replace(num_epochs=settings.num_epochs or own.num_epochs)
  num_support = (settings.ipc or config.synthetic.ipc) * real.info.num_classes
  num_members = round(settings.member_fraction * _pool_size(job))
  count = settings.num_splits * settings.num_networks
  whole = own._replace(num_epochs=settings.full_epochs)
  of_small = stage_cost.networks(job, num_support, 2 * count, own)
  return of_small + stage_cost.networks(job, num_members, count, whole)


def distillations(job: Job, origin: ConfigDict | None = None) -> np.ndarray:
  """The most that the distillations of shadow runs take, experts apart; NaN where not known."""
  try:
    return _distillations(job, origin)
  except Exception as error:  # of a set of another version of ddjax, say; an estimate only informs
    logging.warning("The cost of shadow runs is not known (%s: %s).", type(error).__name__, error)
    return np.full(3, np.nan)


def _distillations(job: Job, origin: ConfigDict | None) -> np.ndarray:
  made_by = _distilled_by(job, origin)
  if made_by is None:
    return np.zeros(3)
  own = shadow_config(made_by, job.config.privacy)
  method = registry.DISTILLERS[own.method](own, job.real.info)  # its replicas may share passes
  is_coreset = not (method.image_passes or method.batch_sizes or method.guarantee)
  if is_coreset:  # chosen in no time
    return np.zeros(3)
  own.curve.steps = ()
  num_steps = method.num_steps or own.outer.num_steps
  shadow = job._replace(config=own, distiller=method, num_steps=num_steps)
  if method.image_passes:
    return stage_cost.matching(shadow)
  return stage_cost.kernel_stages(shadow)["distill"]


def _distilled_by(job: Job, origin: ConfigDict | None) -> ConfigDict | None:
  """The config by which shadow runs distil; None where they cannot."""
  return job.config if job.distiller.init is not None else origin


def attacks(job: Job) -> np.ndarray:
  """The most that attacks and corruptions take."""
  config, real = job.config, job.real
  settings = config.robustness
  num_test = min(settings.num_test or len(real.test_labels), len(real.test_labels))
  gradients, forwards = _passes_an_image(settings, real.info.num_classes)
  passes = num_test * (_GRADIENT * gradients + forwards)
  total = np.zeros(3)
  names = settings.networks or config.accuracy_evaluation.networks
  if "accuracy" in config.evaluators:
    num_networks = settings.num_networks * len(settings.sets)
    for name in names:
      if name != "kernel":
        network = stage_cost.network_of(job, name)
        total += num_networks * stage_cost.passes_cost(
          network, real.info.image_shape, passes, num_test * forwards
        )
  if "kernel" in config.evaluators and "kernel" in (settings.networks or ("kernel",)):
    num_sets = min(config.get("num_replicas", 1), settings.num_networks) + min(
      config.num_random_subsets, settings.num_networks
    )
    num_support = config.synthetic.ipc * real.info.num_classes
    pairs = num_test * num_support * num_sets
    total += stage_cost.pairs_cost(job, pairs * gradients, with_gradient=True)
    total += stage_cost.pairs_cost(job, pairs * forwards)
  total[2] = 0.0
  return total


def _pool_size(job: Job) -> int:
  real, limit = job.real, job.config.privacy.max_examples
  size = sum(map(len, (real.train_labels, real.validation_labels, real.test_labels)))
  return min(size, limit or size)


def _passes_an_image(config: ConfigDict, num_classes: int) -> tuple[float, float]:
  """(gradients, forward passes) of the group `robustness`, of an image that is never fooled."""
  pgd, apgd, deepfool, search = config.pgd, config.apgd, config.deepfool, config.carlini_wagner
  of_pgd, of_apgd = pgd.num_steps * pgd.num_restarts, apgd.num_steps + 1
  gradients = {
    "fgsm": 1,
    "pgd": of_pgd,
    "apgd_ce": of_apgd * apgd.num_restarts,
    "apgd_dlr": of_apgd * apgd.num_restarts,
    "apgd_t": of_apgd * min(apgd.num_targets, num_classes - 1),
    "square": 0,
    "deepfool": deepfool.num_steps * min(deepfool.num_candidates, num_classes),
    "carlini_wagner": search.num_searches * search.num_steps,
  }
  kinds = [name if name in gradients else name.rpartition("_")[0] for name in config.attacks]
  of_attacks = sum(gradients[kind] for kind in kinds)
  balls = {0.0, config.linf_255}
  of_curve = pgd.num_steps * len([one for one in config.curve_255 if one not in balls])
  of_curve += 2 * of_pgd  # twice the steps, whether they find more
  forwards = config.square.num_queries * kinds.count("square")
  forwards += 1 + len(corruptions.SEVERITIES) * len(config.corruptions)
  return float(of_attacks + of_curve), float(forwards)
