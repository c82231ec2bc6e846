"""Metrics survive kills and restarts, and read back as they were written."""

import json
import math
import os

import numpy as np
import pytest

from ddjax.files.atomic import OutputError
from ddjax.training import metrics


def _write(workdir, steps, start_step=0, **options):
  with metrics.MetricsWriter(workdir, start_step=start_step, **options) as writer:
    for step in steps:
      writer.write(step, {"train/loss": 1 / (step + 1)})


def test_lines_hold_step_time_and_values(tmp_path):
  with metrics.MetricsWriter(tmp_path) as writer:
    writer.write(3, {"train/loss": np.float32(0.25), "eval/x": [0.5, math.nan]})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()  # there before closing
  record = json.loads(line)
  assert record.pop("time") > 1.7e9
  assert record == {"step": 3, "train/loss": 0.25, "eval/x": [0.5, None]}


def test_resume_drops_what_lies_beyond(tmp_path):
  _write(tmp_path, [10, 20, 30])
  _write(tmp_path, [30, 40], start_step=20)
  assert [record["step"] for record in metrics.read_metrics(tmp_path)] == [10, 20, 30, 40]


def test_fresh_start_drops_all(tmp_path):
  _write(tmp_path, [0, 10, 20])
  _write(tmp_path, [0])
  assert [record["step"] for record in metrics.read_metrics(tmp_path)] == [0]


@pytest.mark.parametrize("cut", range(1, 40, 4))
def test_torn_last_line(tmp_path, cut):
  _write(tmp_path, [10, 20, 30])
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(path.read_bytes()[:-cut])
  assert [record["step"] for record in metrics.read_metrics(path)] == [10, 20]
  _write(tmp_path, [30, 40], start_step=30)
  assert [record["step"] for record in metrics.read_metrics(path)] == [10, 20, 30, 40]


def test_damage_elsewhere_is_named(tmp_path):
  path = tmp_path / "metrics.jsonl"
  for line in (b"{]", b"7", b'{"loss": 1}'):
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(ValueError, match=f"{path}, line 2"):
      metrics.read_metrics(path)


def test_missing_file_is_empty(tmp_path):
  assert metrics.read_metrics(tmp_path) == []


def test_series_takes_the_last_of_a_step_and_reads_replicas():
  records = [
    {"step": 20, "a": 2.0, "b": [1.0, 2.0]},
    {"step": 10, "a": 1.0},
    {"step": 20, "a": 3.0},
    {"step": 30, "a": None, "b": [3.0, 4.0]},
  ]
  steps, values = metrics.series(records, "a")
  np.testing.assert_array_equal(steps, [10, 20, 30])
  np.testing.assert_array_equal(values, [1.0, 3.0, np.nan])
  np.testing.assert_array_equal(metrics.series(records, "b")[1], [[1.0, 2.0], [3.0, 4.0]])
  assert metrics.series(records, "c")[0].shape == (0,)


def test_full_disk_names_the_file(tmp_path):
  with metrics.MetricsWriter(tmp_path) as writer:
    writer._file.close()
    writer._file = open("/dev/full", "ab", buffering=0)
    with pytest.raises(OutputError, match=f"{tmp_path}/metrics.jsonl.*No space"):
      writer.write(1, {"a": 1.0})


def test_tensorboard_files(tmp_path):
  _write(tmp_path, [1, 2], tensorboard=True)
  (name,) = os.listdir(tmp_path / "tensorboard")
  content = (tmp_path / "tensorboard" / name).read_bytes()
  assert "tfevents" in name and content.count(b"train/loss") == 2
