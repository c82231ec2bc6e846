"""The task "distill": the stages from config to report, and what a second start leaves out.

Resume rules, in this order: a finished run prints its summary; a folder of another config is
refused by name; a distillation goes on from its own last checkpoint, else from
`config.resume_from`, else it starts fresh; evaluation and report are made anew whenever
the distillation, the evaluators or their settings are not those of the report on disk.
"""

import pathlib
import shutil
import time
from typing import Any, NamedTuple

from absl import logging
from ml_collections import ConfigDict

from ddjax import compilation
from ddjax.config import compare
from ddjax.files import atomic
from ddjax.fitting import protocols
from ddjax.fitting.host import Watch
from ddjax.stages import choose, curve, expert_start, experts, present
from ddjax.stages import estimate as costs
from ddjax.stages.distill import distill, initial_set
from ddjax.stages.evaluate import Plan, evaluate, plan
from ddjax.stages.prepare import Job, data_fingerprint, load, numerics, prepare
from ddjax.stages.run_folder import SCORES_NAME, RunFolder, steps_done
from ddjax.stages.sessions import begin, watch_of
from ddjax.tasks.task import Outcome, outcome
from ddjax.training.parallel import is_main_process, of_main_process
from ddjax.training.processes import on_main_process
from ddjax.training.trainer import StopRequest
from ddjax.types import DistilledSet


def estimate(config: ConfigDict) -> costs.Estimate:
  """What a run would cost; reads the data, computes nothing."""
  with numerics(config):
    job = prepare(config, pathlib.Path(), load(config))
    plan(job)
    choose.check(job)
    curve.make_curve(job)
    experts.check(job)
    return costs.estimate(job, experts.missing_cost(job))


def _steps_to_begin_with(config: ConfigDict, folder: RunFolder) -> int:
  """At which step the distillation begins or goes on, by the first host's disk."""
  done = folder.steps_done() or (
    steps_done(pathlib.Path(config.resume_from)) if config.resume_from else 0
  )
  return of_main_process([done])[0]


def _with_learned_labels(config: ConfigDict, label_kind: str) -> ConfigDict:
  """The config whose networks train on learned probabilities as they are, unless it says otherwise.

  Labels of kernel methods are no probabilities; a protocol with hard labels takes the largest.
  """
  evaluation = config.accuracy_evaluation
  if label_kind != "probabilities" or evaluation.labels is not None:
    return config
  if protocols.find_protocol(evaluation.protocol).labels != "hard":
    return config
  config = config.copy_and_resolve_references()
  config.accuracy_evaluation.labels = "own"
  return config


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Runs a config in a folder, or goes on where an earlier start left it.

  Args:
    config: resolved; locked or not.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  Raises:
    RunFolderError, DataError, ValueError, NonFiniteLossError, PreemptedError: see there.
  """
  with (
    numerics(config),
    RunFolder(workdir, overwrite, is_writer=is_main_process()) as folder,
    compilation.counted() as compiled,
  ):
    started = time.monotonic()
    job = prepare(config, folder.path, load(config))
    config = _with_learned_labels(config, job.distiller.label_kind)
    job, plain = job._replace(config=config), compare.plain(config)
    evaluators = plan(job)
    choose.check(job)
    curve.make_curve(job)  # refuses impossible settings
    is_distilled = _steps_to_begin_with(config, folder) >= job.num_steps
    if not is_distilled:
      experts.check(job)
    folder.claim(plain, data_fingerprint(job.real, job.data.start), job.num_steps)
    report = folder.finished_report(plain) if is_main_process() else None
    if of_main_process([report is not None])[0]:
      return outcome(folder.path, report)
    seconds = {"data": time.monotonic() - started}
    planned = costs.estimate(job, None if is_distilled else experts.missing_cost(job))
    for remark in job.distiller.remarks:
      logging.info("%s: %s", config.method, remark)
    begin(job, planned)

    with StopRequest() as stop:
      watch = watch_of(job, stop)
      if job.distiller.experts is not None and not is_distilled:
        started = time.monotonic()
        job = experts.attach(job, watch)
        seconds["experts"] = time.monotonic() - started
        if is_main_process():
          atomic.write_json(folder.path / experts.FACTS_NAME, experts.facts(job))
      job = expert_start.attach(job, watch)
      started = time.monotonic()
      distilled, seconds["running curve"] = distill(job, stop)
      seconds["distill"] = time.monotonic() - started - seconds["running curve"]
      logging.info("Distilled in %.1f s.", seconds["distill"])

      initial = initial_set(job)
      report = on_main_process(
        lambda: _audit(
          job, evaluators, distilled, initial, watch, _Spent(seconds, planned, compiled)
        )
      )
    return outcome(folder.path, report)


class _Spent(NamedTuple):
  """What a run took so far, by stage, what it was estimated to take, and what was compiled."""

  seconds: dict[str, float]
  planned: costs.Estimate
  compiled: compilation.Count


def _audit(
  job: Job,
  evaluators: Plan,
  distilled: DistilledSet,
  initial: DistilledSet,
  watch: Watch,
  spent: _Spent,
) -> dict[str, Any]:
  """Evaluates what was distilled and presents it: what the first host does alone."""
  config, folder = job.config, job.workdir
  choice = choose.choose(job, evaluators, watch)
  reports, evaluation_seconds = evaluate(
    job,
    evaluators,
    distilled,
    initial if config.evaluate_initial else None,
    choice.distilled if choice else None,
    watch,
    origin=config,
    scores=folder / SCORES_NAME,
  )
  seconds = spent.seconds | {f"evaluate {name}": one for name, one in evaluation_seconds.items()}
  facts = {"seconds": seconds, "estimates": spent.planned.facts()}
  facts["compilation"] = spent.compiled.facts()
  if (known := experts.known_facts(folder, config.resume_from)) is not None:
    facts["experts"] = known
  if job.layout.shares_draws:
    facts["shared_by_all_distillations"] = (
      "the key of every step: real batch and augmentation, and fresh networks"
    )
  if config.member_fraction < 1:
    facts["members"] = (
      f"a random {config.member_fraction:g} of each class, drawn for every distillation; "
      "preprocessing is fitted on, and random subsets are taken from, the whole train set; where "
      "a step draws a batch of a class, it draws from all of it and counts the members among them"
    )
  if choice:
    facts |= {"chosen_by": config.choose_by, "chosen_steps": choice.steps}
  report = present.present(job, distilled, initial, reports, facts)
  shutil.rmtree(folder / "fits", ignore_errors=True)  # what unfinished fits left to resume
  return report
