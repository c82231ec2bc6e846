"""Starts the workers of a study on a cluster, through submitit."""

import importlib.util
import os
import pathlib
import signal
from typing import Any, Callable

from ml_collections import ConfigDict

from ddjax.training.processes import StopAskedError
from ddjax.training.trainer import StopRequest
from ddjax.wording import counted, nearest

LAUNCHERS = ("none", "slurm", "local")
Work = Callable[[ConfigDict, pathlib.Path], Any]
"""(config, workdir) -> outcome with a `summary`: what a worker does."""


class WorkerJob:
  """One worker as submitit starts it; queued again, it goes on with the cells that are left."""

  def __init__(self, work: Work, config: ConfigDict, workdir: str):
    """Args:
    work: what a worker does, a function of a module.
    config: of the study.
    workdir: its folder, as all nodes see it.
    """
    self.work, self.config, self.workdir = work, config, workdir

  def __call__(self) -> str:
    """Works until no cell is left; returns the summary.

    Asked to stop, by SIGUSR2 before the time limit or by SIGTERM on preemption, it saves the cell
    at hand first, and only then lets submitit queue it again.
    """
    from absl import logging

    from ddjax import backend, compilation

    logging.set_verbosity(logging.INFO)
    backend.begin()
    compilation.use_cache()
    number = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
    queue_again = signal.getsignal(number)  # submitit's, which ends the process
    signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
      with StopRequest():  # asked before there is a cell, it stops at the first
        return self.work(self.config, pathlib.Path(self.workdir)).summary
    except StopAskedError:
      if callable(queue_again):
        queue_again(number, None)
      raise

  def checkpoint(self) -> Any:
    """What submitit queues when Slurm preempts the job or its time is over: the same again."""
    import submitit

    return submitit.helpers.DelayedSubmission(WorkerJob(self.work, self.config, self.workdir))


def submit(work: Work, config: ConfigDict, workdir: pathlib.Path) -> str:
  """Queues the workers of `config.slurm`; returns what to tell the user.

  Args:
    work: what a worker does, see `WorkerJob`.
    config: of the study; its `launcher` is slurm, or local for processes of this machine.
    workdir: the study's folder, which all nodes see under this path.
  Raises:
    ValueError: for an unknown launcher, an impossible number, or where submitit is missing.
  """
  jobs = submitted(work, config, workdir)
  names = ", ".join(job.job_id for job in jobs)
  return (
    f"{counted(len(jobs), 'worker is', 'workers are')} queued: {names}. Logs lie in "
    f"{workdir / 'slurm'}. To watch: "
    "the same command with --config.launcher=none --config.watch=True"
  )


def check(config: ConfigDict) -> None:
  """Raises ValueError for workers that cannot be started, as `submit` does; starts nothing."""
  if config.launcher not in LAUNCHERS:
    raise ValueError(f"Unknown launcher {config.launcher!r}. {nearest(config.launcher, LAUNCHERS)}")
  options = config.slurm
  for name, least in (("workers", 1), ("minutes", 1), ("cpus", 1), ("gpus", 0), ("memory_gb", 1)):
    if options[name] < least:
      raise ValueError(f"slurm.{name}={options[name]} must be at least {least}.")
  if config.launcher != "none" and importlib.util.find_spec("submitit") is None:
    raise ValueError(f"launcher={config.launcher!r} needs submitit: pip install submitit")


def submitted(work: Work, config: ConfigDict, workdir: pathlib.Path) -> list[Any]:
  """The submitit jobs of `submit`."""
  check(config)
  import submitit

  options = config.slurm
  folder = workdir.absolute() / "slurm"
  executor = submitit.AutoExecutor(folder=str(folder), cluster=config.launcher)
  executor.update_parameters(
    name="ddjax", timeout_min=options.minutes, cpus_per_task=options.cpus, mem_gb=options.memory_gb
  )
  if config.launcher == "slurm":
    fields = dict(slurm_array_parallelism=options.workers, slurm_signal_delay_s=120)
    if options.gpus:
      fields["gpus_per_node"] = options.gpus
    if options.partition:
      fields["slurm_partition"] = options.partition
    executor.update_parameters(**fields)
  of_worker = config.copy_and_resolve_references().unlock()
  of_worker.launcher = "none"
  job = WorkerJob(work, of_worker, str(workdir.absolute()))
  with executor.batch():
    jobs = [executor.submit(job) for _ in range(options.workers)]
  return jobs
