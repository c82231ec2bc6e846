"""What is said and refused before a study begins: costs, impossible cells, launchers."""

import re
import signal

from absl import logging
import pytest

from ddjax import compilation, errors
from ddjax.data.source import DataError
from ddjax.stages.estimate import Estimate
from ddjax.study import launchers
from ddjax.study.ledger import StudyError
from ddjax.tasks import study
from ddjax.tasks.registry import RUNS
from ddjax.tasks.task import Outcome
from tests.tasks.study_test import small_study


@pytest.fixture
def started(monkeypatch):
  """Folders in which a worker began, and launches; nothing is run."""
  calls = []
  monkeypatch.setattr(study.Worker, "work", lambda self: calls.append("worker"))
  monkeypatch.setattr(
    launchers, "submit", lambda work, config, workdir: calls.append(config.launcher) or "queued"
  )
  monkeypatch.setattr(launchers, "check", lambda config: None)
  monkeypatch.setattr(study._Writer, "outcome", lambda *_: Outcome(None, {"cells": []}, ""))
  return calls


@pytest.fixture
def said(monkeypatch):
  """The lines of the log, and warnings."""
  lines = []
  for kind in ("info", "warning"):
    monkeypatch.setattr(logging, kind, lambda text, *args: lines.append(text % args))
  return lines


def _estimating(monkeypatch, estimate):
  monkeypatch.setitem(RUNS, "distill", RUNS["distill"]._replace(estimate=estimate))


def _with_bounds(config):
  seconds = {"distill": 60.0, "compilation": 6.0}
  return Estimate({}, seconds, None, "", {"attacks": 3600.0, "distillations of splits": 60.0})


@pytest.mark.parametrize("launcher", ["none", "slurm", "local"])
def test_a_start_says_the_sums_that_a_dry_run_says(tmp_path, monkeypatch, started, said, launcher):
  _estimating(monkeypatch, _with_bounds)
  config = small_study(launcher=launcher)
  study.run(config, tmp_path / "study")
  sums = study.estimate(config).text.splitlines()[0]
  assert sums == (
    "2 cells, about 2 min 00 s in all on one such machine; compilation not counted. Attacks: up to "
    "2 h 00 min more. Distillations of splits: up to 2 min 00 s more."
  )
  assert f"Estimate: {sums}" in said
  assert started == ["worker" if launcher == "none" else launcher]


@pytest.mark.parametrize("launcher", ["none", "slurm"])
def test_a_start_on_a_cpu_says_the_time_of_the_machine_that_the_study_is_for(
  tmp_path, started, said, launcher
):
  config = small_study(launcher=launcher, estimate_for="h200")
  study.run(config, tmp_path / "study")
  (line,) = [line for line in said if line.startswith("Estimate: 2 cells")]
  assert line == f"Estimate: {study.estimate(config).text.splitlines()[0]}"
  assert "in all on one NVIDIA H200" in line


def test_a_worker_plans_by_its_own_machine(tmp_path, monkeypatch, started):
  planned = []

  def work(worker):
    planned.append([worker.estimate(cell) for cell in worker._cells.values()])

  monkeypatch.setattr(study.Worker, "work", work)
  for machine in ("", "h200"):
    study.run(small_study(estimate_for=machine), tmp_path / f"study{machine}")
  here = study.estimate(small_study())
  assert sum(planned[0]) == pytest.approx(here.total_seconds, rel=0.5)
  assert sum(planned[1]) == pytest.approx(here.total_seconds, rel=0.5)


@pytest.mark.parametrize("error", [DataError("no data"), FileNotFoundError("no experts")])
def test_a_machine_that_only_queues_needs_no_data(tmp_path, monkeypatch, started, said, error):
  """A login node, or one whose study packs its data for the others."""

  def estimate(config):
    raise error

  _estimating(monkeypatch, estimate)
  study.run(small_study(launcher="slurm"), tmp_path / "queued")
  assert started == ["slurm"]
  assert any("is not known" in line and str(error) in line for line in said)
  with pytest.raises(StudyError, match=f"cannot be run: {error}"):
    study.run(small_study(), tmp_path / "here")
  assert started == ["slurm"] and not (tmp_path / "here").exists()


@pytest.mark.parametrize("launcher", ["none", "slurm", "local"])
def test_a_cell_that_cannot_be_run_is_refused_before_anything_is_queued(
  tmp_path, started, launcher
):
  config = small_study(launcher=launcher)
  config.plans["kip-fake-ipc1"].outer.target_batch_size = 4000
  sentence = "Cell kip-fake-ipc1-real-seed0 cannot be run: outer.target_batch_size=4000.*Nothing"
  with pytest.raises(StudyError, match=sentence):
    study.run(config, tmp_path / "study")
  assert not started and not (tmp_path / "study").exists()


@pytest.mark.parametrize("launcher", ["none", "slurm"])
def test_an_estimate_that_fails_stops_nothing(tmp_path, monkeypatch, started, said, launcher):
  def fail(config):
    raise KeyError("flops")

  _estimating(monkeypatch, fail)
  config = small_study(launcher=launcher)
  study.run(config, tmp_path / "study")
  assert len(started) == 1
  assert "compilation not counted; 2 cells are not estimated." in " ".join(said)
  assert "kip-fake-ipc1-real-seed0: not known (KeyError: 'flops')." in study.estimate(config).text


@pytest.mark.parametrize(
  ("fields", "sentence"),
  [
    (dict(launcher="ray"), "Unknown launcher 'ray'"),
    (dict(launcher="slurm", slurm=dict(workers=0)), "slurm.workers=0 must be at least 1"),
    (dict(max_minutes=-1.0), "max_minutes=-1.0 must be at least 0"),
    (dict(patience_seconds=-5.0), "patience_seconds=-5.0 must be at least 1"),
    (dict(real_steps=(-5,)), "real_steps=(-5,): -5 must be"),
    (dict(estimate_for="h2"), "Unknown estimate_for='h2'"),
    (dict(exclude=("method=dmm",)), "no cell has method=dmm"),
    (dict(accuracy_evaluation=dict(full_epochs=-3)), "accuracy_evaluation.full_epochs=-3 must be"),
  ],
)
def test_impossible_settings_are_refused_before_the_folder_is_claimed(tmp_path, fields, sentence):
  config = small_study(**fields)
  with pytest.raises(errors.EXPECTED, match=re.escape(sentence)):
    study.run(config, tmp_path / "study")
  with pytest.raises(errors.EXPECTED, match=re.escape(sentence)):
    study.estimate(config)
  assert not (tmp_path / "study").exists()


def test_a_job_that_is_asked_to_stop_before_it_works_does_not_die(tmp_path, monkeypatch):
  asked = []
  monkeypatch.setattr(compilation, "use_cache", lambda: None)
  monkeypatch.setattr(logging, "set_verbosity", lambda level: None)

  def work(config, workdir):
    signal.raise_signal(signal.SIGUSR2)  # what submitit sends, while cells are estimated
    asked.append(bool(launchers.StopRequest._innermost.request))
    return Outcome(workdir, None, "done")

  before = signal.getsignal(signal.SIGUSR2)
  try:
    assert launchers.WorkerJob(work, small_study(), str(tmp_path))() == "done"
  finally:
    signal.signal(signal.SIGUSR2, before)
  assert asked == [True]
