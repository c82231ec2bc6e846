"""Numbers over steps: `metrics.jsonl`, one JSON object a line, and TensorBoard beside it."""

import json
import os
from pathlib import Path
import time
from typing import Any, Mapping, Sequence

import numpy as np

from ddjax.files import atomic

FILE_NAME = "metrics.jsonl"


class MetricsWriter:
  """Appends metrics to `<workdir>/metrics.jsonl` and, if asked, to `<workdir>/tensorboard`.

  A line is `{"step": 20, "time": 1.7e9, "train/loss": 0.31, ...}`, `time` in seconds since 1970.
  Each line is one write call, so a killed process tears at most the last one. Where the file
  exists, lines of steps after `start_step` and a torn last line are dropped first: the steps after
  the checkpoint are about to be taken again.
  """

  def __init__(self, workdir: str | os.PathLike, tensorboard: bool = False, start_step: int = 0):
    """Opens the files.

    Args:
      workdir: the run folder; made where it is missing.
      tensorboard: whether to write TensorBoard event files too.
      start_step: steps that the run has behind it; 0 for a fresh one.
    Raises:
      atomic.OutputError: where the folder cannot be written to.
    """
    self._path = Path(workdir) / FILE_NAME
    kept = [] if start_step == 0 else read_metrics(self._path)
    lines = [_to_line(record) for record in kept if record["step"] <= start_step]
    atomic.write_text(self._path, "".join(lines))
    self._file = open(self._path, "ab", buffering=0)
    self._tensorboard = None
    if tensorboard:
      import tensorboardX

      self._tensorboard = tensorboardX.SummaryWriter(
        str(Path(workdir) / "tensorboard"), purge_step=start_step + 1
      )

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Writes the metrics of one step.

    Args:
      step: how many steps were done.
      values: {name: number, or a list of numbers, one a replica}. TensorBoard shows the mean of a
        list. A number that is not finite is written as null.
    Raises:
      atomic.OutputError: where the line could not be written, for example on a full disk.
    """
    record = {"step": int(step), "time": round(time.time(), 3)} | dict(values)
    line = _to_line(record).encode()
    try:
      written = self._file.write(line)
    except OSError as error:
      raise atomic.OutputError(f"Cannot write {self._path}: {error.strerror}.") from error
    if written != len(line):
      raise atomic.OutputError(f"Cannot write {self._path}: the disk took a part of a line only.")
    if self._tensorboard is not None:
      for name, value in values.items():
        self._tensorboard.add_scalar(name, float(np.mean(value)), int(step))

  def close(self) -> None:
    """Closes the files; metrics written so far stay."""
    self._file.close()
    if self._tensorboard is not None:
      self._tensorboard.close()

  def __enter__(self) -> "MetricsWriter":
    return self

  def __exit__(self, *_) -> None:
    self.close()


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
  """Reads a metrics file.

  Args:
    path: `metrics.jsonl`, or the run folder that holds it.
  Returns:
    one dict a line, in the order of the file; none where the file is missing. A torn last line,
    which a killed process leaves, is passed over.
  Raises:
    ValueError: for any other line that is not a JSON object with a step.
  """
  path = Path(path)
  path = path / FILE_NAME if path.is_dir() else path
  if not path.exists():
    return []
  *lines, torn = path.read_bytes().split(b"\n")
  del torn  # empty, or what was being written when the process was killed
  return [_from_line(line, path, number) for number, line in enumerate(lines, 1)]


def series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
  """One metric over steps, the last value where a step stands twice.

  Args:
    records: what `read_metrics` gave.
    name: such as "train/loss".
  Returns:
    steps i64[t] in rising order, and values f64[t], or f64[t r] where a value a replica was
    written; null as NaN. Empty where no record has the name.
  """
  values = {record["step"]: record[name] for record in records if name in record}
  steps = sorted(values)
  return np.array(steps, np.int64), np.array([values[step] for step in steps], np.float64)


def _to_line(record: Mapping[str, Any]) -> str:
  """A record as one line of JSON."""
  return json.dumps(atomic.json_safe(record), allow_nan=False) + "\n"


def _from_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
  """The record of one line, checked."""
  try:
    record = json.loads(line)
    if isinstance(record, dict) and isinstance(record.get("step"), int):
      return record
  except ValueError:
    pass
  raise ValueError(f"{path}, line {number}, is not a record with a step: {line[:80]!r}.")
