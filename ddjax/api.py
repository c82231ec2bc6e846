"""The same as the command line, from Python: `ddjax.distill`, `ddjax.evaluate`, `ddjax.load`."""

import pathlib
from typing import Any

from ml_collections import ConfigDict

from ddjax.config.read import get_config
from ddjax.types import DistilledSet

__all__ = ["distill", "evaluate", "get_config", "load"]


def distill(config: ConfigDict, workdir: str | None = None, *, overwrite: bool = False):
  """Runs a config from data to report, or goes on where an earlier call left it.

  Args:
    config: from `get_config`, changed at will.
    workdir: the run folder; default `runs/METHOD-DATASET-ipcN-seedS-HASH` with a hash of all
      fields that alter the result.
    overwrite: whether to delete an earlier run in the folder.
  Returns:
    `ddjax.tasks.task.Outcome`: workdir, report and summary.
  """
  from ddjax.config import compare
  from ddjax.stages.run_folder import default_workdir
  from ddjax.tasks import distill as task

  _begin()
  if config.task != "distill":
    raise ValueError(f"distill() runs configs of task 'distill', not {config.task!r}.")
  if workdir is None:
    workdir = default_workdir(config, compare.trajectory_fields(compare.plain(config)))
  return task.run(config, pathlib.Path(workdir), overwrite=overwrite)


def evaluate(path: str, config: ConfigDict | None = None) -> dict[str, Any]:
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
  from ddjax.stages.evaluate import evaluate_saved
  from ddjax.stages.prepare import numerics, prepare_saved

  _begin()
  distilled = load(path)
  config = ConfigDict(distilled.info["config"]) if config is None else config
  with numerics(config):
    job = prepare_saved(config, pathlib.Path(), load_real_data(config.data), distilled)
    return evaluate_saved(job, distilled, Watch(is_shown=True))[0]


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

  return load_distilled(path)
