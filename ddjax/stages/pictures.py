"""The pictures of a report, each drawn from what a finished run holds.

What cannot be drawn is left out with a warning: a picture must not lose a run.
"""

import functools
from typing import Any, Callable, Mapping, NamedTuple

from absl import logging
import numpy as np

from ddjax.augment.multiformation import decode_set
from ddjax.data.preprocess import Preprocessing, as_pixels
from ddjax.plots import (
  architectures,
  confusion,
  curves,
  fairness,
  features,
  grids,
  privacy,
  robustness,
)
from ddjax.stages import curve
from ddjax.stages.prepare import Job
from ddjax.training.metrics import read_metrics, series
from ddjax.types import DistilledSet, Report

Figures = dict[str, Any]
"""{name: Matplotlib figure}."""


class Evaluated(NamedTuple):
  """A set with its reports.

  Attributes:
    distilled: leading replica axis; None where no set was made.
    reports: {evaluator: Report}.
    preprocessing: of the set's images.
  """

  distilled: DistilledSet | None
  reports: Mapping[str, Report]
  preprocessing: Preprocessing


def draw(
  job: Job, sets: Mapping[str, Evaluated], initial: DistilledSet | None = None
) -> dict[str, Any]:
  """The pictures of one set or several.

  Args:
    job: from `prepare`.
    sets: {label: set}. A picture that shows a set alone is named `NAME of LABEL`; with one set the
      label is left out.
    initial: the first set at step 0, where it is known.
  Returns:
    {name: figure}, in the order of a report.
  """
  _, first = next(iter(sets.items()))
  drawn = _of_each(sets, lambda one: _images(job, one, initial if one is first else None))
  if job.num_steps:
    drawn |= _drawn(lambda: {"curves": _curves(job, first.reports)})
  drawn |= _of_each(sets, functools.partial(_predictions, job))
  drawn |= _drawn(_attacked, sets) | _drawn(_members, sets)
  return drawn | _of_each(sets, functools.partial(_audited, job))


def _of_each(sets: Mapping[str, Evaluated], draw_one: Callable[[Evaluated], Figures]) -> Figures:
  """What is drawn of each set alone, the same pictures of all sets one after another."""
  of_sets = {label: _drawn(draw_one, one) for label, one in sets.items()}
  names = dict.fromkeys(name for figures in of_sets.values() for name in figures)
  return {
    f"{name} of {label}" if len(sets) > 1 else name: figures[name]
    for name in names
    for label, figures in of_sets.items()
    if name in figures
  }


def _drawn(draw_some: Callable[..., Figures], *args) -> Figures:
  """What a function draws; nothing where it fails."""
  try:
    return draw_some(*args)
  except Exception as error:  # Matplotlib's, or of figures that nobody foresaw
    reason = f"{type(error).__name__}: {error}"
    logging.warning("Some figures could not be drawn (%s); the report goes without them.", reason)
    return {}


def _images(job: Job, one: Evaluated, initial: DistilledSet | None) -> Figures:
  """The set's images, beside those that it began with where they are known."""
  if one.distilled is None:
    return {}
  names, inverse = job.real.class_names, one.preprocessing.inverse
  classes = np.repeat(np.arange(len(names)), job.config.synthetic.ipc)
  if not job.num_steps or len(classes) != len(one.distilled.labels[0]):  # from disk: in any order
    classes = np.asarray(one.distilled.labels[0]).argmax(axis=-1)
  pixels = np.asarray(inverse(one.distilled.images[0]))
  by = "" if one.preprocessing.is_exactly_invertible else "_by_medians"
  if initial is None:
    return {f"set_images{by}": grids.image_grid(pixels, classes, names)}
  before = np.asarray(inverse(initial.images[0]))
  return {f"images{by}": grids.before_after(before, pixels, classes, names)}


def _curves(job: Job, reports: Mapping[str, Report]):
  config = job.config
  records = read_metrics(job.workdir / "metrics.jsonl")
  batches = "target batches" if "target_batch_size" in config.get("outer", {}) else "real batches"
  if job.distiller.experts is not None:
    batches = "pieces of expert trajectories"
  losses = [curves.Curve(batches, *series(records, "train/loss"))]
  wanted = {
    "train/accuracy": batches,
    curve.CURVE: curves.TEST_CURVE_LABEL,
    curve.VALIDATION_CURVE: "running curve on the validation split",
  }
  accuracies = [curves.Curve(label, *series(records, name)) for name, label in wanted.items()]
  bands = []
  if "kernel" in reports and config.curve.models == "kernel":  # the models of the curve
    kernel = reports["kernel"]
    low, high = kernel.interval["random_subset_accuracy"]
    mean = kernel.scalars["random_subset_accuracy"]
    if mean is not None:
      bands.append(curves.Band("random subset", mean, low, high))
  return curves.training_curves(losses, accuracies, bands=bands)


def _predictions(job: Job, one: Evaluated) -> Figures:
  """What the kernel predictor takes classes for, and accuracies by architecture."""
  reports, drawn = one.reports, {}
  if "kernel" in reports:
    counts = np.array(reports["kernel"].settings["confusion"])
    names = job.real.class_names
    drawn |= _drawn(lambda: {"confusion": confusion.confusion_matrix(counts, names)})
  if "accuracy" in reports and len(reports["accuracy"].settings["architectures"]) > 1:
    drawn |= _drawn(lambda: {"architectures": architectures.draw(reports["accuracy"])})
  return drawn


def _attacked(sets: Mapping[str, Evaluated]) -> Figures:
  """Accuracy under attack and corruptions, all sets in the same panels."""
  found = {
    label: one.reports["robustness"] for label, one in sets.items() if "robustness" in one.reports
  }
  if not found:
    return {}
  (label, first), *others = found.items()
  return robustness.draw(first, dict(others), label)


def _members(sets: Mapping[str, Evaluated]) -> Figures:
  """Rates of membership inference, all sets in the same panels."""
  settings = {
    label: one.reports["privacy"].settings
    for label, one in sets.items()
    if "privacy" in one.reports and "roc" in one.reports["privacy"].settings
  }
  if not settings:
    return {}
  (label, first), *others = settings.items()
  curves_of = {name: one["roc"] for name, one in others}
  return {"membership": privacy.draw_roc(first["roc"], curves_of, first.get("promise"), label)}


def _audited(job: Job, one: Evaluated) -> Figures:
  """What the audit shows of one set alone."""
  real, reports, drawn = job.real, one.reports, {}
  if "fairness" in reports:
    drawn |= _drawn(fairness.draw, reports["fairness"], real.class_names)
  if "features" in reports:
    drawn |= _drawn(features.draw, reports["features"], real.class_names)
  settings = reports["privacy"].settings if "privacy" in reports else {}
  for name, space in (("closest_pairs", "pixels"), ("closest_pairs_in_features", "features")):
    if one.distilled is None or (pairs := settings.get(f"closest_pairs_{space}")) is None:
      continue
    shown = decode_set(one.distilled)
    images = np.asarray(shown.images).reshape(-1, *shown.images.shape[2:])
    drawn[name] = privacy.draw_pairs(
      pairs,
      np.asarray(one.preprocessing.inverse(images)),
      as_pixels(real.train_images[[pair["train"] for pair in pairs]], real.max_value),
      as_pixels(real.test_images[[pair["held_out"] for pair in pairs]], real.max_value),
    )
  return drawn
