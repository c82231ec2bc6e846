"""Evaluation without a distillation: of a set from disk, and of the full train set."""

import hashlib
import pathlib
import shutil
import time
from typing import Any

from absl import logging
from ml_collections import ConfigDict
import numpy as np

from ddjax.config import compare
from ddjax.data.facts import get_facts
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.evaluators.fit import fit_full
from ddjax.io.distilled import find_distilled, load_distilled
from ddjax.random_streams import stream
from ddjax.run_folder import RunFolder
from ddjax.stages import estimate, present
from ddjax.stages.evaluate import evaluate_saved, plan
from ddjax.stages.prepare import (
  Job,
  data_fingerprint,
  load,
  precision,
  prepare_real,
  prepare_saved,
)
from ddjax.training.fitting import Watch
from ddjax.training.parallel import is_main_process, local_devices
from ddjax.training.trainer import StopRequest
from ddjax.types import DistilledSet


def run_saved(
  config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False
) -> dict[str, Any]:
  """Evaluates the set at `config.distilled` and writes a report.

  Networks that a killed evaluation has finished are not trained again.

  Args:
    config: see `configs/evaluate.py`.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  Returns:
    What `report.json` holds.
  Raises:
    ValueError, FileNotFoundError: for a set that is missing, damaged, or does not suit the data.
  """
  with precision(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
    started = time.monotonic()
    distilled = load_distilled(_path_of(config))
    job = prepare_saved(config, folder.path, load(config), distilled)
    plan(job)
    folder.claim(compare.plain(config), f"{data_fingerprint(job.real)}-{_digest(distilled)}")
    if (report := folder.finished_report(compare.plain(config))) is not None:
      return report
    planned = estimate.estimate(job)
    _start(job, planned)
    seconds = {"data": time.monotonic() - started}
    with StopRequest() as stop:
      reports, evaluation_seconds = evaluate_saved(job, distilled, _watch(job, stop))
    seconds |= {f"evaluate {name}": value for name, value in evaluation_seconds.items()}
    names = ("method", "ipc", "seed", "step", "label_kind", "code_version")
    facts = {name: distilled.info.get(name) for name in names} | {
      "distilled": str(find_distilled(_path_of(config))),
      "preprocessing": distilled.info["preprocessing"].kind,
      "seconds": seconds,
      "estimates": planned._asdict(),
    }
    batch = distilled.replace(images=distilled.images[None], labels=distilled.labels[None])
    report = present.present(job, batch, None, reports, facts)
    shutil.rmtree(folder.path / "fits", ignore_errors=True)
    return report


def estimate_saved(config: ConfigDict) -> str:
  """What `run_saved` would cost, in words."""
  with precision(config):
    distilled = load_distilled(_path_of(config))
    job = prepare_saved(config, pathlib.Path(), load(config), distilled)
    plan(job)
    return estimate.estimate(job).text


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
  with precision(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
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
  with precision(config):
    return estimate.estimate_full(prepare_real(config, pathlib.Path(), load(config))).text


def _path_of(config: ConfigDict) -> str:
  if not config.distilled:
    raise ValueError("config.distilled is missing: a run folder, a `distilled` folder, or an npz.")
  return config.distilled


def _digest(distilled: DistilledSet) -> str:
  """Of what the set holds, so that another set under the same path is noticed."""
  content = hashlib.sha256(np.ascontiguousarray(distilled.images))
  content.update(np.ascontiguousarray(distilled.labels))
  return content.hexdigest()


def _start(job: Job, planned: estimate.Estimate) -> None:
  """Says the estimate and records the versions."""
  logging.info("Estimate: %s", planned.text)
  if is_main_process():
    present.write_versions(job)


def _watch(job: Job, stop: StopRequest) -> Watch:
  """Progress and the folder of unfinished fits, on the process that writes."""
  folder = job.workdir / "fits" if is_main_process() else None
  return Watch(folder, stop, is_main_process())
