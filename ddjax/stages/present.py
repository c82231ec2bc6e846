"""Last stage: figures, `report.json`, `report.html`."""

from importlib import metadata
import platform
from types import MappingProxyType
from typing import Any, Mapping

import ddjax
from ddjax.config import compare
from ddjax.files import atomic
from ddjax.io.report import report_to_json, write_report
from ddjax.plots import architectures, figures
from ddjax.stages import pictures, prepare
from ddjax.stages.pictures import Evaluated
from ddjax.stages.prepare import Job
from ddjax.stages.run_folder import fit_name
from ddjax.training.parallel import is_main_process
from ddjax.types import DistilledSet, Report

TABLE_NAME = "architectures.csv"
_PACKAGES = (
  "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "neural-tangents", "tensorflow-datasets",
  "numpy", "ml-collections", "scikit-learn", "scipy",
)  # fmt: skip


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
) -> dict[str, Any]:
  """Draws the figures of one set and writes the reports, on the process that writes.

  Args:
    job: from `prepare`.
    distilled: leading replica axis; None where no set was made.
    initial: the same at step 0; None where it is not known.
    reports: of the evaluators.
    run: facts that only the caller knows, `seconds` and `estimates` at least; they go before those
      of the job.
    drawn: {name or caption: further figure}.
  Returns:
    What `report.json` holds.
  """
  one = Evaluated(distilled, reports, job.real.preprocessing)
  return present_sets(job, {"": one}, run, initial, drawn)


def present_sets(
  job: Job,
  sets: Mapping[str, Evaluated],
  run: dict[str, Any],
  initial: DistilledSet | None = None,
  drawn: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
  """The same of one set or several, side by side in one report.

  Args:
    job: of the first set.
    sets: {label: set with its reports}; the label of a single one is not shown.
    run, drawn: as in `present`.
    initial: of the first set.
  Returns:
    What `report.json` holds; its "reports" are those of the first set.
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
  by_label = {label: dict(one.reports) for label, one in sets.items()}
  reports = next(iter(by_label.values()))
  several = by_label if len(sets) > 1 else {}
  if is_main_process():
    paths = {}
    for name, figure in (pictures.draw(job, sets, initial) | dict(drawn)).items():
      paths[name] = job.workdir / "figures" / f"{fit_name(name)}.png"
      figures.save_figure(figure, paths[name])
    of_networks = {label: one["accuracy"] for label, one in by_label.items() if "accuracy" in one}
    if of_networks:
      atomic.write_text(job.workdir / TABLE_NAME, architectures.as_csv(of_networks))
    write_report(job.workdir, facts, reports, paths, several)
  return report_to_json(facts, reports, several)
