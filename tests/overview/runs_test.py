"""Run folders in short: their states, dates and figures, and folders that are none."""

import os

import pytest

from ddjax.overview import runs
from ddjax.stages.run_folder import RunFolder
from tests.overview.made_runs import make_run, make_study, report_of


def test_a_finished_run(tmp_path):
  reports = report_of("kernel", 0.9, "test_accuracy") | report_of(relative_convnet=None)
  run = runs.read_run(make_run(tmp_path / "kip", 1e9, reports, steps=20))
  assert (run.task, run.method, run.dataset, run.ipc, run.seed) == (
    "distill",
    "kip",
    "digits",
    10,
    3,
  )
  assert run.title == "kip on digits, 10 images a class, seed 3, 20 steps"
  assert (run.state, run.detail, run.date, run.page) == ("finished", "", 1e9, "report.html")
  kernel, network = run.figures
  assert (kernel.label, kernel.value, kernel.interval) == ("kernel", 0.9, [0.8, 0.95])
  assert (network.label, network.value) == ("ConvNet", 0.875)


@pytest.mark.parametrize("steps, detail", [(None, "step 0 of 20"), (15, "step 15 of 20"),
                                           (20, "step 20 of 20, no report yet")])  # fmt: skip
def test_an_unfinished_run_says_how_far_it_went(tmp_path, steps, detail):
  folder = make_run(tmp_path / "kip", 1e9, steps=steps)
  run = runs.read_run(folder)
  assert (run.state, run.detail, run.figures, run.page) == ("unfinished", detail, (), "")
  assert run.title == "kip on digits, 10 images a class, seed 3, 20 steps" and run.date == 1e9
  (folder / "metrics.jsonl").write_text("")
  os.utime(folder / "metrics.jsonl", (2e9, 2e9))
  assert runs.read_run(folder).date == 2e9


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="the system has no table of locks")
def test_a_running_run_is_seen_and_not_disturbed(tmp_path):
  folder = make_run(tmp_path / "kip", 1e9, report_of())
  with RunFolder(folder):
    run = runs.read_run(folder)
    assert (run.state, run.detail) == ("running", "its report is made anew")
  assert runs.read_run(folder).state == "finished"
  with RunFolder(folder):  # still free to be taken
    pass


def test_an_evaluation_takes_its_names_from_the_report(tmp_path):
  facts = {"method": "dm", "ipc": 1, "num_steps": None}
  folder = make_run(tmp_path / "one", 1e9, report_of("privacy", 0.6, "loss_auc"), facts=facts,
                    task="evaluate", method="evaluate", synthetic=None)  # fmt: skip
  run = runs.read_run(folder)
  assert (run.task, run.method, run.ipc, run.state) == ("evaluate", "dm", 1, "finished")
  assert [figure.label for figure in run.figures] == ["privacy: loss AUC"]


def test_a_study_is_counted_by_its_cells(tmp_path):
  run = runs.read_run(make_study(tmp_path / "half", 1e9, done=2, waiting=3))
  assert (run.state, run.detail) == ("unfinished", "5 cells: 2 done, 3 waiting")
  assert (run.title, run.method, run.dataset) == ("A study on digits", "study", "digits")
  whole = make_study(tmp_path / "whole", 1e9, done=4, failed=1, waiting=0)
  run = runs.read_run(whole)
  assert (run.state, run.detail, run.page) == (
    "finished", "5 cells: 4 done, 1 failed", "study.html",
  )  # fmt: skip
  for folder, state in ((tmp_path / "half", "running"), (whole, "finished")):
    (folder / "leases").mkdir()
    (folder / "leases" / "kip").touch()  # a worker holds a cell, or held the last one just now
    assert runs.read_run(folder).state == state


def test_a_damaged_file_is_named_and_is_no_error(tmp_path):
  folder = make_run(tmp_path / "kip", 1e9, report_of())
  (folder / "report.json").write_text("{")
  run = runs.read_run(folder)
  assert run.state == "damaged" and run.detail.startswith("report.json cannot be read: ")
  (folder / "report.json").write_text('{"run": 3}')
  assert runs.read_run(folder).state == "damaged"
  (folder / "config.json").write_text("{")
  assert runs.read_run(folder).detail.startswith("config.json cannot be read: ")


def test_runs_are_found_at_some_depth_and_cells_are_not(tmp_path):
  make_study(tmp_path / "study", 3e8, done=1)
  make_run(tmp_path / "group" / "deep" / "one", 5e8)
  make_run(tmp_path / "group" / "deep" / "too" / "deep", 5e8)
  make_run(tmp_path / ".hidden", 5e8)
  make_run(tmp_path / "kip", 4e8)
  (tmp_path / "model").mkdir()
  (tmp_path / "model" / "config.json").write_text('{"hidden_size": 8}')
  (tmp_path / "broken").mkdir()
  (tmp_path / "broken" / "config.json").write_text("{")  # nobody's, for it has no lock
  found = [str(run.path.relative_to(tmp_path)) for run in runs.read_runs(tmp_path)]
  assert found == ["group/deep/one", "kip", "study"]  # the latest first
  assert list(runs.find_runs(tmp_path / "nowhere")) == []


def test_another_folder_is_refused_by_name(tmp_path):
  with pytest.raises(FileNotFoundError, match=f"{tmp_path} is no run folder"):
    runs.read_run(tmp_path)
