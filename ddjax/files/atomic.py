"""Files that are whole or absent: written under a temporary name, synced, then renamed.

A process killed at any moment leaves the earlier file or the new one, never half of either.
"""

import contextlib
import io
import json
import math
import os
from pathlib import Path
import secrets
from typing import Any, BinaryIO, Iterator, Mapping

import numpy as np


class OutputError(OSError):
  """A file could not be written: the disk is full, or the place cannot be written to."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens a binary file that takes the place of `path` when the block ends without an error.

  Missing folders above `path` are made. Whatever goes wrong, `path` keeps its earlier content and
  the temporary file is removed.

  Args:
    path: the file to write.
  Yields:
    the temporary file, open for writing, in the folder of `path`.
  Raises:
    OutputError: naming `path`, for any OSError while writing.
  """
  path = Path(path)
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(temporary, "xb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync_folder(path.parent)
  except OSError as error:
    reason = error.strerror or str(error)
    raise OutputError(f"Cannot write {path}: {reason}. An earlier file there is intact.") from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink()


def write_bytes(path: str | os.PathLike, content: bytes | memoryview) -> None:
  """Replaces `path` by `content`; raises OutputError as `replacing` does."""
  with replacing(path) as file:
    file.write(content)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Replaces `path` by `text` in UTF-8; raises OutputError as `replacing` does."""
  write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, value: Any) -> None:
  """Replaces `path` by `value` as indented JSON; numbers that are not finite become null."""
  write_text(path, json.dumps(json_safe(value), indent=2, allow_nan=False) + "\n")


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
  """The content of an npz file of `arrays`: the same arrays give the same bytes.

  Raises:
    ValueError: for an array of objects, which could only be read back by running code.
  """
  for name, array in arrays.items():
    if np.asarray(array).dtype.hasobject:
      raise ValueError(f"Array {name!r} holds Python objects, which an npz here never does.")
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]  # none has another's name
  return buffer.getvalue()


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
  """Replaces `path` by an npz file of `arrays`; raises OutputError or ValueError as above."""
  write_bytes(path, npz_bytes(arrays))


def json_safe(value: Any) -> Any:
  """`value` in what JSON knows.

  Mappings become dicts with string keys, sequences and arrays lists, paths strings, and numbers
  that are not finite None.

  Raises:
    TypeError: for a value that has no such form.
  """
  if isinstance(value, (str, bool, int, type(None))):
    return value
  if isinstance(value, float):
    return float(value) if math.isfinite(value) else None
  if isinstance(value, Mapping) or hasattr(value, "to_dict"):
    return {str(key): json_safe(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [json_safe(item) for item in value]
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if isinstance(value, (np.generic, np.ndarray)) or hasattr(value, "__array__"):
    return json_safe(np.asarray(value).tolist())
  raise TypeError(f"{type(value).__name__} {value!r} has no form in JSON.")


def _sync_folder(folder: Path) -> None:
  """Makes a rename in `folder` last through a loss of power, where the system can."""
  if os.name != "posix":
    return
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
