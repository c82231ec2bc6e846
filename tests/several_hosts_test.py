"""Two processes of two devices: the numbers of one process of four, and how they stop and go on."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from ddjax.training.metrics import read_metrics
from tests import several_hosts

ROOT = pathlib.Path(__file__).parents[1]
FAST = ("kip", "dm", "mtt", "coreset")
SLOW = ("idc",)


def _free_port():
  with socket.socket() as server:
    server.bind(("", 0))
    return server.getsockname()[1]


def _start(command, cache, **environment):
  """Two hosts; their processes."""
  flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=2")
  common = os.environ | {
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": flags,
    "DDJAX_CACHE_DIR": str(cache),
    "DDJAX_COORDINATOR": f"localhost:{_free_port()}",
    "DDJAX_NUM_PROCESSES": "2",
    "DDJAX_HEARTBEAT_SECONDS": "5",
  }
  return [
    subprocess.Popen(
      [sys.executable, *command],
      cwd=ROOT,
      env=common | {"DDJAX_PROCESS_NUMBER": str(number)} | environment,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(2)
  ]


def _finish(processes):
  """(exit codes, what each wrote to standard error)"""
  errors = [process.communicate(timeout=180)[1] for process in processes]
  return [process.returncode for process in processes], errors


def _state(folder, step):
  return ocp.StandardCheckpointer().restore(folder / "checkpoints" / str(step) / "default")


def _assert_close(first, second, tolerance, where):
  first, second = np.asarray(first), np.asarray(second)
  scale = max(np.abs(second).max(initial=0), 1e-3) if second.dtype.kind == "f" else 0
  np.testing.assert_allclose(first, second, rtol=0, atol=tolerance * scale, err_msg=str(where))


def _assert_same_run(first, second, tolerance):
  """State, metrics and the report's figures, to rounding."""
  steps = [int(path.name) for path in (second / "checkpoints").iterdir() if path.name.isdigit()]
  states = [_state(folder, max(steps)) for folder in (first, second)]
  for (path, leaf), other in zip(
    jax.tree_util.tree_leaves_with_path(states[0]), jax.tree.leaves(states[1]), strict=True
  ):
    _assert_close(leaf, other, tolerance, path)
  records = [read_metrics(folder) for folder in (first, second)]
  assert len(records[0]) == len(records[1]) > 0
  for one, other in zip(*records, strict=True):
    assert one.keys() == other.keys()
    for name in one.keys() - {"time"}:
      _assert_close(one[name], other[name], 10 * tolerance, name)  # small ones of large terms
  reports = [
    json.loads((folder / "report.json").read_text())["reports"] for folder in (first, second)
  ]
  assert reports[0].keys() == reports[1].keys()
  for name, report in reports[1].items():
    for figure, value in report["scalars"].items():
      found = reports[0][name]["scalars"][figure]
      assert (found is None) == (value is None), (name, figure)
      if value is not None:
        assert found == pytest.approx(value, rel=1e-3, abs=1e-3), (name, figure)


def _run_pair(tmp_path, names):
  command = ["tests/several_hosts.py", str(tmp_path / "two"), *names]
  codes, errors = _finish(_start(command, tmp_path / "cache"))
  assert codes == [0, 0], errors


@pytest.mark.parametrize(
  "names", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["fast", "slow"]
)
def test_two_processes_of_two_devices_give_what_one_of_four_gives(tmp_path, monkeypatch, names):
  _run_pair(tmp_path, names)
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "other_cache"))
  for name in names:
    several_hosts.run(name, tmp_path / "one")
    report = json.loads((tmp_path / "two" / name / "report.json").read_text())
    assert report["run"]["hardware"]["num_hosts"] == 2
    assert report["run"]["hardware"]["num_devices"] == 4
    _assert_same_run(tmp_path / "two" / name, tmp_path / "one" / name, 1e-4)


LONG = (
  "-m",
  "ddjax.main",
  "--config=configs/kip.py:fake,ipc=2",
  "--config.evaluators=('kernel',)",
  "--config.curve.models=none",
  "--config.outer.schedule=constant",
  "--config.outer.num_steps=300",
  "--config.outer.learning_rate=0.001",  # a larger one makes much of rounding
  "--config.trainer.checkpoint_every_steps=20",
  "--config.trainer.steps_per_call=1",
)


def _last(workdir):
  steps = [path.name for path in workdir.glob("checkpoints/*") if path.name.isdigit()]
  return max(map(int, steps), default=0)


def _start_and_wait(workdir, cache, step):
  """Two hosts that have come to a step, and the step."""
  hosts = _start([*LONG, f"--workdir={workdir}"], cache)
  deadline = time.monotonic() + 90
  while _last(workdir) < step and time.monotonic() < deadline:
    assert all(host.poll() is None for host in hosts), _finish(hosts)
    time.sleep(0.02)
  return hosts


def test_stopped_killed_and_gone_on_with_other_numbers_of_hosts(tmp_path):
  """Two hosts, SIGTERM to one; two hosts, one dies; one host; the numbers of an unbroken run."""
  workdir, cache = tmp_path / "run", tmp_path / "cache"
  hosts = _start_and_wait(workdir, cache, 20)
  hosts[1].send_signal(signal.SIGTERM)
  codes, errors = _finish(hosts)
  assert codes == [143, 143], errors
  told = [int(re.search(r"Stopped on request at step (\d+)", error)[1]) for error in errors]
  assert told[0] == told[1] == _last(workdir) < 300  # at the same call, and saved

  hosts = _start_and_wait(workdir, cache, told[0] + 40)
  hosts[1].kill()
  killed = time.monotonic()
  codes, errors = _finish(hosts)
  assert time.monotonic() - killed < 30  # DDJAX_HEARTBEAT_SECONDS=5
  assert codes == [1, -signal.SIGKILL], errors
  assert "Host 1 of 2 has not answered for 5 s" in errors[0]
  assert told[0] < _last(workdir) < 300

  for folder in (workdir, tmp_path / "whole"):  # one process of one device
    _finish_alone(folder, cache)
  _assert_same_run(workdir, tmp_path / "whole", 1e-3)


def _finish_alone(workdir, cache):
  flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=1")
  command = [sys.executable, *LONG, f"--workdir={workdir}"]
  environment = os.environ | {"XLA_FLAGS": flags, "DDJAX_CACHE_DIR": str(cache)}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def _at_once(tmp_path, arguments, **environment):
  """Exit codes and errors of two hosts that should refuse, and that nothing is written."""
  found = _finish(
    _start([*LONG, f"--workdir={tmp_path / 'run'}", *arguments], tmp_path, **environment)
  )
  assert not (tmp_path / "run").exists()
  return found


def test_a_config_that_is_refused_ends_both_hosts(tmp_path):
  codes, errors = _at_once(tmp_path, ["--config.outer.num_steps=-1"])
  assert codes == [1, 1] and all("num_steps=-1" in error for error in errors), errors
