"""Workers: order, failures, limits, and what they leave for others."""

import errno
import json
import os
import signal
import threading

from ml_collections import ConfigDict
import pytest

from ddjax.files import atomic
from ddjax.stages.run_folder import RunFolder, RunFolderError
from ddjax.study import worker as worker_lib
from ddjax.study.cell import Cell
from ddjax.study.ledger import Ledger
from ddjax.study.worker import Limits, Runs, Worker
from ddjax.training.trainer import PreemptedError, StopRequest


def _cell(name, needs=(), sets=(), role="method"):
  factors = {"method": name, "dataset": "digits", "seed": 0}
  config = ConfigDict({"distilled": "", "data": {"name": "digits", "data_dir": None}})
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
    (folder / "config.json").write_text("{}")
    (folder / "report.json").write_text('{"run": {}, "reports": {}}')

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


def test_a_cell_whose_report_was_lost_is_run_again_on_request(tmp_path):
  cells, runs = [_cell("a"), _cell("b"), _cell("e", role="experts")], _Runs()
  _work(cells, tmp_path, runs)
  (tmp_path / "cells" / "a" / "report.json").write_text("{")
  (tmp_path / "cells" / "e" / "report.json").unlink()
  _work(cells, tmp_path, runs)
  assert runs.calls == ["a", "b", "e"]  # nobody asked
  _work(cells, tmp_path, runs, Limits(retries_failed=True))
  assert runs.calls == ["a", "b", "e", "a"]


def test_the_error_of_a_cells_folder_never_advises_to_delete_the_study(tmp_path):
  def run(task, config, folder, overwrite):
    with RunFolder(folder) as opened:
      opened.claim({"task": task, "ridge": 2.0}, "data")

  folder = tmp_path / "cells" / "a"
  with RunFolder(folder) as opened:
    opened.claim({"task": "distill", "ridge": 1.0}, "data")
  ledger = Ledger(tmp_path)
  _begin(tmp_path, "a")
  Worker([_cell("a")], ledger, Runs(run, lambda *_: None, (RunFolderError,))).work()
  assert ledger.state("a")["error"] == (
    f"{folder} holds a run with another config; differing: ridge: 1.0 -> 2.0. Delete or move away "
    f"{folder}, then start a worker with --config.retry_failed=True."
  )


def _begin(folder, name):
  """What a worker leaves that was killed in a cell."""
  ledger = Ledger(folder)
  lease = ledger.take(name)
  ledger.begin(lease)
  lease.release()


@pytest.mark.parametrize(
  ("role", "names", "is_begun", "is_run"),
  [
    ("method", [], False, True),
    # A worker was killed before its first file.
    ("method", [".lock", ".config.json.1f.tmp"], False, True),
    ("method", ["config.json", "notes.txt"], True, True),
    ("method", ["config.json", "report.json"], True, True),
    ("method", ["config.json", "report.json"], False, False),  # another study's, or by hand
    ("method", ["checkpoints", "config.json"], False, False),
    ("method", ["notes.txt"], True, False),
    ("method", ["checkpoints", "digits.npz"], True, False),
    ("experts", ["config.json", "report.json"], False, False),
    ("data", [], False, True),
    ("data", ["digits.npz", "notes.txt"], False, True),  # held against what it was made of
    ("data", [".digits.npz.1f.tmp", "notes.txt"], True, False),
  ],
)
def test_a_cells_folder_is_one_that_a_worker_of_the_study_made(
  tmp_path, role, names, is_begun, is_run
):
  folder, runs = tmp_path / "cells" / "a", _Runs()
  folder.mkdir(parents=True)
  for name in names:
    (folder / name).write_text("mine")
  _begin(tmp_path, "b")  # which says nothing of a
  if is_begun:
    _begin(tmp_path, "a")
  expected, ledger = runs.as_runs()._replace(expected=(RunFolderError,)), Ledger(tmp_path)
  Worker([_cell("a", role=role)], ledger, expected).work()
  state = ledger.state("a")
  assert state["state"] == ("done" if is_run else "failed") and len(runs.calls) == is_run
  if not is_run:
    assert f"{folder} holds " in state["error"] and "Delete or move away" in state["error"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    again = Limits(retries_failed=True)
    Worker([_cell("a", role=role)], Ledger(tmp_path), expected, again).work()
    assert ledger.state("a")["state"] == "failed"  # to have refused it is not to have begun it
    folder.rename(tmp_path / "away")
    Worker([_cell("a", role=role)], Ledger(tmp_path), expected, again).work()
    assert ledger.state("a")["state"] == "done"


def test_a_run_that_no_worker_of_the_study_began_is_said_to_be_one(tmp_path):
  folder = tmp_path / "cells" / "a"
  _Runs().run("distill", _cell("a").config, folder, False)
  ledger = Ledger(tmp_path)
  Worker([_cell("a")], ledger, _Runs().as_runs()._replace(expected=(RunFolderError,))).work()
  assert ledger.state("a")["error"] == (
    f"{folder} holds a run that no worker of this study began: nobody knows by which code. Delete "
    f"or move away {folder}, then start a worker with --config.retry_failed=True."
  )


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


def test_a_cost_that_is_not_known_stops_no_cell(tmp_path):
  def estimate(task, config):
    raise KeyError("flops")

  runs = _Runs().as_runs()._replace(estimate=estimate)
  worker = Worker([_cell("a")], Ledger(tmp_path), runs, Limits(max_cell_minutes=1.0))
  assert worker.estimate(_cell("a")) is None
  worker.work()
  assert Ledger(tmp_path).state("a")["state"] == "done"


def test_a_cost_that_is_known_is_not_asked_for_again(tmp_path):
  cell, runs = _cell("a"), _Runs(seconds={"all": 120.0}).as_runs()
  worker = Worker([cell], Ledger(tmp_path), runs, estimates={cell.cost_key: 7.0})
  assert worker.estimate(cell) == 7.0
  worker.work()
  assert Ledger(tmp_path).state("a")["estimate_seconds"] == 7.0


def test_a_cell_in_which_workers_die_fails_at_last(tmp_path):
  for number in range(1, 4):
    path = tmp_path / "leases" / "a" / f"{number:06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    is_last = number == 3
    content = {"worker": "w", "beat": 0, "is_released": is_last, "progress": 0}
    path.write_text(json.dumps(content))
  runs = _Runs()
  states = _work([_cell("a")], tmp_path, runs, Limits(max_attempts=2))
  assert states["a"]["error"].startswith("2 workers died in it") and not runs.calls
  states = _work([_cell("a")], tmp_path, runs, Limits(max_attempts=2, retries_failed=True))
  assert states["a"]["state"] == "done" and runs.calls == ["a"]


def test_workers_that_died_on_the_way_do_not_count_once_the_cell_got_further(tmp_path):
  ledger = Ledger(tmp_path)
  for number, progress in enumerate((0, 0, 5), 1):
    path = tmp_path / "leases" / "a" / f"{number:06d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"is_released": False, "progress": progress, "spent": 10.0}))
  assert ledger.num_deaths("a") == 0 and ledger.spent("a") == 20.0
  (path.parent / "000004.json").write_text(json.dumps({"progress": 5}))
  assert ledger.num_deaths("a") == 1 and ledger.spent("a") == 30.0


def test_a_full_disk_ends_the_worker_and_fails_no_cell(tmp_path):
  full = atomic.OutputError("Cannot write report.json: No space left on device.")
  full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
  with pytest.raises(atomic.OutputError, match="No space left"):
    _work([_cell("a"), _cell("b")], tmp_path, _Runs(fail={"a": full}))
  states = Ledger(tmp_path).states(["a", "b"])
  assert [states[name]["state"] for name in "ab"] == ["waiting", "waiting"]


def test_a_cell_in_whose_folder_another_process_is_at_work_is_tried_again(tmp_path, monkeypatch):
  monkeypatch.setattr(worker_lib, "_POLL_SECONDS", 0.01)
  calls = []

  def run(task, config, folder, overwrite):
    calls.append(folder.name)
    if len(calls) < 3:
      raise FileExistsError("Another process is at work.")

  ledger = Ledger(tmp_path)
  Worker([_cell("a")], ledger, Runs(run, lambda *_: None, (), (FileExistsError,))).work()
  assert calls == ["a"] * 3 and ledger.state("a")["state"] == "done"


def test_a_worker_that_was_overtaken_goes_on_with_other_cells(tmp_path):
  calls = []

  def run(task, config, folder, overwrite):
    calls.append(folder.name)
    if folder.name == "a":
      lease = tmp_path / "leases" / "a" / "000002.json"
      with StopRequest() as stop:
        lease.write_text(json.dumps({"worker": "other", "beat": 0, "is_released": False}))
        while not stop:
          pass
        (tmp_path / "states").mkdir(exist_ok=True)
        (tmp_path / "states" / "a.json").write_text('{"state": "done", "worker": "other"}')
        raise PreemptedError(1)

  ledger = Ledger(tmp_path, patience_seconds=0.2)
  Worker([_cell("a"), _cell("b")], ledger, Runs(run, lambda *_: None, ())).work()
  assert calls == ["a", "b"]
  assert ledger.state("a")["worker"] == "other" and ledger.state("b")["state"] == "done"


def test_what_needs_a_cell_that_is_too_dear_is_too_dear(tmp_path):
  cells, runs = [_cell("a"), _cell("b", needs=["a"])], _Runs(seconds={"all": 120.0})
  states = _work(cells, tmp_path, runs, Limits(max_cell_minutes=1.0))
  assert states["b"]["state"] == "too dear" and "needs a" in states["b"]["error"]
  states = _work(cells, tmp_path, runs, Limits(max_cell_minutes=9.0))
  assert [states[name]["state"] for name in "ab"] == ["done", "done"]


def test_what_evaluates_sets_that_are_all_too_dear_is_too_dear(tmp_path):
  cells, runs = [_cell("a"), _cell("b", sets=["a"])], _Runs(seconds={"all": 120.0})
  states = _work(cells, tmp_path, runs, Limits(max_cell_minutes=1.0))
  assert [states[name]["state"] for name in "ab"] == ["too dear"] * 2
  states = _work(cells, tmp_path, runs, Limits(max_cell_minutes=9.0))
  assert [states[name]["state"] for name in "ab"] == ["done", "done"] and runs.calls == ["a", "b"]


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


def test_a_time_that_is_over_at_once_never_ends_the_process(tmp_path, monkeypatch):
  """No signal goes to the process: it could come when nobody awaits it, and end it."""

  class _Timer:  # as fast as a timer can be
    def __init__(self, seconds, call, args=()):
      self.start, self.cancel = lambda: call(*args), lambda: None

  monkeypatch.setattr(threading, "Timer", _Timer)
  signals = []
  before = signal.signal(signal.SIGTERM, lambda *_: signals.append(True))
  try:
    runs = _Runs()
    states = _work([_cell("a")], tmp_path, runs, Limits(max_minutes=1e-9))
  finally:
    signal.signal(signal.SIGTERM, before)
  assert not signals and not runs.calls and states["a"]["state"] == "waiting"


def test_a_time_without_end_is_no_error(tmp_path):
  assert _work([_cell("a")], tmp_path, _Runs(), Limits(max_minutes=1e300))["a"]["state"] == "done"


def test_a_request_between_two_cells_stops_the_worker(tmp_path):
  cells, runs = [_cell("a"), _cell("b")], _Runs()

  def stop(_):
    os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(PreemptedError, match="the same command goes on with what is left"):
    _work(cells, tmp_path, runs, on_change=stop)
  assert runs.calls == ["a"] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


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
