"""Finished parts of an evaluation on disk, so that a killed run does not make them again."""

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Sequence

from absl import logging
import numpy as np

import ddjax
from ddjax.io import atomic
from ddjax.types import DistilledSet, Report


def part_key(facts: Sequence[Any], distilled: DistilledSet) -> str:
  """A file name that is determined by an evaluator, all that its report depends on, and the set.

  Args:
    facts: the evaluator's name first; the config and whatever else there is.
    distilled: the set.
  """
  known = json.dumps([*facts, ddjax.__version__], sort_keys=True, default=str)
  digest = hashlib.sha256(known.encode())
  for array in (distilled.images, distilled.labels):
    digest.update(np.ascontiguousarray(array))
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
