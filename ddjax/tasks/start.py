"""Starts what `config.task` names, for a person at a terminal: an estimate, or a run."""

from typing import Iterable

from ml_collections import ConfigDict

from ddjax.files.remote import RemoteError, is_address
from ddjax.overview.page import listed
from ddjax.stages.mirror import mirrored
from ddjax.stages.run_folder import default_workdir
from ddjax.study.ledger import FailedCellsError
from ddjax.tasks import study
from ddjax.tasks.registry import RUNS
from ddjax.tasks.task import Task
from ddjax.training.parallel import is_main_process
from ddjax.training.processes import on_main_process
from ddjax.wording import look_up

TASKS: dict[str, Task] = RUNS | {"study": Task(study.estimate, study.run)}
_OF_ALL_HOSTS = ("distill",)
"""Tasks that several hosts share; the others the first host runs alone."""


def start(
  config: ConfigDict,
  *,
  workdir: str | None = None,
  overwrite: bool = False,
  dry_run: bool = False,
  overridden: Iterable[str] = (),
) -> None:
  """Runs a config, or with `dry_run` prints it and its estimate.

  Args:
    config: resolved.
    workdir: the run folder, or the address of a remote one; default
      `runs/METHOD-DATASET-ipcN-seedS`, and a hash of `overridden`.
    overwrite: whether an earlier run in it is deleted.
    overridden: dotted fields that were set one by one.
  Raises:
    the errors of `ddjax.errors`; of a study with failed cells after its summary is printed.
  """
  task = look_up(TASKS, config.task, "task")
  place = workdir or default_workdir(config, overridden)
  if dry_run:
    on_main_process(lambda: print(f"{_shown(config)}\nEstimate: {task.estimate(config).text}"))
    return

  if config.task == "study" and is_address(place):
    raise RemoteError(
      f"{place}: the workers of a study share its folder; give --workdir a folder that all see."
    )

  def run():
    with mirrored(place) as path, listed(path, is_main_process()):
      return task.run(config, path, overwrite=overwrite)

  try:
    outcome = run() if config.task in _OF_ALL_HOSTS else on_main_process(run)
  except FailedCellsError as error:
    print(error.outcome.summary)
    raise
  if outcome is not None and is_main_process():
    print(outcome.summary + (f"\nCopied to {place}" if is_address(place) else ""))


def _shown(config: ConfigDict) -> ConfigDict:
  """The config without its secret, and without a study's plans, which fill a thousand lines."""
  shown = config.copy_and_resolve_references().unlock()
  if "plans" in shown:
    del shown.plans
  if shown.get("guarantee") and shown.guarantee.noise_seed is not None:
    with shown.ignore_type():
      shown.guarantee.noise_seed = "(set, and not shown)"
  return shown
