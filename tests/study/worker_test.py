"""Workers: order, failures, limits, and what they leave for others."""

import json
import os
import signal
import threading

from ml_collections import ConfigDict
import pytest

from ddjax.study.grid import Cell
from ddjax.study.ledger import Ledger
from ddjax.study.worker import Limits, Runs, Worker
from ddjax.training.trainer import PreemptedError, StopRequest


def _cell(name, needs=(), sets=(), role="method"):
  factors = {"method": name, "dataset": "digits", "seed": 0}
  config = ConfigDict({"distilled": "", "data": {"data_dir": None}})
  return Cell(name, role, "distill", factors, config, tuple(needs), tuple(sets))


class _Runs:
  """Runs that write down what was asked of them."""

  def __init__(self, fail=(), seconds=None):
    self.calls, self.fail, self.seconds = [], dict(fail), seconds or {}

  def run(self, task, config, folder, overwrite):
    self.calls.append(folder.name)
    if folder.name in self.fail:
      raise self.fail[folder.name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "distilled.txt").write_text(f"{config.distilled}|{config.data.data_dir}")

  def as_runs(self):
    return Runs(self.run, lambda task, config: self.seconds.get("all"), (ValueError,))


def _work(cells, folder, runs, limits=Limits(), **options):
  ledger = Ledger(folder)
  Worker(cells, ledger, runs.as_runs(), limits, **options).work()
  return ledger.states([cell.name for cell in cells])


def test_cells_run_after_what_they_need_and_a_second_start_runs_nothing(tmp_path):
  cells = [_cell("a"), _cell("b", needs=["a"]), _cell("c", sets=["a", "b"])]
  runs = _Runs()
  states = _work(cells, tmp_path, runs, code="1")
  assert runs.calls == ["a", "b", "c"]
  assert {state["state"] for state in states.values()} == {"done"}
  assert {state["code"] for state in states.values()} == {"1"}
  text = (tmp_path / "cells" / "c" / "distilled.txt").read_text()
  assert text.split("|")[0] == f"{tmp_path / 'cells' / 'a'},{tmp_path / 'cells' / 'b'}"
  _work(cells, tmp_path, runs)
  assert runs.calls == ["a", "b", "c"]


def test_packed_data_are_where_the_data_cell_wrote_them(tmp_path):
  cells = [_cell("data", role="data"), _cell("a", needs=["data"])]
  _work(cells, tmp_path, _Runs())
  text = (tmp_path / "cells" / "a" / "distilled.txt").read_text()
  assert text.split("|")[1] == str(tmp_path / "cells" / "data")


def test_a_failed_cell_stops_no_other_and_is_run_again_on_request(tmp_path):
  cells = [_cell("a"), _cell("b"), _cell("c", needs=["a"]), _cell("d", sets=["a", "b"])]
  runs = _Runs(fail={"a": ValueError("ipc=0 must be at least 1.")})
  states = _work(cells, tmp_path, runs)
  assert [states[name]["state"] for name in "abcd"] == ["failed", "done", "failed", "done"]
  assert states["a"]["error"] == "ipc=0 must be at least 1."
  assert states["c"]["error"] == "It needs a, which is failed."
  assert not (tmp_path / "states" / "a.log").exists()
  _work(cells, tmp_path, runs)
  assert runs.calls == ["a", "b", "d"]  # nobody asked to try again
  runs.fail = {}
  states = _work(cells, tmp_path, runs, Limits(retries_failed=True))
  assert [states[name]["state"] for name in "abcd"] == ["done"] * 4
  assert runs.calls == ["a", "b", "d", "a", "c"]


def test_what_nobody_foresaw_leaves_its_traceback(tmp_path):
  runs = _Runs(fail={"a": KeyError("thing")})
  states = _work([_cell("a"), _cell("b")], tmp_path, runs)
  assert states["a"]["state"] == "failed" and "KeyError" in states["a"]["error"]
  assert "Traceback" in (tmp_path / "states" / "a.log").read_text()
  assert states["b"]["state"] == "done"


def test_a_cell_above_the_limit_is_too_dear_until_the_limit_is_higher(tmp_path):
  runs = _Runs(seconds={"all": 120.0})
  states = _work([_cell("a")], tmp_path, runs, Limits(max_cell_minutes=1.0))
  assert states["a"]["state"] == "too dear" and states["a"]["estimate_seconds"] == 120.0
  assert not runs.calls
  states = _work([_cell("a")], tmp_path, runs, Limits(max_cell_minutes=3.0))
  assert states["a"]["state"] == "done"


def test_a_cell_in_which_workers_die_fails_at_last(tmp_path):
  for number in range(1, 4):
    path = tmp_path / "leases" / "a" / f"{number:06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    is_last = number == 3
    path.write_text(json.dumps({"worker": "w", "beat": 0, "is_released": is_last}))
  runs = _Runs()
  states = _work([_cell("a")], tmp_path, runs, Limits(max_attempts=2))
  assert states["a"]["error"] == "2 workers died in it." and not runs.calls


def test_a_stop_request_gives_the_cell_back(tmp_path):
  def run(task, config, folder, overwrite):
    with StopRequest() as stop:
      os.kill(os.getpid(), signal.SIGTERM)
      while not stop:
        pass
      raise PreemptedError(3)

  ledger = Ledger(tmp_path)
  with pytest.raises(PreemptedError):
    Worker([_cell("a")], ledger, Runs(run, lambda *_: None, ())).work()
  assert ledger.states(["a"])["a"]["state"] == "waiting" and ledger.num_deaths("a") == 0


def test_after_max_minutes_a_worker_stops_in_the_middle_of_a_cell_without_an_error(tmp_path):
  def run(task, config, folder, overwrite):
    with StopRequest() as stop:
      while not stop:
        pass
      raise PreemptedError(3)

  ledger = Ledger(tmp_path)
  Worker([_cell("a")], ledger, Runs(run, lambda *_: None, ()), Limits(max_minutes=0.003)).work()
  assert ledger.states(["a"])["a"]["state"] == "waiting"


def test_a_worker_waits_for_what_another_runs(tmp_path):
  cells = [_cell("a"), _cell("b", needs=["a"])]
  other = Ledger(tmp_path)
  lease = other.take("a")
  runs = _Runs()
  timer = threading.Timer(0.5, lambda: other.finish(lease, {"state": "done"}))
  timer.start()
  states = _work(cells, tmp_path, runs)
  timer.join()
  assert runs.calls == ["b"] and states["b"]["state"] == "done"


def test_tables_are_told_of_every_cell_that_ends(tmp_path):
  seen = []
  _work(
    [_cell("a"), _cell("b")],
    tmp_path,
    _Runs(),
    on_change=lambda states: seen.append([states[name]["state"] for name in "ab"]),
  )
  assert seen == [["done", "waiting"], ["done", "done"]]
