"""Second stage: the distillation itself, resumed where it was left, and the published set."""

import contextlib
import pathlib
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from ddjax.config import compare
from ddjax.io.distilled import save_distilled
from ddjax.stages.curve import curve_steps, make_curve
from ddjax.stages.prepare import Job, member_hash
from ddjax.training import trainer
from ddjax.training.checkpoints import CheckpointError, Checkpoints
from ddjax.training.metrics import MetricsWriter
from ddjax.training.parallel import is_main_process
from ddjax.training.progress import Progress
from ddjax.types import DistilledSet, DistillState


def distill(job: Job, stop_request: Any = False) -> tuple[DistilledSet, float]:
  """Distils, with checkpoints, metrics, snapshots and the running curve, and saves the set.

  Args:
    job: from `prepare`.
    stop_request: read as a bool between calls.
  Returns:
    The distilled set with a leading replica axis, images f32[r n h w c] and labels f32[r n k]; the
    seconds that the running curve took.
  Raises:
    NonFiniteLossError, PreemptedError: see `ddjax.training.trainer`.
  """
  config, settings = job.config, job.config.trainer
  curve, curve_seconds = make_curve(job), 0.0
  with Checkpoints(job.workdir / "checkpoints", settings.keep_checkpoints) as checkpoints:
    state = _start_state(job, checkpoints)
    start_step = int(np.ravel(state.step)[0])
    stops = curve_steps(config.curve.steps, job.num_steps)
    # A snapshot at the step of a checkpoint is written before the checkpoint: no need to repeat it.
    stops = [step for step in stops if step > start_step or step == start_step == 0]
    label = f"{config.method} {job.real.info.name} ipc {config.synthetic.ipc}"
    with (
      _metrics_writer(job, start_step) as writer,
      Progress(job.num_steps, start_step, label) as progress,
    ):

      def on_metrics(first, metrics):
        for step in range(first, first + len(next(iter(metrics.values())))):
          if writer and (step % settings.log_every_steps == 0 or step in (1, job.num_steps)):
            writer.write(step, {f"train/{k}": v[step - first].tolist() for k, v in metrics.items()})
        progress.show_rows(first, metrics)

      def on_stop(step, state):
        nonlocal curve_seconds
        distilled = extract(job, state)  # on all hosts: it computes where the state lies
        if writer:
          save(job, distilled, step, snapshot_folder(job, step))
          started = time.monotonic()
          writer.write(step, curve(distilled))
          curve_seconds += time.monotonic() - started

      state = trainer.train(
        job.distiller,
        job.data,
        state,
        job.layout,
        trainer.Schedule(
          num_steps=job.num_steps,
          steps_per_call=settings.steps_per_call,
          checkpoint_every_steps=settings.checkpoint_every_steps,
          checkpoint_every_minutes=settings.checkpoint_every_minutes,
          stops=stops,
        ),
        trainer.Hooks(checkpoints, on_metrics, on_stop, stop_request),
        host_data=job.host_data,
      )
  distilled = extract(job, state)
  if is_main_process():
    save(job, distilled, job.num_steps, job.workdir / "distilled")
  return distilled, curve_seconds


def extract(job: Job, state: DistillState) -> DistilledSet:
  """What the state publishes, with a leading replica axis of length 1 where it has none."""
  extract_fn = job.distiller.extract
  if job.layout.num_replicas:
    distilled = jax.jit(jax.vmap(extract_fn, in_axes=(job.layout.state_axes,)))(state)
  else:
    distilled = jax.tree.map(lambda leaf: leaf[None], jax.jit(extract_fn)(state))
  distilled = jax.device_get(distilled)
  rates = distilled.learning_rate
  return distilled.replace(info=set_info(job, None if rates is None else tuple(rates.tolist())))


def set_info(job: Job, learning_rates: tuple[float, ...] | None = None) -> dict[str, Any]:
  """What an evaluation needs to know of sets of this run.

  Args:
    job: the run.
    learning_rates: the learned ones, one for each set; None where the method learns none.
  """
  info = {
    "label_kind": job.distiller.label_kind,
    "decode_factor": job.distiller.decode_factor,
    "learning_rate": learning_rates,
  }
  guarantee = job.distiller.guarantee
  return info if guarantee is None else info | {"guarantee": guarantee}


def initial_set(job: Job) -> DistilledSet:
  """The set at step 0, made again from the config's seed; leading replica axis."""
  return extract(job, job.initial_state())


def save(job: Job, distilled: DistilledSet, step: int, folder: pathlib.Path) -> None:
  """Saves replica 0 in `folder` and the others in `folder/replica_1`, ..."""
  config = compare.published(compare.plain(job.config))
  rates = distilled.learning_rate
  is_private = job.distiller.guarantee is not None  # a hash of real images tells who was there
  for replica in range(len(distilled.images)):
    info = {
      **set_info(job),
      "method": job.config.method,
      "dataset": job.real.info.name,
      "ipc": job.config.synthetic.ipc,
      "seed": job.config.seed + replica,
      "step": step,
      "learning_rate": None if rates is None else float(rates[replica]),
      "member_hash": None if is_private else member_hash(job.data.mask, replica),
      "real_data_hash": None if is_private else job.real.fingerprint,
      "class_names": list(job.real.class_names),
      "config": config,
    }
    one = DistilledSet(distilled.images[replica], distilled.labels[replica])
    place = folder / f"replica_{replica}" if replica else folder
    save_distilled(place, one, info, job.real.preprocessing)


def snapshot_folder(job: Job, step: int) -> pathlib.Path:
  """Where the set at a step of the curve lies."""
  return job.workdir / "distilled" / "steps" / f"{step:08d}"


def _metrics_writer(job: Job, start_step: int):
  """The writer on the process that writes, None elsewhere; a context manager."""
  if is_main_process():
    return MetricsWriter(job.workdir, job.config.trainer.tensorboard, start_step)
  return contextlib.nullcontext()


def _start_state(job: Job, checkpoints: Checkpoints) -> DistillState:
  """Resume order: own last checkpoint, `config.resume_from`, fresh."""
  initial = job.initial_state()
  if checkpoints.latest_step() is not None:
    state = checkpoints.restore(initial)
    step = checkpoints.latest_step() or 0
    if job.distiller.experts is not None and not job.host_data and step < job.num_steps:
      raise CheckpointError(  # experts are read only where steps are left
        f"The last checkpoint in {job.workdir} was damaged; the same command goes on from {step}."
      )
    logging.info("Resuming %s at step %d.", job.workdir, step)
    return state
  other = job.config.resume_from
  if other:
    folder = pathlib.Path(other) / "checkpoints"
    if not folder.is_dir():
      raise FileNotFoundError(f"resume_from={other!r} has no folder 'checkpoints'.")
    with Checkpoints(folder) as others:
      logging.info("Starting from %s at step %s.", other, others.latest_step())
      return others.restore(initial)
  logging.info("Starting anew in %s.", job.workdir)
  return initial
