"""kill -9 at random moments, again and again: the same bits in the end, no torn file between."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ddjax
from ddjax.training.metrics import read_metrics

ROOT = pathlib.Path(__file__).parents[1]
LOOP = ("--config.trainer.checkpoint_every_steps=25", "--config.trainer.steps_per_call=1")
ARGUMENTS = (
  "--config=configs/kip.py:fake,ipc=2",
  "--config.kernel.engine=closed_form",  # neural-tangents takes a third of a run to trace
  "--config.evaluators=('kernel',)",
  "--config.outer.schedule=constant",
  "--config.outer.num_steps=600",
  *LOOP,
)
SMALL = (
  "--config.network.name=mlp",
  "--config.evaluators=('kernel',)",
  "--config.curve.models=none",
)
METHODS = {
  "dm": (),
  "dsa": ("--config.outer.outer_loop=5", "--config.outer.inner_loop=1"),
  "dc": ("--config.outer.outer_loop=5", "--config.outer.inner_loop=1"),
  "idc": ("--config.network.name=convnet(depth=1)",),
  "frepo": (
    "--config.network.name=convnet(depth=1)",
    "--config.network.width=8",
    "--config.pool.online_steps=10",
  ),
  "mtt": ("--config.experts.epochs_per_chunk=1", "--config.outer.expert_epochs=20"),
  "ncfm": ("--config.experts.epochs_per_chunk=1", "--config.outer.network_epochs=20"),
}
"""{method: what else its small run takes}; MTT and NCFM train networks first."""


def _start(workdir, arguments=ARGUMENTS):
  flags = os.environ.get("XLA_FLAGS", "")  # what compiles fast, on one device
  flags += " --xla_force_host_platform_device_count=1"
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
  environment["DDJAX_CACHE_DIR"] = f"{workdir}-cache"
  return subprocess.Popen(
    [sys.executable, "-m", "ddjax.main", *arguments, f"--workdir={workdir}"],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def _finish(workdir, arguments=ARGUMENTS):
  process = _start(workdir, arguments)
  _, errors = process.communicate()
  assert process.returncode == 0, errors


def _check_readable(workdir):
  """Whatever lies in the folder can be read, whenever the process died."""
  if (workdir / "distilled" / "distilled.npz").exists():
    assert np.isfinite(ddjax.load(workdir).images).all()
  for name in ("config.json", "report.json"):
    if (workdir / name).exists():
      json.loads((workdir / name).read_text())
  if (workdir / "metrics.jsonl").exists():
    read_metrics(workdir / "metrics.jsonl")


def _kill_once(workdir, arguments, is_reached):
  """Starts, and kills as soon as `is_reached()`; the process must not have ended by then."""
  process = _start(workdir, arguments)
  while process.poll() is None and not is_reached():
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  _, errors = process.communicate()
  assert process.returncode == -signal.SIGKILL, errors
  _check_readable(workdir)


def _last_checkpoint(workdir):
  steps = [int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()]
  return max(steps, default=0)


def _run_with_kills(workdir, num_kills, seconds, seed, arguments=ARGUMENTS):
  """Kills `num_kills` starts after up to `seconds` each, then lets one finish; steps reached."""
  moments = random.Random(seed)
  reached = []
  for _ in range(num_kills):
    process = _start(workdir, arguments)
    time.sleep(moments.uniform(0.2, seconds))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _check_readable(workdir)
    reached.append(_last_checkpoint(workdir))
  _finish(workdir, arguments)
  return reached


@pytest.mark.parametrize(
  "num_kills", [1, pytest.param(10, marks=pytest.mark.slow)], ids=["one", "ten"]
)
def test_killed_at_random_moments_it_ends_on_the_same_bits(tmp_path, num_kills):
  started = time.monotonic()
  _finish(tmp_path / "whole")
  seconds = time.monotonic() - started
  reached = _run_with_kills(tmp_path / "killed", num_kills, seconds, seed=num_kills)
  assert reached == sorted(reached)  # no checkpoint is lost
  whole, killed = ddjax.load(tmp_path / "whole"), ddjax.load(tmp_path / "killed")
  np.testing.assert_array_equal(whole.images, killed.images)
  np.testing.assert_array_equal(whole.labels, killed.labels)
  reports = [
    json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "killed")
  ]
  assert reports[0]["reports"] == reports[1]["reports"]
  records = read_metrics(tmp_path / "killed" / "metrics.jsonl")
  losses = {record["step"]: record["train/loss"] for record in records if "train/loss" in record}
  expected = {
    record["step"]: record["train/loss"]
    for record in read_metrics(tmp_path / "whole" / "metrics.jsonl")
    if "train/loss" in record
  }
  assert losses == expected


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_matching_method_killed_ends_on_the_same_bits(tmp_path, method):
  """Three times among updates of the images; of MTT and NCFM also while networks are trained."""
  num_steps = 400
  config = f"--config=configs/{method}.py:fake,ipc=2,steps={num_steps}"
  arguments = config, *SMALL, *LOOP, *METHODS[method]
  _finish(tmp_path / "whole", arguments)
  killed, moments, reached = tmp_path / "killed", random.Random(1), 0
  if method in ("mtt", "ncfm"):
    _kill_once(killed, arguments, lambda: len(_index(tmp_path / "killed-cache")) > 7)
    assert 7 < len(_index(tmp_path / "killed-cache")) < len(_index(tmp_path / "whole-cache"))
    assert not _last_checkpoint(killed)
  for _ in range(3):
    wanted = reached + 25 * moments.randint(1, 3)
    _kill_once(killed, arguments, lambda wanted=wanted: _last_checkpoint(killed) >= wanted)
    assert reached < _last_checkpoint(killed) < num_steps
    reached = _last_checkpoint(killed)
  _finish(killed, arguments)
  whole, killed = ddjax.load(tmp_path / "whole"), ddjax.load(tmp_path / "killed")
  assert whole.info["step"] == killed.info["step"] > 0
  np.testing.assert_array_equal(whole.images, killed.images)
  np.testing.assert_array_equal(whole.labels, killed.labels)
  assert whole.info["learning_rate"] == killed.info["learning_rate"]
  reports = [
    json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "killed")
  ]
  assert reports[0]["reports"] == reports[1]["reports"]


AUDIT = (
  "--config=configs/evaluate.py:fake,audit",
  "--config.num_devices=1",
  "--config.accuracy_evaluation.networks=('mlp',)",
  "--config.accuracy_evaluation.num_epochs=20",
  "--config.accuracy_evaluation.full_epochs=2",
  "--config.privacy.num_splits=8",
  "--config.privacy.num_steps=60",
  "--config.privacy.full_epochs=2",
  "--config.privacy.num_bootstrap=20",
  "--config.robustness.num_test=20",
  "--config.robustness.attacks=('pgd_linf','square_linf')",
  "--config.robustness.corruptions=('brightness',)",
)


@pytest.mark.slow
def test_an_audit_killed_ends_on_the_same_figures_and_repeats_no_finished_part(tmp_path):
  made = ("--config=configs/dm.py:fake,ipc=2,steps=60", "--config.num_devices=1", *SMALL, *LOOP)
  _finish(tmp_path / "made", made)
  arguments = (*AUDIT, f"--config.distilled={tmp_path / 'made'}")
  started = time.monotonic()
  _finish(tmp_path / "whole", arguments)
  seconds = time.monotonic() - started
  moments, killed, finished, seen = random.Random(5), tmp_path / "killed", {}, set()
  for number in range(4):
    process = _start(killed, arguments)
    if number == 0:  # once in the middle of the attacks, after the other evaluators
      while process.poll() is None and not any(killed.glob("fits/part-*/*.npz")):
        time.sleep(0.1)
    else:
      time.sleep(moments.uniform(0.3 * seconds, seconds))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _check_readable(killed)
    files = [*killed.glob("fits/part-*.json"), *killed.glob("fits/part-*/*.npz")]
    parts = {str(path.relative_to(killed)): path.stat().st_mtime_ns for path in files}
    seen |= {path.suffix for path in files}
    if not (killed / "report.json").exists():
      assert finished.items() <= parts.items()  # what was finished was not made again
    finished = parts
  assert seen == {".json", ".npz"}  # both kinds were there to be made again
  _finish(killed, arguments)
  reports = [
    json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "killed")
  ]
  assert reports[0]["reports"] == reports[1]["reports"]


@pytest.mark.slow
def test_experts_killed_lose_the_chunk_in_flight_only(tmp_path):
  arguments = (
    "--config=configs/experts.py:fake,experts=6,epochs=40",
    "--config.network.name=mlp",
    "--config.experts.epochs_per_chunk=2",
    "--config.accuracy_evaluation.num_bootstrap=20",
  )
  _finish(tmp_path / "whole", arguments)
  whole, cache = _chunks(tmp_path / "whole-cache"), tmp_path / "killed-cache"
  moments, finished = random.Random(3), {}
  for _ in range(5):
    wanted = len(finished) + moments.randint(1, len(whole) // 6)
    _kill_once(tmp_path / "killed", arguments, lambda n=wanted: len(_index(cache)) >= n)
    for name, content in finished.items():  # nothing that was finished is lost or made again
      assert _chunks(cache)[name] == content
    assert len(finished) < len(_index(cache)) < len(whole)
    finished = _indexed_chunks(cache)
  _finish(tmp_path / "killed", arguments)
  assert len(whole) >= 20 and whole == _chunks(cache)


def _chunks(cache):
  return {path.name: path.read_bytes() for path in cache.glob("experts/*/chunks/*.npy")}


def _index(cache):
  """The names of the chunks that the index names: what is finished."""
  return {
    chunk["file"]
    for index in cache.glob("experts/*/index.json")
    for chunk in json.loads(index.read_text())["chunks"]
  }


def _indexed_chunks(cache):
  named = _index(cache)
  return {name: content for name, content in _chunks(cache).items() if name in named}


def test_sigterm_saves_says_so_and_exits_143(tmp_path):
  process = _start(tmp_path)
  deadline = time.monotonic() + 60
  while not (tmp_path / "metrics.jsonl").exists() and time.monotonic() < deadline:
    time.sleep(0.05)
  process.send_signal(signal.SIGTERM)
  _, errors = process.communicate()
  assert process.returncode == 143, errors
  assert "the same command goes on from there" in errors
  assert any(path.name.isdigit() for path in tmp_path.glob("checkpoints/*"))
  _finish(tmp_path)
  assert ddjax.load(tmp_path).info["step"] == 600


STUDY = (
  "--config=configs/study.py:smoke",
  "--config.axes.seed=(0,1,2)",
  "--config.evaluators=('kernel','accuracy')",
  "--config.accuracy_evaluation.num_epochs=3",
  "--config.subset_ipcs=(2,)",
  "--config.real_steps=(5,)",
  "--config.max_attempts=20",  # the same cell may be hit every time
)


def _cells(study):
  """What a study found of each cell, without what depends on the clock and on who did it."""
  timeless = ("seconds", "estimate_seconds", "device", "finished")
  return [
    {name: value for name, value in cell.items() if name not in timeless} for cell in study["cells"]
  ]


def _timeless(part):
  """A part of a study's sections without the times taken: fields and columns of tables."""
  if isinstance(part, list):
    return [_timeless(one) for one in part]
  if not isinstance(part, dict):
    return part
  part = {name: value for name, value in part.items() if name != "seconds"}
  if "columns" in part and "rows" in part:
    kept = [number for number, one in enumerate(part["columns"]) if one["kind"] != "seconds"]
    part["columns"] = [part["columns"][number] for number in kept]
    part["rows"] = [[row[number] for number in kept] for row in part["rows"]]
  return {name: _timeless(value) for name, value in part.items()}


def _events(folder, pid="*"):
  """What workers wrote down, those of one process or all."""
  return [
    json.loads(line)
    for path in (folder / "workers").glob(f"*-{pid}-*.jsonl")
    for line in path.read_text().splitlines()
  ]


@pytest.mark.slow
def test_two_workers_killed_five_times_each_do_every_cell_once(tmp_path):
  started = time.monotonic()
  _finish(tmp_path / "whole", STUDY)
  whole = json.loads((tmp_path / "whole" / "study.json").read_text())
  seconds_per_cell = (time.monotonic() - started) / len(whole["cells"])
  killed, moments = tmp_path / "killed", random.Random(3)
  for number in range(5):
    workers = [_start(killed, STUDY) for _ in range(2)]
    for worker in workers:
      # Once at any moment of its start; else after it began its first cell, in this or a later one.
      while number and worker.poll() is None and not _events(killed, worker.pid):
        time.sleep(0.02)
      time.sleep(moments.uniform(0.0, seconds_per_cell))
      worker.kill()
    for worker in workers:
      _, errors = worker.communicate()
      assert worker.returncode == -signal.SIGKILL, errors  # it was alive
  num_killed_in_a_cell = sum(event["event"] == "began" for event in _events(killed)) - sum(
    event["event"] == "done" for event in _events(killed)
  )
  assert num_killed_in_a_cell >= 5
  workers = [_start(killed, STUDY) for _ in range(2)]
  for worker in workers:
    _, errors = worker.communicate()
    assert worker.returncode == 0, errors
  found = json.loads((killed / "study.json").read_text())
  assert len(whole["cells"]) == 18 and whole["counts"] == found["counts"] == {"done": 18}
  assert _cells(whole) == _cells(found)
  assert "seconds" in json.dumps(whole["sections"])
  assert _timeless(whole["sections"]) == _timeless(found["sections"])
  done = [event["cell"] for event in _events(killed) if event["event"] == "done"]
  assert sorted(done) == sorted(cell["name"] for cell in whole["cells"])
