"""The same as the command line, from Python: `ddjax.run`, `distill`, `evaluate`, `load`."""

import pathlib

from ml_collections import ConfigDict

from ddjax.config.read import get_config
from ddjax.results import DistilledSet, Report, Reports, Result

__all__ = [
  "DistilledSet",
  "Report",
  "Reports",
  "Result",
  "distill",
  "evaluate",
  "get_config",
  "load",
  "run",
]


def run(config: ConfigDict, workdir: str | None = None, *, overwrite: bool = False) -> Result:
  """Runs a config of any task, or goes on where an earlier call left it.

  Args:
    config: from `get_config`, changed at will.
    workdir: the run folder, or the address of a remote one; default
      `runs/METHOD-DATASET-ipcN-seedS-HASH` with a hash of all fields that alter the result.
    overwrite: whether to delete an earlier run in the folder.
  Returns:
    its folder, its report and a summary; a notebook shows the figures.
  Raises:
    ValueError: for an unknown task; and the errors of `ddjax.errors`.
    FailedCellsError: of a study where cells failed, after all others have been run and the tables
      are written; its `outcome` holds them.
  """
  from ddjax.config import compare
  from ddjax.overview.page import listed
  from ddjax.stages.mirror import mirrored
  from ddjax.stages.run_folder import default_workdir
  from ddjax.tasks.start import TASKS
  from ddjax.training.parallel import is_main_process
  from ddjax.wording import look_up

  _begin()
  task = look_up(TASKS, config.task, "task")
  fields = compare.trajectory_fields(compare.plain(config))
  place = default_workdir(config, fields) if workdir is None else workdir
  with mirrored(place) as path, listed(path, is_main_process()):
    return Result(*task.run(config, path, overwrite=overwrite))


def distill(config: ConfigDict, workdir: str | None = None, *, overwrite: bool = False) -> Result:
  """`run` for a config that distils.

  Raises:
    ValueError: for a config of another task.
  """
  if config.task != "distill":
    raise ValueError(f"distill() runs configs of task 'distill', not {config.task!r}.")
  return run(config, workdir, overwrite=overwrite)


def evaluate(path: str, config: ConfigDict | None = None) -> Reports:
  """Evaluates a saved distilled set with the evaluators of a config.

  Args:
    path: a run folder, its `distilled` folder, or an npz.
    config: data, kernel and evaluation settings; default those that the set was made with.
  Returns:
    {evaluator: Report}.
  Raises:
    ValueError: if the set does not fit the config's data set or preprocessing.
  """
  from ddjax.data.load import load_real_data
  from ddjax.fitting.host import Watch
  from ddjax.io.distilled import load_distilled
  from ddjax.stages.evaluate import evaluate_saved
  from ddjax.stages.prepare import numerics, prepare_saved

  _begin()
  distilled = load_distilled(path)
  config = ConfigDict((distilled.info or {})["config"]) if config is None else config
  with numerics(config):
    job = prepare_saved(config, pathlib.Path(), load_real_data(config.data), distilled)
    reports = evaluate_saved(job, distilled, Watch(is_shown=True))[0]
  return Reports({name: Report(*report) for name, report in reports.items()})


def _begin() -> None:
  """As the command line begins: compiled programs are kept, an idle accelerator is named."""
  from ddjax import backend, compilation

  compilation.use_cache()
  backend.begin()


def load(path: str) -> DistilledSet:
  """Reads a saved distilled set: a run folder, its `distilled` folder, or an npz.

  Raises:
    FileNotFoundError, ValueError: see `ddjax.io.distilled.load_distilled`.
  """
  from ddjax.io.distilled import load_distilled

  found = load_distilled(path)
  return DistilledSet(found.images, found.labels, found.info, found.learning_rate)
