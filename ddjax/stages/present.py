"""Last stage: figures, `report.json`, `report.html`."""

from importlib import metadata
import platform
import re
from types import MappingProxyType
from typing import Any, Callable, Mapping, NamedTuple

from absl import logging
import numpy as np

import ddjax
from ddjax.augment.multiformation import decode_set
from ddjax.config import compare
from ddjax.data.load import RealData
from ddjax.data.preprocess import Preprocessing, as_pixels
from ddjax.files import atomic
from ddjax.io.report import report_to_json, write_report
from ddjax.plots import (
  architectures,
  confusion,
  curves,
  fairness,
  features,
  figures,
  grids,
  privacy,
  robustness,
)
from ddjax.stages import curve, prepare
from ddjax.stages.prepare import Job
from ddjax.training.metrics import read_metrics, series
from ddjax.training.parallel import is_main_process
from ddjax.types import DistilledSet, Report

TABLE_NAME = "architectures.csv"
_UNFIT = re.compile(r"[^\w.=-]+")  # for the name of a file
_APPROXIMATE_IMAGES = "Images before and after; brightness and contrast are the train medians"
_PACKAGES = (
  "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "neural-tangents", "tensorflow-datasets",
  "numpy", "ml-collections", "scikit-learn", "scipy",
)  # fmt: skip


class Evaluated(NamedTuple):
  """A further set of an evaluation: with a leading axis of one, in its own preprocessing."""

  distilled: DistilledSet
  reports: dict[str, Report]


def versions() -> dict[str, str]:
  """Versions of Python, ddjax and the packages that bear on the numbers; "unknown" without one."""
  packages = {name: _version(name) for name in _PACKAGES}
  return {"python": platform.python_version(), "ddjax": ddjax.__version__, **packages}


def _version(name: str) -> str:
  try:
    return metadata.version(name)
  except metadata.PackageNotFoundError:
    return "unknown"


def write_versions(job: Job) -> None:
  """Writes `versions.txt`."""
  lines = [f"{name} {version}\n" for name, version in versions().items()]
  atomic.write_text(job.workdir / "versions.txt", "".join(lines))


def present(
  job: Job,
  distilled: DistilledSet | None,
  initial: DistilledSet | None,
  reports: dict[str, Report],
  run: dict[str, Any],
  drawn: Mapping[str, Any] = MappingProxyType({}),
  *,
  label: str = "",
  others: Mapping[str, Evaluated] = MappingProxyType({}),
) -> dict[str, Any]:
  """Draws the figures and writes the reports, on the process that writes.

  Args:
    job: from `prepare`.
    distilled: leading replica axis; None where no set was made.
    initial: the same at step 0; None where it is not known.
    reports: of the evaluators.
    run: facts that only the caller knows, `seconds` and `estimates` at least; they go before those
      of the job.
    drawn: {name or caption: further figure}.
    label: of the set, where several are evaluated.
    others: {label: set and reports} of the further ones, shown in the same tables and curves.
  Returns:
    What `report.json` holds.
  """
  config = job.config
  facts = {
    "method": config.get("method"),
    "dataset": job.real.info.name,
    "ipc": config.synthetic.ipc if "synthetic" in config else None,
    "seed": config.seed,
    "num_replicas": config.get("num_replicas"),
    "num_steps": job.num_steps or None,
    "num_held_out": len(job.real.validation_labels),
    "class_names": list(job.real.class_names),
    "workdir": str(job.workdir),
    "data_fingerprint": job.real.fingerprint,
    "data_version": job.real.version,
    "config": compare.published(compare.plain(config)),
    "versions": versions(),
    "hardware": prepare.hardware(job.layout),
    **run,
  }
  further = {name: one.reports for name, one in others.items()}
  sets = {label: reports, **further} if others else {}
  if is_main_process():
    paths = {}
    figures_of = _drawn(_figures, job, distilled, initial, reports)
    figures_of |= _drawn(_audit_figures, job, distilled, reports, others) | dict(drawn)
    for name, figure in figures_of.items():
      is_exact = name != "images" or job.real.preprocessing.is_exactly_invertible
      path = job.workdir / "figures" / f"{_UNFIT.sub('-', name)}.png"
      figures.save_figure(figure, path)
      paths[name if is_exact else _APPROXIMATE_IMAGES] = path
    if "accuracy" in reports:
      atomic.write_text(job.workdir / TABLE_NAME, architectures.as_csv(reports["accuracy"]))
    write_report(job.workdir, facts, reports, paths, sets)
  return report_to_json(facts, reports, sets)


def _drawn(draw: Callable[..., dict[str, Any]], *args) -> dict[str, Any]:
  """What `draw` returns; none where it fails: the figures of a finished run must not lose it."""
  try:
    return draw(*args)
  except Exception as error:  # Matplotlib's, or of figures that nobody foresaw
    reason = f"{type(error).__name__}: {error}"
    logging.warning("Some figures could not be drawn (%s); the report goes without them.", reason)
    return {}


def _figures(
  job: Job,
  distilled: DistilledSet | None,
  initial: DistilledSet | None,
  reports: dict[str, Report],
) -> dict[str, Any]:
  names, drawn = job.real.class_names, {}
  if distilled is not None:
    drawn |= _drawn(_images, job, distilled, initial)
  if job.num_steps:
    drawn |= _drawn(lambda: {"curves": _curves(job, reports)})
  if "kernel" in reports:
    counts = np.array(reports["kernel"].settings["confusion"])
    drawn |= _drawn(lambda: {"confusion": confusion.confusion_matrix(counts, names)})
  if "accuracy" in reports and len(reports["accuracy"].settings["architectures"]) > 1:
    drawn |= _drawn(lambda: {"architectures": architectures.draw(reports["accuracy"])})
  return drawn


def _images(job: Job, distilled: DistilledSet, initial: DistilledSet | None) -> dict[str, Any]:
  """The set's images, beside those that it began with where they are known."""
  names, inverse = job.real.class_names, job.real.preprocessing.inverse
  classes = np.repeat(np.arange(len(names)), job.config.synthetic.ipc)
  if not job.num_steps or len(classes) != len(distilled.labels[0]):  # from disk: in any order
    classes = np.asarray(distilled.labels[0]).argmax(axis=-1)
  pixels = np.asarray(inverse(distilled.images[0]))
  if initial is None:
    return {"images": grids.image_grid(pixels, classes, names)}
  before = np.asarray(inverse(initial.images[0]))
  return {"images": grids.before_after(before, pixels, classes, names)}


def _audit_figures(
  job: Job,
  distilled: DistilledSet | None,
  reports: dict[str, Report],
  others: Mapping[str, Evaluated],
) -> dict[str, Any]:
  """What the audit's reports show besides numbers; further sets in the same curves."""
  drawn = {}
  further = {label: one.reports for label, one in others.items()}
  if "robustness" in reports:
    others_of = {label: one["robustness"] for label, one in further.items()}
    drawn |= _drawn(robustness.draw, reports["robustness"], others_of)
  if "privacy" in reports:
    curves_of = {label: one["privacy"].settings.get("roc", {}) for label, one in further.items()}
    if "roc" in reports["privacy"].settings:
      roc = reports["privacy"].settings["roc"]
      promise = reports["privacy"].settings.get("promise")
      drawn |= _drawn(lambda: {"membership": privacy.draw_roc(roc, curves_of, promise)})
  drawn |= _figures_of_set(job.real, distilled, job.real.preprocessing, reports)
  for label, one in others.items():
    own = _figures_of_set(job.real, one.distilled, one.distilled.info["preprocessing"], one.reports)
    drawn |= {f"{name} of {label}": figure for name, figure in own.items()}
  return drawn


def _figures_of_set(
  real: RealData,
  distilled: DistilledSet | None,
  preprocessing: Preprocessing,
  reports: dict[str, Report],
) -> dict[str, Any]:
  """Those that show one set alone."""
  drawn, names = {}, real.class_names
  if "fairness" in reports:
    drawn |= _drawn(fairness.draw, reports["fairness"], names)
  if "features" in reports:
    drawn |= _drawn(features.draw, reports["features"], names)
  settings = reports["privacy"].settings if "privacy" in reports else {}
  for name, space in (("closest_pairs", "pixels"), ("closest_pairs_in_features", "features")):
    if distilled is None or (pairs := settings.get(f"closest_pairs_{space}")) is None:
      continue
    shown = decode_set(distilled)
    images = np.asarray(shown.images).reshape(-1, *shown.images.shape[2:])
    drawn[name] = privacy.draw_pairs(
      pairs,
      np.asarray(preprocessing.inverse(images)),
      as_pixels(real.train_images[[pair["train"] for pair in pairs]], real.max_value),
      as_pixels(real.test_images[[pair["held_out"] for pair in pairs]], real.max_value),
    )
  return drawn


def _curves(job: Job, reports: dict[str, Report]):
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
