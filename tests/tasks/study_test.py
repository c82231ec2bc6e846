"""Studies from config to tables, on fake data: workers, refusals, launchers."""

import html
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import ddjax
from ddjax import errors
from ddjax.api import get_config
from ddjax.config.study import make_study
from ddjax.files import atomic
from ddjax.stages.run_folder import default_workdir, steps_done
from ddjax.study import launchers
from ddjax.study.code import code_digest
from ddjax.study.ledger import FailedCellsError, Ledger
from ddjax.tasks import study

METHODS = ("kip", "label_solve")
pytestmark = pytest.mark.usefixtures("unrendered_figures")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("DDJAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    yield


def small_study(_argument=None, **fields):
  """KIP and a random subset of fake data, one seed, judged by kernel regression alone."""
  config = make_study(
    "small",
    folder=pathlib.Path("configs"),
    methods=METHODS,
    dataset="fake",
    ipc=(1,),
    init=("real",),
    seed=(0,),
    words=",smoke",
    evaluators=("kernel",),
  )
  config.full_set = False
  for plan in config.plans.values():
    if "kernel" in plan:
      plan.kernel.engine = "closed_form"  # neural-tangents takes a third of a run to trace
  config.update(fields)
  return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  folder = tmp_path_factory.mktemp("study")
  return folder, study.run(small_study(), folder)


@pytest.fixture
def one_device(monkeypatch):
  """Workers have one device, and compile as the tests do (tests/conftest.py)."""
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=1"
  monkeypatch.setenv("XLA_FLAGS", flags)


def _states(folder, config=None):
  names = [path.name for path in (folder / "cells").iterdir()]
  return Ledger(folder).states(names)


def test_a_study_ends_in_its_tables(finished):
  folder, outcome = finished
  names = {"kip-fake-ipc1-real-seed0", "label_solve-fake-ipc1-real-seed0"}
  assert {path.name for path in (folder / "cells").iterdir()} == names
  assert {state["state"] for state in _states(folder).values()} == {"done"}
  assert "2 done" in outcome.summary
  assert json.loads((folder / "study.json").read_text())
  for name in names:  # an ordinary run folder
    report = json.loads((folder / "cells" / name / "report.json").read_text())
    assert report["reports"]["kernel"]["scalars"]


def test_a_second_start_runs_nothing(finished, monkeypatch):
  folder, _ = finished

  def refuse(*_):
    raise AssertionError("a finished cell was run again")

  monkeypatch.setattr(study, "_run", refuse)
  assert "2 done" in study.run(small_study(), folder).summary


def test_what_other_workers_may_ask_for_differs_without_harm(finished):
  folder, _ = finished
  study.run(small_study(only="method=kip", max_minutes=5.0, retry_failed=True), folder)


def test_the_page_is_of_all_cells_whatever_a_worker_is_asked(tmp_path):
  folder = tmp_path / "study"
  outcome = study.run(small_study(only="method=kip"), folder)
  assert outcome.report["counts"] == {"done": 1, "waiting": 1}
  (waiting,) = [cell for cell in outcome.report["cells"] if cell["state"] == "waiting"]
  assert waiting["name"].startswith("label_solve")


def test_a_study_that_workers_hold_is_not_deleted(finished):
  folder, _ = finished
  lease = Ledger(folder).take("kip-fake-ipc1-real-seed0")
  with pytest.raises(errors.EXPECTED, match="workers hold 1 cell of .*, kip-fake"):
    study.run(small_study(), folder, overwrite=True)
  lease.release()
  assert (folder / "study.json").exists()


def test_workers_that_claim_a_folder_at_the_same_moment_do_not_refuse_each_other(tmp_path):
  (tmp_path / f"{study._CLAIM}of-another-worker").write_text("{}")
  study.claim(small_study(), tmp_path)
  study.claim(small_study(), tmp_path)
  with pytest.raises(errors.EXPECTED, match="another study"):
    study.claim(small_study(num_random_subsets=3), tmp_path)


def test_watching_a_folder_without_a_study_is_refused(tmp_path):
  with pytest.raises(errors.EXPECTED, match="holds no study to watch"):
    study.run(small_study(watch=True), tmp_path / "study")
  assert not (tmp_path / "study").exists()


def test_what_one_worker_is_asked_does_not_change_the_default_folder():
  changed = small_study(watch=True, only="method=kip", max_minutes=3.0, retry_failed=True)
  overridden = ["watch", "only", "max_minutes", "retry_failed"]
  assert default_workdir(changed, overridden) == default_workdir(small_study())
  assert default_workdir(small_study(num_random_subsets=3), ["num_random_subsets"])


def test_another_study_on_the_folder_is_refused_by_name(finished):
  folder, _ = finished
  with pytest.raises(
    errors.EXPECTED, match="another study; differing: .*num_random_subsets: 5 -> 3"
  ):
    study.run(small_study(num_random_subsets=3), folder)
  assert (folder / "study.json").exists()


def test_two_presets_on_one_folder_are_named_before_all_else(tmp_path):
  study.claim(get_config("configs/study.py:smoke"), tmp_path)
  digits = get_config("configs/study.py:digits")
  sentence = r"differing: preset: 'smoke' -> 'digits' and \d+ more. Choose another --workdir.$"
  with pytest.raises(errors.EXPECTED, match=sentence):
    study.run(digits, tmp_path)


def test_other_code_is_refused_by_name_and_allowed_on_request(finished, monkeypatch):
  folder, _ = finished
  monkeypatch.setattr(study, "code_digest", lambda: "0.0+other")
  with pytest.raises(errors.EXPECTED, match=r"begun by code 0.*, and this is code 0.0\+other"):
    study.run(small_study(), folder)
  study.run(small_study(any_code=True), folder)


def test_a_worker_of_other_code_hears_of_both_codes_before_its_other_fields(tmp_path):
  folder, copy = tmp_path / "study", tmp_path / "copy"
  study.claim(get_config("configs/study.py:smoke"), folder)
  for name in ("ddjax", "configs"):
    shutil.copytree(name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
  path = copy / "ddjax" / "config" / "study.py"
  path.write_text(path.read_text().replace("any_code=False,", "any_code=False, novelty=7,"))
  result = subprocess.run(
    [sys.executable, "-m", "ddjax.main", "--config=configs/study.py:smoke", f"--workdir={folder}",
     "--config.any_code=True"],
    capture_output=True, text=True, cwd=copy,
  )  # fmt: skip
  assert result.returncode == 1
  words = rf"was begun by code {re.escape(code_digest())}, and this is code (\S+); their studies "
  found = re.search(words + r"differ too: novelty: None -> 7\. Start workers", result.stderr)
  assert found and found[1] != code_digest(), result.stderr
  assert not (folder / "cells").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
  (tmp_path / "mine.txt").write_text("mine")
  with pytest.raises(errors.EXPECTED, match="is not empty and holds no study"):
    study.run(small_study(), tmp_path)
  with pytest.raises(errors.EXPECTED, match="nothing was deleted"):
    study.run(small_study(), tmp_path, overwrite=True)
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(errors.EXPECTED, match="is that of no study"):
    study.run(small_study(), tmp_path)
  assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_cell_folder_made_by_hand_fails_that_cell_and_in_the_end_the_command(
  tmp_path, one_device
):
  path, folder = tmp_path / "small.py", tmp_path / "study"
  path.write_text(f"import runpy\n\nget_config = runpy.run_path({__file__!r})['small_study']\n")
  study.claim(small_study(), folder)
  cell, other = (folder / "cells" / f"{name}-fake-ipc1-real-seed0" for name in METHODS)
  cell.mkdir(parents=True)
  (cell / "notes.txt").write_text("mine")
  result = subprocess.run(
    [sys.executable, "-m", "ddjax.main", f"--config={path}", f"--workdir={folder}"],
    capture_output=True, text=True,
  )  # fmt: skip
  assert result.returncode == 1
  sentence = (
    f"1 of 2 cells failed: {folder / 'study.html'} says why, and --config.retry_failed=True runs "
    "them again."
  )
  assert result.stderr.strip().splitlines()[-1] == f"Error: {sentence}"
  assert "1 done, 1 failed" in result.stdout and cell.name in result.stdout
  states = _states(folder)
  assert states[cell.name]["state"] == "failed" and states[other.name]["state"] == "done"
  assert states[cell.name]["error"] == (
    f"{cell} holds notes.txt but no config.json, so it is not that of a run. Delete or move away "
    f"{cell}, then start a worker with --config.retry_failed=True."
  )
  assert states[cell.name]["error"] in html.unescape((folder / "study.html").read_text())
  assert [path.name for path in cell.iterdir()] == ["notes.txt"]
  with pytest.raises(FailedCellsError, match=re.escape(sentence)) as caught:
    ddjax.run(small_study(), folder)
  assert caught.value.outcome.report["counts"] == {"done": 1, "failed": 1}
  study.run(small_study(only="method=label_solve"), folder)  # whose cells are done
  cell.rename(tmp_path / "away")
  assert "2 done" in study.run(small_study(retry_failed=True), folder).summary


def test_cells_that_are_too_dear_are_no_failure(tmp_path):
  outcome = study.run(small_study(max_cell_minutes=1e-9), tmp_path / "study")
  assert outcome.report["counts"] == {"too dear": 2} and "2 too dear" in outcome.summary


def test_a_table_that_cannot_be_written_stops_no_cell(tmp_path, monkeypatch):
  folder, tried = tmp_path / "study", []

  def full(folder, made):
    tried.append(len(list((folder / "states").glob("*.json"))))
    if len(tried) < 2:
      raise atomic.OutputError("Cannot write study.html: No space left on device.")
    return []

  monkeypatch.setattr(study.page, "write", full)
  study.run(small_study(), folder)
  assert {state["state"] for state in _states(folder).values()} == {"done"}
  assert tried[0] == 1 and len(tried) >= 2


def test_the_estimate_names_every_cell_and_the_sum():
  text = study.estimate(small_study()).text
  assert text.startswith("2 cells, about ") and "kip-fake-ipc1-real-seed0: " in text


def test_a_study_for_an_accelerator_says_its_time_there():
  here = study.estimate(small_study())
  there = study.estimate(small_study(estimate_for="h200"))
  assert "in all on one NVIDIA H200 (by docs/results/h200-2026-11-27.json" in there.text
  assert there.seconds != here.seconds and there.flops == here.flops
  with pytest.raises(ValueError, match="Unknown estimate_for='h2'"):
    study.estimate(small_study(estimate_for="h2"))


def test_a_grid_without_cells_is_refused_before_anything_is_written(tmp_path):
  with pytest.raises(ValueError, match="no cell has method=dm. Known: kip, label_solve."):
    study.run(small_study(only="method=dm"), tmp_path / "study")
  assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_cell_that_cannot_be_run_is_refused_by_name_and_nothing_is_touched(tmp_path, overwrite):
  config = small_study()
  config.plans["kip-fake-ipc1"].outer.target_batch_size = 4000
  folder = tmp_path / "study"
  if overwrite:
    study.claim(small_study(), folder)
    (folder / "study.html").write_text("earlier")
  sentence = "Cell kip-fake-ipc1-real-seed0 cannot be run: outer.target_batch_size=4000"
  with pytest.raises(errors.EXPECTED, match=sentence):
    study.run(config, folder, overwrite=overwrite)
  with pytest.raises(errors.EXPECTED, match=sentence):
    study.estimate(config)
  assert folder.exists() == overwrite
  if overwrite:
    assert (folder / "study.html").read_text() == "earlier"


def test_submitits_local_executor_runs_two_workers(tmp_path, one_device):
  config = small_study(launcher="local")
  config.slurm.update(dict(workers=2, minutes=10, cpus=1, memory_gb=4))
  folder = tmp_path / "study"
  study.claim(config, folder)
  jobs = launchers.submitted(study.run, config, folder)
  summaries = [job.result() for job in jobs]
  assert len(summaries) == 2 and all("2 done" in summary for summary in summaries)
  events = [
    json.loads(line)
    for path in (folder / "workers").glob("*.jsonl")
    for line in path.read_text().splitlines()
  ]
  done = [event["cell"] for event in events if event["event"] == "done"]
  assert sorted(done) == ["kip-fake-ipc1-real-seed0", "label_solve-fake-ipc1-real-seed0"]


def test_a_job_that_is_asked_to_stop_saves_its_cell_and_is_queued_again(tmp_path, one_device):
  config = small_study(launcher="local", only="method=kip")
  config.slurm.update(dict(workers=1, minutes=10, cpus=1, memory_gb=4))
  config.plans["kip-fake-ipc1"].outer.num_steps = 8000
  config.plans["kip-fake-ipc1"].outer.schedule = "constant"
  folder = tmp_path / "study"
  study.claim(config, folder)
  (job,) = launchers.submitted(study.run, config, folder)
  cell = folder / "cells" / "kip-fake-ipc1-real-seed0"
  deadline = time.monotonic() + 120
  while not list(cell.glob("checkpoints/[0-9]*")) and time.monotonic() < deadline:
    time.sleep(0.2)
  (log,) = (folder / "workers").glob("*.jsonl")
  os.kill(int(log.stem.split("-")[-2]), signal.SIGUSR2)  # as Slurm does before the time limit
  events = []
  while "left" not in events and time.monotonic() < deadline:
    time.sleep(0.2)
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
  reached = steps_done(cell)
  assert "left" in events and 0 < reached < 8000
  assert "1 done" in job.result()  # queued again, it went on


def test_a_preempted_job_is_queued_again_as_it_was(tmp_path):
  job = launchers.WorkerJob(study.run, small_study(), str(tmp_path))
  again = job.checkpoint().function
  assert isinstance(again, launchers.WorkerJob)
  assert (again.work, again.config, again.workdir) == (job.work, job.config, job.workdir)


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    (dict(launcher="ray"), "Unknown launcher 'ray'"),
    (dict(launcher="slurm", slurm=dict(workers=0)), "slurm.workers=0 must be at least 1"),
  ],
)
def test_impossible_launches_are_refused(tmp_path, fields, words):
  with pytest.raises(ValueError, match=words):
    launchers.submit(study.run, small_study(**fields), tmp_path)


def test_a_study_from_python(finished):
  folder, outcome = finished
  again = ddjax.run(small_study(), folder)
  assert again.workdir == folder and again.report["counts"] == outcome.report["counts"]
  with pytest.raises(ValueError, match="distill\\(\\) runs configs of task 'distill', not 'study'"):
    ddjax.distill(small_study(), folder)


def test_the_command_line_runs_a_study(tmp_path):
  result = subprocess.run(
    [sys.executable, "-m", "ddjax.main", "--config=configs/study.py:smoke", "--dry_run",
     "--config.only=method=dm,seed=0"],
    capture_output=True, text=True,
  )  # fmt: skip
  assert result.returncode == 0, result.stderr
  assert "dm-digits-ipc1-real-seed0: " in result.stdout and "2 cells, about" in result.stdout
