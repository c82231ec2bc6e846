"""The running curve: the accuracy of what a distillation has so far, at steps of its own."""

from typing import Callable

import numpy as np

from ddjax.data.facts import get_facts
from ddjax.evaluators.accuracy import predicted_classes
from ddjax.evaluators.kernel import PREDICTOR, ROWS_PER_BLOCK, make_kernel_fit
from ddjax.fitting.fit import make_fit
from ddjax.fitting.predictions import predict_classes
from ddjax.random_streams import stream
from ddjax.stages.prepare import Job
from ddjax.training.parallel import local_devices
from ddjax.types import DistilledSet
from ddjax.wording import nearest

CURVE = "eval/running_test_accuracy"
VALIDATION_CURVE = "eval/running_validation_accuracy"
MODELS = ("kernel", "networks", "none")
_PROTOCOL = "quick"

Curve = Callable[[DistilledSet], dict[str, float | list[float]]]


def curve_steps(wanted: tuple[int, ...], num_steps: int) -> list[int]:
  """Steps of the running curve: those wanted, or 0, the series 1 2 5 10 20 50 ... and the last."""
  if wanted:
    return sorted({step for step in wanted if 0 <= step <= num_steps} | {num_steps})
  series = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
  return [0, *(step for step in series if step < num_steps), num_steps]


def make_curve(job: Job) -> Curve:
  """(distilled) -> {name: accuracy, or one a replica}, on the test set and on a validation split.

  The distilled set has a leading replica axis. The test curve is for people to look at; nothing is
  chosen by it.

  Raises:
    ValueError: for an impossible setting of `config.curve`.
  """
  config, real = job.config.curve, job.real
  if config.models not in MODELS:
    raise ValueError(f"Unknown curve.models {config.models!r}. {nearest(config.models, MODELS)}")
  for name, least in (("num_test", 0), ("num_networks", 1), ("num_epochs", 1)):
    if config[name] < least:
      raise ValueError(f"curve.{name}={config[name]} must be at least {least}.")
  if config.models == "none" or (config.models == "kernel" and "kernel" not in job.config):
    return lambda distilled: {}
  count = config.num_test or len(real.test_labels)
  splits = {CURVE: (real.test_images[:count], real.test_labels[:count])}
  if len(real.validation_labels):
    splits[VALIDATION_CURVE] = (real.validation_images, real.validation_labels)
  predict = _kernel(job) if config.models == "kernel" else _networks(job)

  def curve(distilled: DistilledSet) -> dict[str, float | list[float]]:
    values = {}
    predicted = predict(distilled, {name: images for name, (images, _) in splits.items()})
    for name, (_, labels) in splits.items():
      classes, group = predicted[name]
      right = (classes == labels).mean(axis=1)
      accuracies = [float(right[group == r].mean()) for r in range(len(distilled.images))]
      values[name] = accuracies if len(accuracies) > 1 else accuracies[0]
    return values

  return curve


def _kernel(job: Job):
  """(distilled, {name: images}) -> {name: (classes i[m T], group i[m])} by kernel regression."""
  fit = make_kernel_fit(job.config, job.real.info, job.real.preprocessing)

  def predict(distilled, images):
    models = fit({"running": distilled})["running"][PREDICTOR]
    # In the blocks of the evaluator, whose program this then is.
    rows, scale = ROWS_PER_BLOCK, job.real.max_value
    return {
      name: (predict_classes(models, one, scale, rows_per_block=rows), np.asarray(models.group))
      for name, one in images.items()
    }

  return predict


def _networks(job: Job):
  """The same by networks of the evaluation's first architecture, trained for a short time."""
  curve = job.config.curve
  config = job.config.accuracy_evaluation.copy_and_resolve_references()
  config.update(dict(networks=(config.networks[0],), num_seeds=curve.num_networks))
  config.update(
    dict(protocol=_PROTOCOL, num_epochs=curve.num_epochs, augmentation=None, feature_ridge=None)
  )
  config.update(dict(batch_size=None, learning_rate=None, labels=None, mix=None))
  fit = make_fit(
    config,
    job.real.info,
    job.real.preprocessing,
    use_flip=get_facts(job.real.info.name).use_flip,
    devices=local_devices(job.layout),
  )
  rng = stream(job.config.seed, "running curve")

  def predict(distilled, images):
    (models,) = fit({"running": distilled}, rng)["running"].values()
    group = np.asarray(models.group)
    return {
      name: (predicted_classes(models, one, job.real.max_value), group)
      for name, one in images.items()
    }

  return predict
