"""Reading cells from disk: whole, missing and damaged."""

import json

import numpy as np
import pytest

from ddjax.files import atomic
from ddjax.study import records
from tests.study import made


@pytest.fixture
def folder(tmp_path):
  """A study of one cell that is done, with scores."""
  record = made.record(reports={"privacy": made.privacy(0.6)}, name="one")
  place = tmp_path / "cells" / "one"
  atomic.write_json(place / "report.json", record.report)
  rng = np.random.default_rng(0)
  arrays = {
    "is_member": rng.random((4, 30)) < 0.5,
    "distilled/lira": rng.normal(size=(4, 30)).astype(np.float32),
    "distilled/entropy": rng.normal(size=(4, 30)).astype(np.float32),
    "full/lira": rng.normal(size=(4, 30)).astype(np.float32),
  }
  atomic.write_npz(place / "scores" / "privacy.npz", arrays)
  return tmp_path


CELL = made.cell(made.record(name="one"))
DONE = {
  "one": {"state": "done", "error": None, "seconds": 3.0, "device": "CPU", "code": "0.1.0+abc"}
}


def test_a_finished_cell(folder):
  (found,) = records.read_records(folder, [CELL], DONE)
  assert (found.state, found.error, found.seconds, found.device) == ("done", None, 3.0, "CPU")
  assert found.code == "0.1.0+abc"
  assert found.report["reports"]["privacy"]["scalars"]["lira_auc"] == 0.6
  assert sorted(found.scores) == ["distilled/lira", "is_member"]
  assert found.factors["method"] == "dm"


def test_a_cell_that_the_states_do_not_know_waits(folder):
  (found,) = records.read_records(folder, [CELL], {})
  assert found.state == "waiting" and found.report is None


@pytest.mark.parametrize("state", ["failed", "too dear", "running", "waiting"])
def test_cells_that_are_not_done_are_not_read(folder, state):
  states = {"one": {"state": state, "error": "a reason", "estimate_seconds": 9.0}}
  (found,) = records.read_records(folder, [CELL], states)
  assert (found.state, found.error, found.report) == (state, "a reason", None)
  assert found.estimate_seconds == 9.0


@pytest.mark.parametrize(
  "content",
  ["", "{", "[]", "null", "{}", '{"run": {}, "reports": []}', '{"run": {}, "reports": {"x": {}}}',
   '{"run": {}, "reports": {"x": 3}}', "\x00\xff"],
)  # fmt: skip
def test_a_damaged_report_is_an_error_not_a_crash(folder, content):
  (folder / "cells" / "one" / "report.json").write_text(content)
  (found,) = records.read_records(folder, [CELL], DONE)
  assert found.state == "failed" and found.report is None
  assert "report.json cannot be read" in found.error


def test_a_missing_report_is_an_error(tmp_path):
  (found,) = records.read_records(tmp_path, [CELL], DONE)
  assert found.state == "failed" and "FileNotFoundError" in found.error


@pytest.mark.parametrize("damage", ["cut", "shape", "missing"])
def test_damaged_scores_leave_the_report(folder, damage):
  path = folder / "cells" / "one" / "scores" / "privacy.npz"
  if damage == "cut":
    path.write_bytes(path.read_bytes()[:100])
  else:
    arrays = {"is_member": np.ones((4, 30), bool), "distilled/lira": np.zeros((3, 30))}
    arrays = arrays if damage == "shape" else {"distilled/lira": np.zeros((3, 30))}
    atomic.write_npz(path, arrays)
  (found,) = records.read_records(folder, [CELL], DONE)
  assert found.state == "done" and found.report is not None and found.scores is None
  assert "scores cannot be read" in found.error


def test_experts_are_read_for_their_cost_and_do_without(folder):
  experts = made.cell(made.record("experts", name="one", method="experts"))
  (found,) = records.read_records(folder, [experts], DONE)
  assert found.report["run"]["estimates"]["flops"]["distill"] == 1e12
  (folder / "cells" / "one" / "report.json").unlink()
  (found,) = records.read_records(folder, [experts], DONE)
  assert found.state == "done" and found.report is None and "cannot be read" in found.error


def test_large_settings_are_left_out(folder):
  path = folder / "cells" / "one" / "report.json"
  report = json.loads(path.read_text())
  report["reports"]["privacy"]["settings"] |= {"roc": {"loss": {"fpr": [0.0]}}, "kept": 1}
  report["run"]["config"] = {"seed": 0}
  atomic.write_json(path, report)
  (found,) = records.read_records(folder, [CELL], DONE)
  settings = found.report["reports"]["privacy"]["settings"]
  assert "roc" not in settings and settings["kept"] == 1
  assert "config" not in found.report["run"]
