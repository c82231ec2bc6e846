"""Leases and states: one worker a cell, whoever dies."""

import os
import subprocess
import sys

import pytest

from ddjax.files import atomic
from ddjax.study import ledger as ledger_lib
from ddjax.study.ledger import Ledger


class _Clock:
  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def test_a_cell_has_one_holder_until_it_gives_it_back(tmp_path):
  first, second = Ledger(tmp_path), Ledger(tmp_path)
  lease = first.take("a")
  assert lease is not None and second.take("a") is None and first.take("a") is None
  assert second.states(["a"])["a"]["state"] == "running"
  assert second.states(["a"])["a"]["worker"] == first.worker
  lease.release()
  assert second.states(["a"])["a"]["state"] == "waiting"
  again = second.take("a")
  assert again.generation == 2 and second.num_deaths("a") == 0
  again.release()


def test_what_came_of_a_cell_is_recorded_once(tmp_path):
  first, second = Ledger(tmp_path), Ledger(tmp_path)
  lease = first.take("a")
  assert first.finish(lease, {"state": "done", "seconds": 2.0})
  assert second.state("a") == {"state": "done", "seconds": 2.0, "worker": first.worker}
  assert second.states(["a", "b"])["b"]["state"] == "waiting"
  late = second.take("a")  # as one does that looked before it was recorded
  assert not second.finish(late, {"state": "failed"})
  assert first.state("a")["state"] == "done"


def test_a_silent_holder_elsewhere_is_overtaken_after_the_patience_and_then_records_nothing(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(ledger_lib, "_place", lambda: None)  # as if on another machine
  clock = _Clock()
  first, second = Ledger(tmp_path, patience_seconds=1e6), Ledger(tmp_path, clock=clock)
  lease = first.take("a")  # beats once in 1e6 / 8 seconds
  assert second.take("a") is None
  clock.now = 119.0
  assert second.take("a") is None
  clock.now = 121.0
  newer = second.take("a")
  assert newer.generation == 2 and second.num_deaths("a") == 1
  assert not first.finish(lease, {"state": "done"}) and first.state("a") is None
  assert second.finish(newer, {"state": "done"})


def test_a_holder_that_beats_is_never_overtaken(tmp_path, monkeypatch):
  monkeypatch.setattr(ledger_lib, "_place", lambda: None)
  clock = _Clock()
  first, second = Ledger(tmp_path, patience_seconds=0.4), Ledger(tmp_path, clock=clock)
  lease = first.take("a")
  path = next((tmp_path / "leases" / "a").glob("*.json"))
  for beat in range(3):
    while ledger_lib._read_json(path)["beat"] <= beat:
      pass
    clock.now += 100.0  # of the patience of 120
    assert second.take("a") is None
  lease.release()


def test_a_holder_is_told_that_it_was_overtaken(tmp_path):
  lost = []
  first = Ledger(tmp_path, patience_seconds=0.2)
  lease = first.take("a")
  lease.when_lost(lambda: lost.append(True))
  ledger_lib._make(tmp_path / "leases" / "a" / "000002.json", {"worker": "other"})
  while not lost:
    pass
  assert lease.is_lost and not first.finish(lease, {"state": "done"})


def test_a_dead_process_of_this_machine_is_overtaken_at_once(tmp_path):
  code = "from ddjax.study.ledger import Ledger; import os, pathlib, sys\n"
  code += "Ledger(pathlib.Path(sys.argv[1])).take('a'); os.kill(os.getpid(), 9)"
  subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=os.environ)
  if ledger_lib._place() is None:
    pytest.skip("this system does not say which processes live")
  ledger = Ledger(tmp_path)
  lease = ledger.take("a")
  assert lease.generation == 2 and ledger.num_deaths("a") == 1
  lease.release()


_TAKE_ALL = """
import pathlib, sys, time
from ddjax.study.ledger import Ledger
folder = pathlib.Path(sys.argv[1])
ledger = Ledger(folder)
(folder / f"ready-{sys.argv[2]}").touch()
while len(list(folder.glob("ready-*"))) < 4:
  pass
leases = [ledger.take(f"cell{i}") for i in range(20)]
print(*[lease.name for lease in leases if lease is not None], flush=True)
sys.stdin.read()  # all live until all have tried
"""


def test_of_many_that_take_at_once_one_has_each_cell(tmp_path):
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", _TAKE_ALL, str(tmp_path), str(number)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    for number in range(4)
  ]
  found = [process.stdout.readline().split() for process in processes]
  for process in processes:
    process.communicate()
  assert sorted(sum(found, [])) == sorted(f"cell{i}" for i in range(20))


def test_a_damaged_lease_or_state_stops_nobody(tmp_path):
  ledger = Ledger(tmp_path)
  for folder in ("leases/a", "states"):
    (tmp_path / folder).mkdir(parents=True)
  (tmp_path / "leases" / "a" / "000001.json").write_text("{")
  (tmp_path / "states" / "a.json").write_text("")
  assert ledger.state("a") is None
  assert ledger.states(["a"])["a"]["state"] == "running"  # until the patience is over


def test_who_began_a_cell_is_known_to_all_whatever_a_killed_worker_left(tmp_path):
  first, second = Ledger(tmp_path), Ledger(tmp_path)
  assert not second.has_begun("a")
  lease = first.take("a")
  first.note("failed", "b")
  assert not second.has_begun("a")
  first.begin(lease)
  (tmp_path / "workers" / "killed.jsonl").write_text('7\n{"event": "began", "cel')
  assert second.has_begun("a") and not second.has_begun("b")
  lease.release()


def test_a_cell_whose_beginning_cannot_be_written_down_is_not_begun(tmp_path):
  ledger = Ledger(tmp_path)
  lease = ledger.take("a")
  (tmp_path / "workers").write_text("no folder")
  with pytest.raises(atomic.OutputError, match="Cannot write .*workers"):
    ledger.begin(lease)
  ledger.note("left", "a")  # of which only the log suffers
  lease.release()
