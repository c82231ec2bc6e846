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
FAST = ("kip", "dm", "dsa", "mtt", "coreset")
SLOW = ("idc", "datm", "frepo", "ncfm")


def _free_port():
  with socket.socket() as server:
    server.bind(("", 0))
    return server.getsockname()[1]


def _start(command, cache, is_shared=True, **environment):
  """Two hosts; their processes, with one cache folder or each with its own."""
  flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=2")
  common = os.environ | {
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": flags,
    "DDJAX_COORDINATOR": f"localhost:{_free_port()}",
    "DDJAX_NUM_PROCESSES": "2",
    "DDJAX_HEARTBEAT_SECONDS": "5",
  }
  return [
    subprocess.Popen(
      [sys.executable, *command],
      cwd=ROOT,
      env=common
      | {"DDJAX_PROCESS_NUMBER": str(number)}
      | {"DDJAX_CACHE_DIR": str(cache) if is_shared else f"{cache}{number}"}
      | environment,
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


@pytest.mark.parametrize(
  "names", [FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["fast", "slow"]
)
def test_two_processes_of_two_devices_give_what_one_of_four_gives(tmp_path, monkeypatch, names):
  command = ["tests/several_hosts.py", str(tmp_path / "two"), *names]
  hosts = _start(command, tmp_path / "cache")
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "other_cache"))
  for name in names:  # meanwhile
    several_hosts.run(name, tmp_path / "one")
  codes, errors = _finish(hosts)
  assert codes == [0, 0], errors
  for name in names:
    report = json.loads((tmp_path / "two" / name / "report.json").read_text())
    assert report["run"]["hardware"]["num_hosts"] == 2
    assert report["run"]["hardware"]["num_devices"] == 4
    _assert_same_run(tmp_path / "two" / name, tmp_path / "one" / name, 1e-4)


LONG = (
  "-m",
  "ddjax.main",
  "--config=configs/kip.py:fake,ipc=2",
  "--config.kernel.engine=closed_form",  # neural-tangents takes a third of a run to trace
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


def _wait_until(is_reached, hosts):
  """Returns once a condition holds; the hosts must live until then."""
  deadline = time.monotonic() + 120
  while not is_reached():
    assert all(host.poll() is None for host in hosts), _finish(hosts)
    assert time.monotonic() < deadline, [host.kill() for host in hosts]
    time.sleep(0.02)


def _start_alone(workdir, cache):
  flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=1")
  return subprocess.Popen(
    [sys.executable, *LONG, f"--workdir={workdir}"],
    cwd=ROOT,
    env=os.environ | {"XLA_FLAGS": flags, "DDJAX_CACHE_DIR": str(cache)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def _stop_at(errors):
  """The step that every host says it stopped at."""
  steps = {int(re.search(r"Stopped on request at step (\d+)", error)[1]) for error in errors}
  assert len(steps) == 1
  return steps.pop()


@pytest.mark.slow
def test_stopped_killed_and_gone_on_with_other_numbers_of_hosts(tmp_path):
  """Two hosts, SIGTERM to one; one; two, one dies; one: the numbers of a run of one, unbroken."""
  workdir, cache = tmp_path / "run", tmp_path / "cache"
  command = [*LONG, f"--workdir={workdir}"]
  hosts = _start(command, cache)
  _wait_until(lambda: _last(workdir) >= 20, hosts)
  hosts[1].send_signal(signal.SIGTERM)
  codes, errors = _finish(hosts)
  assert codes == [143, 143], errors
  step = _stop_at(errors)
  assert step == _last(workdir) < 300  # at the same call, and saved

  hosts = [_start_alone(workdir, cache)]
  _wait_until(lambda: _last(workdir) >= step + 20, hosts)
  hosts[0].send_signal(signal.SIGTERM)
  codes, errors = _finish(hosts)
  assert codes == [143], errors
  step = _stop_at(errors)
  assert step == _last(workdir) < 300

  hosts = _start(command, cache)
  _wait_until(lambda: _last(workdir) >= step + 20, hosts)
  hosts[1].kill()
  killed = time.monotonic()
  codes, errors = _finish(hosts)
  assert time.monotonic() - killed < 30  # DDJAX_HEARTBEAT_SECONDS=5
  assert codes == [1, -signal.SIGKILL], errors
  assert "Host 1 of 2 has not answered for 5 s" in errors[0]
  assert step < _last(workdir) < 300

  for folder in (workdir, tmp_path / "whole"):
    codes, errors = _finish([_start_alone(folder, cache)])
    assert codes == [0], errors
  _assert_same_run(workdir, tmp_path / "whole", 1e-3)


def _by_slurm(number, job):
  return {
    "SLURM_JOB_ID": str(job),
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_NTASKS": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": str(number),
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
  }


def _by_open_mpi(number, job):
  return {
    "OMPI_MCA_orte_hnp_uri": f"{job << 12}.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": str(number),
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
  }


JOIN = """
from ddjax.training import hosts, parallel
hosts.join(hosts.find_place())
import jax
print("host", jax.process_index(), "of", jax.process_count(), parallel.of_main_process([7]))
hosts.leave(0)
"""


@pytest.mark.parametrize("cluster", [_by_slurm, _by_open_mpi])
def test_hosts_as_a_cluster_says(tmp_path, cluster):
  job = os.getpid()  # decides on the port
  environment = {name: value for name, value in os.environ.items() if name != "DDJAX_COORDINATOR"}
  environment |= {"DDJAX_MULTIHOST": "1", "PYTHONPATH": str(ROOT)}
  hosts = [
    subprocess.Popen(
      [sys.executable, "-c", JOIN],
      env=environment | cluster(number, job),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(2)
  ]
  told = [host.communicate(timeout=120) for host in hosts]
  for number, (host, (printed, errors)) in enumerate(zip(hosts, told, strict=True)):
    assert host.returncode == 0, errors
    assert f"host {number} of 2 [7]" in printed


def test_a_config_that_is_refused_ends_both_hosts_and_writes_nothing(tmp_path):
  workdir = tmp_path / "run"
  command = [*LONG, f"--workdir={workdir}", "--config.outer.num_steps=-1"]
  codes, errors = _finish(_start(command, tmp_path / "cache"))
  assert codes == [1, 1] and all("num_steps=-1" in error for error in errors), errors
  assert not workdir.exists()


def test_a_coordinator_that_does_not_answer_is_one_sentence_and_nothing_is_written(tmp_path):
  workdir = tmp_path / "run"
  first, second = _start(
    [*LONG, f"--workdir={workdir}"], tmp_path / "cache", DDJAX_CONNECT_SECONDS="3"
  )
  first.kill()
  _, (_, told) = _finish([first, second])
  assert second.returncode == 1
  assert told.splitlines()[-1].startswith("Error: The coordinator localhost:")
  assert "did not answer within 3 s" in told and "Traceback" not in told
  assert not workdir.exists()


@pytest.mark.slow
def test_hosts_without_a_common_disk_at_an_address_and_then_others(tmp_path):
  """Each host has a cache folder of its own; the second pair finds nothing but the address."""
  address = f"file://{tmp_path / 'bucket' / 'run'}"
  there = tmp_path / "bucket" / "run"
  for pair, num_steps in (("first", 100), ("second", 140)):
    command = [*LONG, f"--workdir={address}", f"--config.outer.num_steps={num_steps}"]
    hosts = _start(command, tmp_path / pair, is_shared=False)
    codes, errors = _finish(hosts)
    assert codes == [0, 0], errors
    assert (there / "checkpoints" / f"{num_steps}.tar").exists()
    assert not (tmp_path / f"{pair}1" / "remote").exists()  # the first host's work alone
  assert all("at step 100" in error for error in errors)
  assert json.loads((there / "report.json").read_text())["run"]["num_steps"] == 140


@pytest.mark.slow
def test_the_first_host_dies(tmp_path):
  workdir = tmp_path / "run"
  hosts = _start([*LONG, f"--workdir={workdir}"], tmp_path / "cache")
  _wait_until(lambda: _last(workdir) >= 20, hosts)
  hosts[0].kill()
  killed = time.monotonic()
  codes, errors = _finish(hosts)
  assert time.monotonic() - killed < 30 and codes[1] not in (0, 143), errors
  # JAX ends the process by itself, faster than ours, and says so.
  assert "another task died" in errors[1] or "first host does not answer" in errors[1]


AUDIT = (
  "-m",
  "ddjax.main",
  "--config=configs/dm.py:fake,ipc=2,steps=8",
  "--config.network.name=mlp",
  "--config.evaluators=('accuracy','privacy','robustness','fairness')",
  "--config.accuracy_evaluation.networks=('mlp',)",
  "--config.accuracy_evaluation.num_epochs=20",
  "--config.accuracy_evaluation.full_epochs=2",
  "--config.privacy.num_splits=4",
  "--config.privacy.num_steps=20",
  "--config.privacy.full_epochs=2",
  "--config.privacy.num_bootstrap=20",
  "--config.robustness.num_test=20",
  "--config.robustness.attacks=('pgd_linf',)",
  "--config.robustness.corruptions=('brightness',)",
)


@pytest.mark.slow
def test_an_audit_on_two_hosts_stopped_by_the_one_that_waits_and_killed_ends_on_the_same_figures(
  tmp_path,
):
  """The first host finds finished parts on its disk; the other, which waits, need not know."""
  workdir = tmp_path / "run"
  command = [*AUDIT, f"--workdir={workdir}"]
  for signum, wanted in ((signal.SIGTERM, [143, 143]), (signal.SIGKILL, [1, -9])):
    hosts = _start(command, tmp_path / "cache")
    parts = set(workdir.glob("fits/part-*"))
    _wait_until(lambda before=parts: set(workdir.glob("fits/part-*")) - before, hosts)
    hosts[1].send_signal(signum)
    codes, errors = _finish(hosts)
    assert codes == wanted, errors
    if signum == signal.SIGTERM:  # the first may end its work before it misses the other
      assert not (workdir / "report.json").exists()
  codes, errors = _finish(_start(command, tmp_path / "cache"))
  assert codes == [0, 0], errors
  whole = tmp_path / "whole"
  codes, errors = _finish(_start([*AUDIT, f"--workdir={whole}"], tmp_path / "other"))
  assert codes == [0, 0], errors
  reports = [json.loads((folder / "report.json").read_text()) for folder in (workdir, whole)]
  assert reports[0]["reports"] == reports[1]["reports"]
