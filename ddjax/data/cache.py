"""The one cache folder: arrays that are costly to make, one file for each key.

A file is an uncompressed npz. Its zip checksums (CRC-32 of every array) are verified whenever it is
read, in about a tenth of a second per 100 MB; it is written under a temporary name, then renamed.
So a damaged or half-written file is never used: it is made again, and a warning says so. A cache
that cannot be written costs time, not the run.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Callable
import uuid

from absl import logging
import numpy as np

Arrays = dict[str, np.ndarray]


def cache_dir() -> Path:
  """`DDJAX_CACHE_DIR`, or `ddjax` in the user's cache folder."""
  if folder := os.environ.get("DDJAX_CACHE_DIR"):
    return Path(folder)
  return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddjax"


def cached(key: str, make: Callable[[], Arrays]) -> Arrays:
  """The arrays under `key`: read if they are there and whole, else made and kept.

  Args:
    key: a file name without suffix that determines the content.
    make: () -> {name: array}; arrays of numbers, booleans or strings, no objects.
  Returns:
    {name: array}, equal to what `make` returns.
  """
  arrays = find(key)
  if arrays is None:
    arrays = make()
    keep(key, arrays)
  return arrays


def has(key: str) -> bool:
  """Whether there is a file under `key`, whole or not."""
  return (cache_dir() / f"{key}.npz").exists()


def find(key: str) -> Arrays | None:
  """The arrays under `key`, or None where they are not there or damaged."""
  path = cache_dir() / f"{key}.npz"
  if not path.exists():
    return None
  try:
    return _read(path)
  except Exception as error:  # damage can surface as any error of zip, NumPy or the disk
    logging.warning("Cache file %s is damaged (%s); making it again.", path, error)
    return None


def keep(key: str, arrays: Arrays) -> None:
  """Writes the arrays under `key`; a failure is logged, not raised."""
  path = cache_dir() / f"{key}.npz"
  try:
    _write(path, arrays)
  except OSError as error:
    logging.warning("Cannot write the cache file %s (%s); going on without it.", path, error)


def folder_stamp(folder: Path) -> str:
  """Sixteen hex digits that change when a file under `folder` is added, changed or removed."""
  stamp = hashlib.sha256()
  for path in sorted(path for path in folder.rglob("*") if path.is_file()):
    stat = path.stat()
    stamp.update(f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
  return stamp.hexdigest()[:16]


def _read(path: Path) -> Arrays:
  """Every array of the file, each checked against its CRC-32."""
  with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
    return {name: arrays[name] for name in arrays.files}


def _write(path: Path, arrays: Arrays) -> None:
  """Writes beside `path`, then renames; leaves nothing behind on failure."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}")
  try:
    with open(temporary, "wb") as file:
      named: dict[str, Any] = dict(arrays)
      np.savez(file, **named)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise
