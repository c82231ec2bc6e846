"""Which snapshot of a distillation to publish beside its last step, by a validation split.

The split is held out of the train set before anything is distilled, so the test set decides
nothing. Every distillation chooses for itself.
"""

import pathlib
from typing import NamedTuple

from absl import logging
import numpy as np

from ddjax import registry
from ddjax.evaluators.accuracy import predicted_classes
from ddjax.fitting.host import Watch
from ddjax.fitting.predictions import predict_classes
from ddjax.io.distilled import load_distilled
from ddjax.random_streams import stream
from ddjax.stages.curve import curve_steps
from ddjax.stages.distill import set_info, snapshot_folder
from ddjax.stages.evaluate import Plan
from ddjax.stages.prepare import Job
from ddjax.types import DistilledSet


class Choice(NamedTuple):
  """The snapshots chosen.

  Attributes:
    distilled: leading replica axis.
    steps: the step of each replica.
    accuracies: {step: validation accuracy of each replica}.
  """

  distilled: DistilledSet
  steps: list[int]
  accuracies: dict[int, list[float]]


def check(job: Job) -> None:
  """Raises ValueError where `choose_by` is unknown, or there is nothing to choose by."""
  choose_by = job.config.choose_by
  if choose_by == "none":
    return
  if choose_by not in job.config.evaluators or choose_by not in registry.EVALUATORS:
    raise ValueError(
      f"choose_by={choose_by!r} must be 'none' or one of evaluators={tuple(job.config.evaluators)}."
    )
  if not len(job.real.validation_labels):
    raise ValueError(
      f"choose_by={choose_by!r} needs a validation split: set data.validation_fraction above 0."
    )


def choose(job: Job, plan: Plan, watch: Watch) -> Choice | None:
  """The snapshots of highest validation accuracy, the earliest of equals; None if not asked for."""
  if job.config.choose_by == "none":
    return None
  (kind,), _ = plan.measures[job.config.choose_by]
  snapshots, accuracies = {}, {}
  for step in curve_steps(job.config.curve.steps, job.num_steps):
    if not snapshot_folder(job, step).exists():  # passed before the curve was to stop there
      continue
    snapshots[step] = _snapshot(job, step)
    fitted = plan.fits[kind](
      {"distilled": snapshots[step]}, stream(job.config.seed, "choose"), watch
    )
    accuracies[step] = _validation_accuracies(job, fitted["distilled"])
    logging.info("Validation accuracy at step %d: %s", step, accuracies[step])
  steps = list(snapshots)
  table = np.array([accuracies[step] for step in steps])
  best = [steps[row] for row in table.argmax(axis=0)]
  images, labels = (
    np.stack([getattr(snapshots[step], name)[r] for r, step in enumerate(best)])
    for name in ("images", "labels")
  )
  rates = snapshots[steps[0]].info["learning_rate"]
  if rates is not None:
    rates = tuple(snapshots[step].info["learning_rate"][r] for r, step in enumerate(best))
  info = set_info(job, rates)
  return Choice(DistilledSet(images, labels, info), best, accuracies)


def _snapshot(job: Job, step: int) -> DistilledSet:
  """The set at a step, from disk, with its replica axis."""
  folder = snapshot_folder(job, step)
  parts = [load_distilled(path) for path in _replica_folders(folder, job.config.num_replicas)]
  images, labels = (
    np.stack([getattr(part, name) for part in parts]) for name in ("images", "labels")
  )
  rates = tuple(part.info["learning_rate"] for part in parts)
  return DistilledSet(images, labels, set_info(job, None if None in rates else rates))


def _replica_folders(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  return [folder, *(folder / f"replica_{replica}" for replica in range(1, count))]


def _validation_accuracies(job: Job, fitted) -> list[float]:
  """Mean accuracy on the validation split over all networks of each replica."""
  real = job.real
  by_replica = np.zeros((len(fitted), job.config.num_replicas))
  for place, models in enumerate(fitted.values()):
    if job.config.choose_by == "kernel":
      classes = predict_classes(models, real.validation_images, real.max_value)
    else:
      classes = predicted_classes(models, real.validation_images, real.max_value)
    right = (classes == real.validation_labels).mean(axis=1)
    group = np.asarray(models.group)
    by_replica[place] = [right[group == r].mean() for r in range(job.config.num_replicas)]
  return by_replica.mean(axis=0).tolist()
