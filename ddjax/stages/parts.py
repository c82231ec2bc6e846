"""Finished parts of an evaluation on disk, so that a killed run does not make them again.

A part is the report of one evaluator; a piece is what a long part has measured before it is
finished, such as one attack.
"""

import hashlib
import json
from pathlib import Path
import time
from typing import Any, Callable, Sequence
import urllib.parse

from absl import logging
import numpy as np

import ddjax
from ddjax.files import atomic
from ddjax.files.plain_arrays import bytes_of
from ddjax.fitting.host import Watch
from ddjax.training.trainer import StoppedError
from ddjax.types import DistilledSet, Report
from ddjax.wording import duration

_SAID_SECONDS = 5.0
"""A piece that took longer is named in the log."""


class EvaluationStoppedError(StoppedError):
  """An evaluation was asked to stop; its finished pieces are stored."""

  def __init__(self, kind: str):
    super().__init__(
      f"Stopped on request in the evaluation of {kind}; the same command goes on from its last "
      "finished piece."
    )


class Pieces:
  """The finished pieces of one evaluator, and the request to stop in between.

  Args:
    kind: name of the evaluator.
    key: of its part, from `part_key`.
    watch: folder and stop request.
  """

  def __init__(self, kind: str, key: str, watch: Watch):
    self._kind, self._stop_request = kind, watch.stop_request
    self._folder = watch.folder / Path(key).stem if watch.folder else None

  def check_stop(self) -> None:
    """Raises EvaluationStoppedError where the run was asked to stop."""
    if self._stop_request:
      raise EvaluationStoppedError(self._kind)

  def keep(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make()` returns, from disk where a run before this one has finished it."""
    self.check_stop()
    path = self._folder and self._folder / f"{urllib.parse.quote(name, safe='')}.npz"
    if path and path.exists():
      try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
          return dict(file)
      except Exception as error:  # damage can surface as any error of zip, NumPy or the disk
        logging.warning("%s is damaged (%s); it is measured again.", path, error)
    started = time.monotonic()
    arrays = make()
    seconds = time.monotonic() - started
    if seconds > _SAID_SECONDS:
      logging.info("%s: %s, %s.", self._kind, name, duration(seconds))
    if path:
      atomic.write_npz(path, arrays)
    return arrays


def part_key(facts: Sequence[Any], distilled: DistilledSet) -> str:
  """A file name that is determined by an evaluator, all that its report depends on, and the set.

  Args:
    facts: the evaluator's name first; the config and whatever else there is.
    distilled: the set.
  """
  known = json.dumps([*facts, ddjax.__version__], sort_keys=True, default=str)
  digest = hashlib.sha256(known.encode())
  for array in (distilled.images, distilled.labels):
    digest.update(bytes_of(array))
  return f"part-{facts[0]}-{digest.hexdigest()[:24]}.json"


def finished(folder: Path | None, key: str, make: Callable[[], Report]) -> Report:
  """The report under a key, from the folder where it is finished, else made and kept there.

  Args:
    folder: None keeps nothing.
    key: from `part_key`.
    make: (-> Report).
  """
  path = folder / key if folder else None
  if path and path.exists():
    try:
      report = Report(**json.loads(path.read_text()))
      logging.info("%s was finished before.", report.kind)
      return report
    except (ValueError, TypeError) as error:
      logging.warning("%s is damaged (%s); it is made again.", path, error)
  report = make()
  if path:
    atomic.write_json(path, atomic.json_safe(report._asdict()))
  return report
