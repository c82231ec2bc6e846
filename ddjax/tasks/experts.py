"""The task "experts": expert trajectories and no more, see `configs/experts.py`."""

import pathlib
import time
from typing import Any

from absl import logging
import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.config import compare
from ddjax.distillers.settings import build_network
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.experts.buffer import Buffer
from ddjax.fitting.fit import make_predict
from ddjax.fitting.host import Watch
from ddjax.io.report import HTML_NAME
from ddjax.models.pieces import best_images_at_once
from ddjax.plots.experts import loss_curves
from ddjax.random_streams import stream
from ddjax.stages import estimate as costs
from ddjax.stages import experts, present
from ddjax.stages.prepare import Job, data_fingerprint, load, numerics, prepare
from ddjax.stages.run_folder import RunFolder
from ddjax.tasks.task import Outcome
from ddjax.training.metrics import MetricsWriter
from ddjax.training.parallel import is_main_process
from ddjax.training.trainer import StopRequest
from ddjax.types import Models, Report

_MOST_TESTED = 20  # experts whose accuracy the report gives


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Trains what the buffer lacks, verifies it, tests its experts, and writes a report.

  Args:
    config: see `configs/experts.py`.
    workdir: the run folder; the buffer itself lies elsewhere, see `ddjax.stages.experts`.
    overwrite: whether to delete an earlier run in the run folder; the buffer stays.
  Raises:
    ExpertBufferError, NonFiniteLossError, PreemptedError: see `ddjax.experts`.
  """
  with numerics(config), RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder:
    job = _prepare(config, folder.path)
    folder.claim(compare.plain(config), data_fingerprint(job.real))
    report = folder.finished_report(compare.plain(config))
    if report is not None and experts.missing_cost(job) is None:
      experts.attach(job, Watch())  # verifies
      return _outcome(folder.path, report)
    planned = _estimate(job)
    logging.info("Estimate: %s", planned.text)
    if is_main_process():
      present.write_versions(job)
    started = time.monotonic()
    with StopRequest() as stop:
      job = experts.attach(job, Watch(None, stop, is_main_process()))
    trained = time.monotonic()
    (buffer,) = job.host_data
    needs = job.distiller.experts
    assert needs is not None
    losses = buffer.losses()[1 : needs.num_epochs + 1, : needs.num_experts]
    if is_main_process():
      _write_losses(job, losses)
    report = _measure(job, buffer)
    seconds = {"train": trained - started, "evaluate accuracy": time.monotonic() - trained}
    facts = {
      "method": "experts",
      "ipc": None,
      "experts": experts.facts(job),
      "seconds": seconds,
      "estimates": planned.facts(),
    }
    reports = {"accuracy": report} if report else {}
    drawn = {"experts": loss_curves(losses)}
    written = present.present(job._replace(num_steps=0), None, None, reports, facts, drawn)
    return _outcome(folder.path, written)


def estimate(config: ConfigDict) -> costs.Estimate:
  """What `run` would cost."""
  with numerics(config):
    return _estimate(_prepare(config, pathlib.Path()))


def _outcome(workdir: pathlib.Path, report: dict[str, Any]) -> Outcome:
  return Outcome(workdir, report, f"{summary(report)}\nReport: {workdir / HTML_NAME}")


def summary(report: dict[str, Any]) -> str:
  """The buffer, for the terminal."""
  run, known = report["run"], report["run"]["experts"]
  lines = [
    f"{known['num_experts']} experts of {known['num_epochs']} epochs on {run['dataset']}, in "
    f"{known['buffers'][0]}"
  ]
  if "accuracy" in report["reports"]:
    accuracy = report["reports"]["accuracy"]
    (network,) = accuracy["settings"]["architectures"]
    low, high = accuracy["interval"][network]
    value = accuracy["scalars"][network]
    lines.append(f"test accuracy after the last epoch {value:.3f} [{low:.3f}, {high:.3f}]")
  if known["rounding"]:
    lines.append(
      f"rounding to {known['identity']['dtype']}: at most {known['rounding']:.1e} of the "
      f"parameters, {known['rounding_of_change']:.1e} of what an epoch changes"
    )
  return "\n".join(lines)


def _prepare(config: ConfigDict, workdir: pathlib.Path) -> Job:
  """The job of the distillation whose experts these are: of MTT, or what `experts.method` names."""
  if config.num_replicas > 1 or config.member_fraction < 1:
    raise ValueError(
      "Experts alone are trained on the whole train set: num_replicas must be 1 and "
      "member_fraction 1.0. A distillation trains those of splits as it needs them."
    )
  own = config.copy_and_resolve_references()
  own.method = config.experts.get("method", "mtt")
  batch = "num_segments" if "num_segments" in own.outer else "real_batch_size"
  own.outer[batch] = config.num_devices or jax.device_count()  # one each: none is followed
  job = prepare(own, workdir, load(config))._replace(config=config)
  experts.check(job)
  return job


def _estimate(job: Job) -> costs.Estimate:
  cost = experts.missing_cost(job)
  return costs.of_stages(job, {} if cost is None else {"train": cost})


def _write_losses(job: Job, losses: np.ndarray) -> None:
  """The training losses f32[epochs experts] as metrics, an epoch a step."""
  with MetricsWriter(job.workdir, job.config.trainer.tensorboard) as writer:
    for epoch, row in enumerate(losses, 1):
      writer.write(epoch, {"train/loss": row.tolist()})


def _measure(job: Job, buffer: Buffer) -> Report | None:
  """Test accuracy after the last epoch; None with batch norm, whose statistics are not kept."""
  config, real = job.config, job.real
  needs = job.distiller.experts
  assert needs is not None
  network = build_network(config, real.info)
  image = jnp.zeros((1, *real.info.image_shape))
  shapes = jax.eval_shape(network.init, jax.random.key(0), image)
  if "batch_stats" in shapes:
    logging.info(
      "The accuracy of networks with batch norm is not measured: buffers keep parameters."
    )
    return None
  _, unravel = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
  tested = range(min(needs.num_experts, _MOST_TESTED))
  flat: Any = np.stack([buffer.read(expert, needs.num_epochs) for expert in tested])
  models = Models(
    make_predict(network, real.preprocessing),
    jax.device_get(jax.vmap(unravel)(flat)),
    np.zeros(len(flat), np.int32),
    best_images_at_once(network, real.info.image_shape),
  )
  evaluation = config.accuracy_evaluation
  measure = make_accuracy_evaluator(evaluation, real.info, "full set", is_alone=True)
  rng = stream(config.seed, "measure accuracy")
  report = measure({"distilled": {config.network.name: models}}, real, rng)
  changes = {
    "protocol": "experts",
    "subject": "experts",
    "training": experts.describe(config),
    "changes_to_protocol": {},
  }
  return report._replace(settings=report.settings | changes)
