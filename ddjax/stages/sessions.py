"""What a run says when it begins, and how its networks are watched."""

from absl import logging

from ddjax.fitting.host import Watch
from ddjax.stages import present
from ddjax.stages.estimate import Estimate
from ddjax.stages.prepare import Job
from ddjax.training.parallel import is_main_process
from ddjax.training.trainer import StopRequest


def begin(job: Job, planned: Estimate) -> None:
  """Says the estimate and records the versions."""
  logging.info("Estimate: %s", planned.text)
  if is_main_process():
    present.write_versions(job)


def watch_of(job: Job, stop: StopRequest) -> Watch:
  """Progress and the folder of unfinished fits, on the process that writes."""
  folder = job.workdir / "fits" if is_main_process() else None
  return Watch(folder, stop, is_main_process())
