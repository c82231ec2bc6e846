"""Processes of a session: none outlives it, last words name a crash, one crash costs one row."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.accelerator import check, dealing, processes, results
from benchmarks.accelerator.processes import Running
from benchmarks.accelerator.results import Results
from ddjax.training.trainer import PreemptedError

_SLEEPER = "import os, time\nprint('pid', os.getpid(), flush=True)\nwhile True: time.sleep(0.05)\n"
_SESSION = """
import sys, time
from benchmarks.accelerator import processes
from benchmarks.accelerator.processes import Running
with processes.stop_requests():
  deadline = time.monotonic() + 600
  running = [Running("sleeper", [], sys.argv[1], deadline, print) for _ in range(2)]
  with processes.stopped_together(running):
    while True:
      time.sleep(0.05)
      sys.stdout.flush()
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
  """Writes modules that `Running` can start: (name, text)."""
  folder = tmp_path / "modules"
  folder.mkdir()
  monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.getcwd()]))
  return lambda name, text: (folder / f"{name}.py").write_text(text)


def _start(module, tmp_path, seconds=60.0, on_line=lambda line: None):
  return Running(module, [], str(tmp_path / "log"), time.monotonic() + seconds, on_line)


def _is_alive(pid):
  with contextlib.suppress(ProcessLookupError):
    os.kill(pid, 0)
    with open(f"/proc/{pid}/stat") as stat:
      return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
  return False


def _ends(pids):
  for _ in range(1200):
    if not any(map(_is_alive, pids)):
      return True
    time.sleep(0.05)
  return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends what is left behind")
def test_a_killed_session_leaves_nothing_running(modules, tmp_path, number):
  modules("sleeper", _SLEEPER)
  command = [sys.executable, "-c", _SESSION, str(tmp_path / "log")]
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as own:
    pids = [int(own.stdout.readline().split()[1]) for _ in range(2)]
    assert all(map(_is_alive, pids))
    own.send_signal(number)
    assert _ends(pids)


def test_the_program_says_what_stopped_it(modules, tmp_path):
  command = [sys.executable, "-m", "benchmarks.accelerator", f"--out={tmp_path / 'out'}"]
  with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as own:
    while own.poll() is None and not (tmp_path / "out" / "log.txt").exists():
      time.sleep(0.05)  # it looks at the machine now
    own.send_signal(signal.SIGTERM)
    _, messages = own.communicate(timeout=120)
  assert own.returncode == 143 and "stopped by SIGTERM; the same command goes on" in messages
  assert "Traceback" not in messages


def test_a_process_is_asked_and_then_made_to_end(modules, tmp_path, monkeypatch):
  modules(
    "stubborn",
    "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
    "print('up', flush=True)\nwhile True: time.sleep(0.05)\n",
  )
  monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
  both = [_start("stubborn", tmp_path) for _ in range(2)]
  while not all(one.lines for one in both):
    time.sleep(0.05)
  with processes.stopped_together(both):
    pass
  for one in both:
    ended = one.wait()
    assert ended.is_late and ended.code == -9 and "asked" in one.lines


def test_last_words_of_a_process(modules, tmp_path):
  ended = _start("no_such_module", tmp_path).wait()
  assert ended.code == 1 and "No module named no_such_module" in ended.last_line
  modules("crashing", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
  ended = _start("crashing", tmp_path).wait()
  assert ended.code == -11 and ended.last_line == "Fatal Python error: Segmentation fault"
  assert "Fatal Python error" in (tmp_path / "log").read_text()


def test_a_line_that_cannot_be_taken_is_named_and_the_others_are(modules, tmp_path, capsys):
  modules("talking", "for word in 'abc': print(word)\n")
  taken = []

  def take(line):
    if line == "b":
      raise OSError("disk full")
    taken.append(line)

  assert _start("talking", tmp_path, on_line=take).wait().code == 0
  assert taken == ["a", "c"] and "disk full" in capsys.readouterr().out


_CHECK = """
import json, os, signal, sys, time
if "--list" in sys.argv:
  print(json.dumps(["a", "b", "c"]))
else:
  for name in sys.argv[1].removeprefix("--rows=").split(","):
    print("begin " + name, flush=True)
    if name == "b":
      {b}
    row = dict(ok=True, problem="", seconds=1.0, done=True)
    print(json.dumps(dict(name=name, **row)), flush=True)
"""


def _deal(modules, tmp_path, monkeypatch, b, seconds=60.0):
  modules("fake_check", _CHECK.replace("{b}", b))
  monkeypatch.setattr(dealing, "MODULE", "fake_check")
  monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
  found = Results(tmp_path / "out")
  dealing.run(found, str(tmp_path / "log"), time.monotonic() + seconds, is_served_singly=True)
  return found.content["check"]


def test_a_crash_costs_its_own_row_only(modules, tmp_path, monkeypatch):
  rows = _deal(modules, tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)")
  assert rows["a"]["ok"] and rows["c"]["ok"]
  problem = "its process ended with signal 11: Fatal Python error: Segmentation fault"
  assert rows["b"]["problem"] == problem and not rows["b"]["done"]


def test_rows_after_the_deadline_say_so(modules, tmp_path, monkeypatch):
  reached = tmp_path / "reached"
  monkeypatch.setattr(
    dealing.Running,
    "is_over",
    _late_once(reached, Running.is_over),
  )
  rows = _deal(
    modules, tmp_path, monkeypatch, f"open({str(reached)!r}, 'w').close(); time.sleep(600)"
  )
  assert rows["a"]["ok"]
  assert rows["b"]["problem"] == "stopped: out of time"
  assert rows["c"]["problem"] == "no time left"


def _late_once(reached, plain):
  """The deadline comes as soon as row b is at work."""

  def is_over(self):
    if reached.exists():
      self._deadline = min(self._deadline, time.monotonic() - 0.01)
    return plain(self)

  return is_over


def test_every_row_is_dealt_once():
  names = list(check.rows())
  parts = dealing.dealt(names, 4)
  assert sorted(sum(parts, [])) == sorted(names) and len(parts) == 4
  assert sorted(dealing.dealt(names[:2], 5)) == sorted([name] for name in names[:2])
  assert dealing.dealt([], 3) == []


def test_no_row_begins_after_a_stop(monkeypatch, capsys):
  def stopped(*_, **__):
    raise PreemptedError(1)

  monkeypatch.setattr(check.distill, "run", stopped)
  assert check.run_rows(["method dm", "method kip"], {}) == {}
  assert "begin method dm" in (said := capsys.readouterr().out) and "method kip" not in said


def test_rows_of_many_threads_are_all_kept(tmp_path):
  found = Results(tmp_path)
  found.set_facts({"device": "d", "commit": "abc"})

  def add(thread):
    for number in range(20):
      found.add("check", f"{thread} {number}", {"ok": True})

  threads = [threading.Thread(target=add, args=(thread,)) for thread in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  rows = Results(tmp_path).content["check"]
  assert len(rows) == 80 and {row["commit"] for row in rows.values()} == {"abc"}


def test_rows_keep_the_commit_that_made_them(tmp_path):
  found = Results(tmp_path)
  for name in ("one", "two"):
    found.set_facts({"device": "d", "commit": name})
    found.add("check", name, {"ok": True})
  found.add_reason("check", "one", "no time left")
  assert {name: row["commit"] for name, row in found.content["check"].items()} == {
    "one": "one",
    "two": "two",
  }
  assert found.content["check"]["one"]["ok"]


def test_why_a_commit_is_not_known(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
  name, problem = results.commit()
  assert name == "unknown" and "not a git repository" in problem
  monkeypatch.setenv("PATH", "")
  assert results.commit()[0] == "unknown" and "git" in results.commit()[1]
