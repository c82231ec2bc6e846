"""Evaluation without a distillation: of a set from disk, and of the full train set."""

import pathlib
import shutil
import time
from typing import Any, Mapping

from absl import logging
from ml_collections import ConfigDict

from ddjax.config import compare
from ddjax.data.facts import get_facts
from ddjax.data.load import RealData
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.evaluators.fit import fit_full
from ddjax.io.distilled import set_digest
from ddjax.io.foreign.convert import is_own, load_any
from ddjax.io.foreign.foreign_set import split_options
from ddjax.random_streams import stream
from ddjax.run_folder import RunFolder
from ddjax.stages import estimate, prepare, present, shadows
from ddjax.stages.evaluate import evaluate_saved, origin_of, plan
from ddjax.stages.prepare import (
  Job,
  data_fingerprint,
  load,
  numerics,
  prepare_real,
  prepare_saved,
)
from ddjax.training.fitting import Watch
from ddjax.training.parallel import is_main_process, local_devices
from ddjax.training.trainer import StopRequest
from ddjax.types import DistilledSet, Report

_NEAR_CHANCE = 1.25  # times chance; a random subset of one image a class is above it
_LABELS_OF_CURVES = ("distilled", "random subset", "full set")


def run_saved(
  config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False
) -> dict[str, Any]:
  """Evaluates the sets at `config.distilled` and writes a report.

  Networks, shadow runs and reports that a killed evaluation has finished are not made again.

  Args:
    config: see `configs/evaluate.py`; `distilled` is a path, or several with commas between them.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  Returns:
    What `report.json` holds: `reports` of the first set, and where there are several, `sets` with
    the label and the reports of each.
  Raises:
    ValueError, FileNotFoundError: for a set that is missing, damaged, or does not suit the data.
  """
  with numerics(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
    started = time.monotonic()
    real = load(config)
    sources = _sources_of(config)
    sets = _load(sources, real, config)
    jobs = {
      label: prepare_saved(_with_own_kernel(config, one), folder.path, real, one)
      for label, one in sets.items()
    }
    for job in jobs.values():
      plan(job)
    first = next(iter(jobs))
    digests = {label: set_digest(one) for label, one in sets.items()}
    claimed = "-".join([data_fingerprint(jobs[first].real), *digests.values()])
    folder.claim(compare.plain(config), claimed)  # notices another set under the same path
    if (report := folder.finished_report(compare.plain(config))) is not None:
      return report
    planned = {label: estimate.estimate(job) for label, job in jobs.items()}
    for label, job in jobs.items():
      _start(job, planned[label])
    seconds = {"data": time.monotonic() - started}
    reports = {}
    with StopRequest() as stop:
      for label, job in jobs.items():
        if len(jobs) > 1:
          logging.info("Evaluating %s.", label)
        reports[label], taken = evaluate_saved(job, sets[label], _watch(job, stop))
        suffix = f" of {label}" if len(jobs) > 1 else ""
        seconds |= {f"evaluate {name}{suffix}": value for name, value in taken.items()}
    doubts = [
      f"{label}: {doubt}"
      for label, of_set in reports.items()
      for doubt in near_chance(of_set, real.info.num_classes)
    ]
    for doubt in doubts:
      logging.warning("%s", doubt)
    names = ("method", "ipc", "seed", "step", "label_kind", "code_version")
    facts = {name: sets[first].info.get(name) for name in names} | {
      "distilled": [path for path, _ in sources.values()],
      "set_sha256": list(digests.values()),
      "remarks": [
        f"{label}: {remark}" for label, one in sets.items() for remark in _remarks(one, real)
      ]
      + doubts,
      "preprocessing": sets[first].info["preprocessing"].kind,
      "seconds": seconds,
      "estimates": planned[first]._asdict(),
      "config": compare.plain(config),  # as given: a second start finds it finished
    }
    batches = {
      label: one.replace(images=one.images[None], labels=one.labels[None])
      for label, one in sets.items()
    }
    others = {
      label: present.Evaluated(batches[label], reports[label]) for label in sets if label != first
    }
    report = present.present(
      jobs[first], batches[first], None, reports[first], facts, label=first, others=others
    )
    shutil.rmtree(folder.path / "fits", ignore_errors=True)
  return report


def estimate_saved(config: ConfigDict) -> str:
  """What `run_saved` would cost, in words."""
  with numerics(config):
    real, texts = load(config), []
    for label, distilled in _load(_sources_of(config), real, config).items():
      job = prepare_saved(_with_own_kernel(config, distilled), pathlib.Path(), real, distilled)
      plan(job)
      texts.append(f"{label}: {estimate.estimate(job).text}")
    return " ".join(texts)


def run_full(
  config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False
) -> dict[str, Any]:
  """Trains networks on the full train set, keeps them in the cache, and writes a report.

  Evaluations of small sets by the same protocol find them there.

  Args:
    config: see `configs/full_set.py`.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  Returns:
    What `report.json` holds.
  """
  with numerics(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
    job = prepare_real(config, folder.path, load(config))
    evaluation = config.accuracy_evaluation
    use_flip = get_facts(job.real.info.name).use_flip
    measure = make_accuracy_evaluator(
      evaluation, job.real.info, "full set", use_flip=use_flip, is_alone=True
    )
    folder.claim(compare.plain(config), data_fingerprint(job.real))
    if (report := folder.finished_report(compare.plain(config))) is not None:
      return report
    planned = estimate.estimate_full(job)
    _start(job, planned)
    started = time.monotonic()
    with StopRequest() as stop:
      models = fit_full(
        evaluation,
        job.real,
        stream(config.seed, "fit networks"),
        use_flip=use_flip,
        is_trained=True,
        devices=local_devices(job.layout),
        watch=_watch(job, stop),
      )
    trained = time.monotonic()
    report = measure({"distilled": models}, job.real, stream(config.seed, "measure accuracy"))
    seconds = {"train": trained - started, "evaluate accuracy": time.monotonic() - trained}
    facts = {"method": "full set", "seconds": seconds, "estimates": planned._asdict()}
    written = present.present(job, None, None, {"accuracy": report}, facts)
    shutil.rmtree(folder.path / "fits", ignore_errors=True)
    return written


def estimate_full(config: ConfigDict) -> str:
  """What `run_full` would cost, in words."""
  with numerics(config):
    return estimate.estimate_full(prepare_real(config, pathlib.Path(), load(config))).text


def _sources_of(config: ConfigDict) -> dict[str, tuple[str, dict[str, Any]]]:
  """{label: (path, its own options)} of the sets; a label is the end of a path, as long as need."""
  texts = [text.strip() for text in (config.distilled or "").split(",") if text.strip()]
  sources = [split_options(text) for text in texts]
  paths = [path for path, _ in sources]
  if not paths:
    raise ValueError(
      "config.distilled is missing: a run folder, a `distilled` folder, a file, or several of them "
      "with commas between."
    )
  if len(set(paths)) < len(paths):
    raise ValueError(f"config.distilled={config.distilled!r} names a set twice.")
  parts = [pathlib.PurePath(path).parts for path in paths]
  length = 1
  while len({part[-length:] for part in parts}) < len(parts) or (
    len(parts) > 1
    and length < min(map(len, parts))
    and any("/".join(part[-length:]) in _LABELS_OF_CURVES for part in parts)
  ):
    length += 1
  return {"/".join(part[-length:]): one for part, one in zip(parts, sources, strict=True)}


def _load(
  sources: Mapping[str, tuple[str, dict[str, Any]]], real: RealData, config: ConfigDict
) -> dict[str, DistilledSet]:
  """{label: set}, ours or another project's; `config.foreign` is for the latter among several."""
  common = config.foreign.to_dict()
  are_own = {label: is_own(pathlib.Path(path)) for label, (path, _) in sources.items()}
  is_mixed = len(set(are_own.values())) > 1
  return {
    label: load_any(path, real, ({} if is_mixed and are_own[label] else common) | options)
    for label, (path, options) in sources.items()
  }


def _remarks(distilled: DistilledSet, real: RealData) -> list[str]:
  """What its reader assumed, and where it was made from other real images, in sentences."""
  remarks = list(distilled.info.get("remarks", ()))
  if (doubt := prepare.doubt_of_origin(distilled, real)) is not None:
    remarks.append(doubt)
  if distilled.info.get("member_hash"):
    remarks.append(
      "it was made from a part of the train images; attacks without shadow runs and the copy check "
      "take all of them as members."
    )
  return remarks


def near_chance(reports: Mapping[str, Report], num_classes: int) -> list[str]:
  """Sentences on networks that learned next to nothing from a set.

  Args:
    reports: {evaluator: Report} of one set.
    num_classes: k; chance is 1/k.
  """
  report = reports.get("accuracy")
  if report is None:
    return []
  return [
    f"{network} learned next to nothing from the set: accuracy {report.scalars[network]:.3f}, "
    f"chance {1 / num_classes:.3f}. As a rule its preprocessing (foreign.preprocessing, "
    "foreign.space), the kind of its labels (foreign.label_kind) or the learning rate "
    "(accuracy_evaluation.learning_rate) is not what it was made for."
    for network in report.settings["architectures"]
    if report.scalars.get(network) is not None
    and report.scalars[network] < _NEAR_CHANCE / num_classes
  ]


def _with_own_kernel(config: ConfigDict, distilled: DistilledSet) -> ConfigDict:
  """With the kernel that a set was made for among what an audit attacks."""
  origin = origin_of(distilled)
  if origin is None or "kernel" in config.evaluators or "robustness" not in config.evaluators:
    return config
  if shadows.predictor_of(origin, config.privacy) != "kernel":
    return config
  config = config.copy_and_resolve_references().unlock()
  config.evaluators = ("kernel", *config.evaluators)
  config.kernel, config.ridge = origin.kernel, origin.ridge
  return config


def _start(job: Job, planned: estimate.Estimate) -> None:
  """Says the estimate and records the versions."""
  logging.info("Estimate: %s", planned.text)
  if is_main_process():
    present.write_versions(job)


def _watch(job: Job, stop: StopRequest) -> Watch:
  """Progress and the folder of unfinished fits, on the process that writes."""
  folder = job.workdir / "fits" if is_main_process() else None
  return Watch(folder, stop, is_main_process())
