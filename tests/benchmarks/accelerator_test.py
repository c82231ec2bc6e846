"""The program for borrowed accelerators: budgets, rows that are never made twice, refusals."""

import json
from pathlib import Path
import subprocess
import sys
import time

import pytest

from benchmarks.accelerator import reproduce, speed, table
from benchmarks.accelerator.processes import Ended
from benchmarks.accelerator.results import Results, ResultsError


def _row(name="row", **fields):
  fields = dict(gpu_seconds=10.0, cpu_seconds=10.0, steps=100) | fields
  return reproduce.Row(
    name, "configs/kip.py", "KIP", "digits", 1, ["kernel", "test_accuracy"], **fields
  )


def _finish(folder, steps=100, accuracy=0.5):
  folder.mkdir(parents=True, exist_ok=True)
  report = {
    "run": {"num_steps": steps, "seconds": {"distill": 1.0}},
    "reports": {
      "kernel": {
        "scalars": {"test_accuracy": accuracy, "gain_over_random_test_accuracy": 0.1},
        "interval": {"test_accuracy": [0.4, 0.6]},
      }
    },
  }
  (folder / "report.json").write_text(json.dumps(report))


class _Fake:
  """A run that is over at once: finished, cut short, or failed."""

  started: list[str] = []
  code = 0
  is_late = False

  def __init__(self, module, arguments, log, deadline, on_line=None):
    type(self).started.append(arguments)
    folder = Path(arguments[0].removeprefix("--workdir="))
    if self.code == 0:
      _finish(folder)
    else:
      (folder / "checkpoints" / "40").mkdir(parents=True)

  def is_over(self):
    return True

  def ask(self):
    pass

  def wait(self):
    return Ended(self.code, 3.0, self.is_late, "Error: too bad")


@pytest.fixture
def fake(monkeypatch, tmp_path):
  """Runs that take no time, and no rows on record."""
  kind = type("Fake", (_Fake,), {"started": []})
  monkeypatch.setattr(reproduce, "Running", kind)
  monkeypatch.setattr(reproduce, "DONE", tmp_path / "docs")
  monkeypatch.setattr(reproduce.time, "sleep", lambda _: None)
  return kind


def _reproduce(results, rows, tmp_path, seconds=60.0, device="cpu", at_once=1):
  deadline = time.monotonic() + seconds
  log = str(tmp_path / "log")
  reproduce.run(results, rows, tmp_path / "runs", device, log, deadline, at_once)
  return results.content["reproduce"]


def test_a_row_is_written_with_its_interval_and_never_run_again(fake, tmp_path):
  found = _reproduce(Results(tmp_path), [_row()], tmp_path)["row"]
  assert found["state"] == "finished" and found["done"]
  assert found["ours"] == 0.5 and found["interval"] == [0.4, 0.6]
  assert found["gain_over_random"] == 0.1 and found["stage_seconds"] == {"distill": 1.0}
  _reproduce(Results(tmp_path), [_row()], tmp_path)
  assert len(fake.started) == 1


def test_rows_that_do_not_fit_or_are_not_for_this_machine_are_named(fake, tmp_path):
  rows = [_row("long", cpu_seconds=100.0), _row("gpu", cpu_seconds=0.0), _row("short")]
  found = _reproduce(Results(tmp_path), rows, tmp_path)
  assert found["long"]["state"] == "not run: needs about 100 s, 60 s are left"
  assert found["gpu"]["state"] == "not run: not for this kind of machine"
  assert found["short"]["done"] and len(fake.started) == 1


def test_a_row_cut_short_is_never_the_row(fake, tmp_path):
  fake.code, fake.is_late = 143, True
  found = _reproduce(Results(tmp_path), [_row()], tmp_path)["row"]
  assert found["state"] == "40 of 100 steps" and not found["done"] and "ours" not in found
  fake.is_late = False
  found = _reproduce(Results(tmp_path), [_row("other")], tmp_path)["other"]
  assert found["problem"] == "Error: too bad"
  found = _reproduce(Results(tmp_path), [_row()], tmp_path, seconds=1.0)["row"]
  assert found["state"].startswith("40 of 100 steps; needs about 8 s")  # .4 of it is no step


def test_a_half_done_row_needs_its_other_half_only(fake, tmp_path):
  (tmp_path / "runs" / "row" / "checkpoints" / "50").mkdir(parents=True)
  row = _row(other_share=0.2)
  assert [reproduce.share_left(row, done) for done in (0, 50, 100)] == pytest.approx([1, 0.6, 0.2])
  assert reproduce.share_left(_row(steps=0), 50) == 1.0
  _reproduce(Results(tmp_path), [row], tmp_path, seconds=8.0)  # a whole one takes 10
  assert len(fake.started) == 1


def test_the_seed_of_a_row_is_passed(fake, tmp_path):
  found = _reproduce(Results(tmp_path), [_row(seed=3)], tmp_path)["row"]
  assert "--config.seed=3" in fake.started[0] and "--config.seed=3" in found["command"]


def test_a_report_that_cannot_be_read_costs_its_row_only(fake, tmp_path, monkeypatch):
  results = Results(tmp_path)
  rows = [_row("a"), _row("b")]
  plain = _finish
  monkeypatch.setitem(
    globals(),
    "_finish",
    lambda folder: plain(folder) or folder.name == "a" and (folder / "report.json").write_text("{"),
  )
  found = _reproduce(results, rows, tmp_path)
  assert found["a"]["state"] == "without a figure" and "JSONDecodeError" in found["a"]["problem"]
  assert not found["a"]["done"] and found["b"]["done"]


def test_a_row_that_an_older_file_has_is_not_run_again(fake, tmp_path):
  found = _reproduce(Results(tmp_path), [_row(done_in="old.json")], tmp_path)["row"]
  assert found["state"] == "in docs/results already" and not fake.started
  named = [row for row in reproduce.read_rows() if row.done_in]
  assert named and all((reproduce.ROWS.parent / row.done_in).exists() for row in named)


def test_a_run_shorter_than_published_is_shown_with_its_steps(fake, tmp_path):
  found = _reproduce(Results(tmp_path), [_row(steps=500)], tmp_path)["row"]
  assert found["state"] == "100 of 500 steps" and not found["done"] and found["ours"] == 0.5
  _reproduce(Results(tmp_path), [_row(steps=500)], tmp_path)
  assert len(fake.started) == 1


def test_rows_of_the_docs_are_skipped(fake, tmp_path):
  (tmp_path / "docs").mkdir()
  (tmp_path / "docs" / "a.json").write_text(json.dumps({"reproduce": {"row": {"done": True}}}))
  (tmp_path / "docs" / "b.json").write_text("[]")
  assert reproduce.finished_elsewhere(tmp_path / "docs") == {"row"}


def test_the_committed_rows_and_results_can_be_read():
  names = [row.name for row in reproduce.read_rows()]
  assert len(set(names)) == len(names) > 5
  assert reproduce.finished_elsewhere(Path("docs/results")) <= set(names)


def test_slower_machines_get_longer_estimates():
  peaks = {"peaks": {"cases": {"flops_default": 1e14}}}
  assert reproduce.estimated_seconds(_row(), "gpu", {}) == 10
  assert reproduce.estimated_seconds(_row(), "gpu", peaks) == 40


@pytest.mark.parametrize(
  "content,message",
  [("{", "is damaged"), ('{"format": 7}', "is of version 7"), ('{"format": 1}', "is damaged")],
)
def test_results_of_another_kind_are_refused_and_kept(tmp_path, content, message):
  (tmp_path / "results.json").write_text(content)
  with pytest.raises(ResultsError, match=message):
    Results(tmp_path)
  assert (tmp_path / "results.json").read_text() == content


def test_results_of_another_machine_are_refused(tmp_path):
  Results(tmp_path).set_facts({"device": "one"})
  with pytest.raises(ResultsError, match="is of 'one', this is 'other'"):
    Results(tmp_path).set_facts({"device": "other"})


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ResultsError, match="cannot be written"):
    Results(tmp_path / "file" / "out")


@pytest.mark.parametrize(
  "flags,message",
  [
    (["--minutes=0"], "--minutes=0 must be positive"),
    (["--only="], "--only names nothing"),
    (["--only=sped"], "--only=sped is none of check, speed, reproduce"),
    (["--accelerator=cuda"], "--accelerator=cuda, but JAX computes on 'cpu'"),
  ],
)
def test_bad_input_is_one_sentence(tmp_path, flags, message):
  command = [sys.executable, "-m", "benchmarks.accelerator", f"--out={tmp_path / 'out'}", *flags]
  run = subprocess.run(command, capture_output=True, text=True, timeout=120)
  assert run.returncode == 1 and f"Error: {message}" in run.stderr
  assert "Traceback" not in run.stderr


def test_the_table_names_everything(tmp_path):
  results = Results(tmp_path)
  facts = {"device": "H", "backend": "gpu", "missing": ["torch"], "versions": {}}
  results.set_facts(facts | {"commit": "old"})
  results.add("check", "method dm", {"ok": True, "seconds": 2.0, "compile_seconds": 1.0})
  results.set_facts(facts | {"commit": "new"})
  results.add("check", "method kip", {"ok": False, "seconds": 1.0, "problem": "a | b"})
  results.add("check", "evaluator kernel", {"ok": False, "problem": "no time left"})
  peaks = {"flops_default": 2e12, "flops_highest": 1e12, "bytes": 1e12}
  results.add("speed", "peaks", {"ok": True, "done": True, "cases": peaks})
  timing = dict(ours=2.0, theirs=None, ratio=None, low=None, high=None, flops=2e12, bytes=1e3)
  results.add("speed", "step", {"ok": True, "cases": {"dm": timing}})
  results.add("speed", "other", {"ok": False, "problem": "out of time"})
  results.add("reproduce", "r", {"state": "finished", "ours": 0.25, "interval": [0.2, 0.3]})
  table.write(results, tmp_path)
  text = (tmp_path / table.NAME).read_text()
  for part in ("# H, commit new, old", "1 of 3 rows",
               "Not installed: torch", "| method kip | FAILED |", "a / b",
               "| evaluator kernel | not run |", "| 2000.000 |  |  | 2.0 |", "0.250 [0.200, 0.300]",
               "out of time"):  # fmt: skip
    assert part in text


def test_floors_are_of_the_precision_that_a_case_takes():
  peaks = {"flops_default": 4e12, "flops_highest": 1e12, "bytes": 1e9}
  case = {"flops": 1e12, "bytes": 1e6}
  assert speed.floor_seconds("step dm ipc1", case, peaks) == 0.25
  assert speed.floor_seconds("step kip", case, peaks) == 1.0
  assert speed.floor_seconds("step dm ipc1", {"flops": 1.0, "bytes": 1e9}, peaks) == 1.0
  assert speed.floor_seconds("step dm ipc1", {}, peaks) is None
