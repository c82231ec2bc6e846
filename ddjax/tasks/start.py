"""Starts what `config.task` names, for a person at a terminal: an estimate, or a run."""

import pathlib
from typing import Iterable

from ml_collections import ConfigDict

from ddjax.stages.run_folder import default_workdir
from ddjax.tasks import study
from ddjax.tasks.registry import RUNS
from ddjax.tasks.task import Task
from ddjax.training.parallel import is_main_process
from ddjax.wording import look_up

TASKS: dict[str, Task] = RUNS | {"study": Task(study.estimate, study.run)}


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
    workdir: the run folder; default `runs/METHOD-DATASET-ipcN-seedS`, and a hash of `overridden`.
    overwrite: whether an earlier run in it is deleted.
    overridden: dotted fields that were set one by one.
  Raises:
    the errors of `ddjax.errors`.
  """
  task = look_up(TASKS, config.task, "task")
  path = pathlib.Path(workdir) if workdir else default_workdir(config, overridden)
  if dry_run:
    print(_shown(config))
    print(f"Estimate: {task.estimate(config).text}")
    return
  outcome = task.run(config, path, overwrite=overwrite)
  if is_main_process():
    print(outcome.summary)


def _shown(config: ConfigDict) -> ConfigDict:
  """The config without the plans of a study's methods, which fill a thousand lines."""
  shown = config.copy_and_resolve_references().unlock()
  if "plans" in shown:
    del shown.plans
  return shown
