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
ARGUMENTS = (
  "--config=configs/kip.py:fake,ipc=2",
  "--config.evaluators=('kernel',)",
  "--config.outer.schedule=constant",
  "--config.outer.num_steps=600",
  "--config.trainer.checkpoint_every_steps=25",
  "--config.trainer.steps_per_call=1",
)


def _start(workdir):
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
  return subprocess.Popen(
    [sys.executable, "-m", "ddjax.main", *ARGUMENTS, f"--workdir={workdir}"],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def _finish(workdir):
  process = _start(workdir)
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


def _run_with_kills(workdir, num_kills, seconds, seed):
  """Kills `num_kills` starts after up to `seconds` each, then lets one finish; steps reached."""
  moments = random.Random(seed)
  reached = []
  for _ in range(num_kills):
    process = _start(workdir)
    time.sleep(moments.uniform(0.2, seconds))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _check_readable(workdir)
    steps = [int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()]
    reached.append(max(steps, default=0))
  _finish(workdir)
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
