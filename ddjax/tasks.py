"""What `config.task` names: a run for a person at a terminal, with its estimate and its summary."""

import pathlib
from typing import Callable, Iterable, NamedTuple

from ml_collections import ConfigDict

from ddjax import (
  expert_run,
  kernel_ablation,
  pipeline,
  privacy_study,
  registry,
  set_evaluation,
)
from ddjax.io.export import run_export
from ddjax.io.report import HTML_NAME, summary_text
from ddjax.run_folder import default_workdir
from ddjax.stages.pack import run_pack
from ddjax.training.parallel import is_main_process


class Task(NamedTuple):
  """A kind of run.

  Attributes:
    run: (config, workdir, overwrite) -> summary for the terminal.
    estimate: (config) -> what it would cost, in words.
  """

  run: Callable[[ConfigDict, pathlib.Path, bool], str]
  estimate: Callable[[ConfigDict], str]


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
  task = registry.look_up(TASKS, config.task, "task")
  path = pathlib.Path(workdir) if workdir else default_workdir(config, overridden)
  if dry_run:
    print(config)
    print(f"Estimate: {task.estimate(config)}")
    return
  summary = task.run(config, path, overwrite)
  if is_main_process():
    print(summary)


def _distill(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  result = pipeline.run(config, workdir, overwrite=overwrite)
  return f"{summary_text(result.report)}\nReport: {workdir / HTML_NAME}"


def _kernel_ablation(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  cells = kernel_ablation.run(config, workdir, overwrite=overwrite)
  table = workdir / kernel_ablation.TABLE_NAME
  return f"{kernel_ablation.summary(cells)}\nTable: {table}\nFigure: {workdir / 'figures'}"


def _evaluate(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  report = set_evaluation.run_saved(config, workdir, overwrite=overwrite)
  return f"{summary_text(report)}\nReport: {workdir / HTML_NAME}"


def _experts(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  report = expert_run.run_experts(config, workdir, overwrite=overwrite)
  return f"{expert_run.summary(report)}\nReport: {workdir / HTML_NAME}"


def _export(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  return run_export(config, workdir, overwrite=overwrite)


def _pack(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  return run_pack(config, workdir, overwrite=overwrite)


def _full_set(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  report = set_evaluation.run_full(config, workdir, overwrite=overwrite)
  return f"{summary_text(report)}\nReport: {workdir / HTML_NAME}"


def _privacy_study(config: ConfigDict, workdir: pathlib.Path, overwrite: bool) -> str:
  report = privacy_study.run(config, workdir, overwrite=overwrite)
  table = workdir / privacy_study.TABLE_NAME
  return f"{privacy_study.summary(report)}\nTable: {table}\nReport: {workdir / HTML_NAME}"


TASKS = {
  "distill": Task(_distill, pipeline.estimate_text),
  "evaluate": Task(_evaluate, set_evaluation.estimate_saved),
  "experts": Task(_experts, expert_run.estimate_experts),
  "export": Task(_export, lambda config: f"seconds, to write {config.format}"),
  "pack": Task(_pack, lambda config: "a minute at most, to read and write the set"),
  "full_set": Task(_full_set, set_evaluation.estimate_full),
  "privacy_study": Task(_privacy_study, privacy_study.estimate_text),
  "kernel_ablation": Task(_kernel_ablation, kernel_ablation.estimate_text),
}
