"""Files of an expert buffer: checked against their SHA-256, mapped.

What cannot be read is an `ExpertBufferError` that names the file.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Mapping

from absl import logging
import numpy as np

from ddjax.files import atomic

_MOST_MAPPED = 64
"""Chunks that stay mapped; each holds a file descriptor, of which a process often has 1024."""


class ExpertBufferError(RuntimeError):
  """An expert buffer is damaged, of something else, or in use; says which file or field."""


@functools.lru_cache(maxsize=_MOST_MAPPED)
def mapped(path: Path, stamp: tuple[int, ...]) -> np.ndarray:
  """The npy file, mapped into memory; the stamp only tells one version of it from another."""
  del stamp
  try:
    return np.load(path, mmap_mode="r", allow_pickle=False)
  except (OSError, ValueError) as error:
    raise ExpertBufferError(f"{path} cannot be read: {error}.") from error


def stamp(path: Path) -> tuple[int, ...]:
  """What tells a file from one that replaced it."""
  try:
    found = path.stat()
  except OSError as error:
    raise _unreadable(path, error) from error
  return found.st_ino, found.st_size, found.st_mtime_ns


def check(path: Path, sha256: str) -> None:
  """Raises ExpertBufferError for a file that is not what the index says; holds little of it."""
  try:
    with path.open("rb") as file:
      found = hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise _unreadable(path, error) from error
  _compare(path, found, sha256)


def read_checked(path: Path, sha256: str) -> bytes:
  """The file's content; ExpertBufferError where it is not what the index says."""
  try:
    content = path.read_bytes()
  except OSError as error:
    raise _unreadable(path, error) from error
  _compare(path, digest(content), sha256)
  return content


def digest(content: bytes | memoryview) -> str:
  """SHA-256, in hex digits."""
  return hashlib.sha256(content).hexdigest()


def digest_of_json(body: Mapping[str, Any]) -> str:
  """SHA-256 of a tree as JSON with sorted keys."""
  return digest(json.dumps(atomic.json_safe(body), sort_keys=True).encode())


@functools.cache
def warn_once(words: str) -> None:
  """A warning that a process gives once, however often it opens the buffer."""
  logging.warning("%s", words)


def rounding(
  exact: np.ndarray, stored: np.ndarray, before: np.ndarray | None
) -> tuple[float, float]:
  """Largest error of a stored vector, relative to the vector, and to its change in that epoch."""
  if stored.dtype == exact.dtype:
    return 0.0, 0.0
  error = np.linalg.norm(stored.astype(np.float32) - exact, axis=-1)
  relative = float((error / np.linalg.norm(exact, axis=-1)).max())
  path = exact if before is None else np.concatenate([before[None], exact])
  moved = np.linalg.norm(np.diff(path, axis=0), axis=-1)
  of_change = error[len(error) - len(moved) :] / np.maximum(moved, 1e-30)
  return relative, float(of_change.max(initial=0.0))


def _compare(path: Path, found: str, expected: str) -> None:
  if found != expected:
    raise ExpertBufferError(
      f"{path} is truncated or altered: its SHA-256 is {found[:16]}..., the index says "
      f"{expected[:16]}.... Delete it, and its experts are trained again from their start."
    )


def _unreadable(path: Path, error: OSError) -> ExpertBufferError:
  return ExpertBufferError(f"{path} cannot be read: {error.strerror}.")
