"""Arrays of numbers and text from an npz that anybody may have made; read within bounds.

Nothing in a file is run, and nothing is allocated that the bytes of the file do not back.
"""

import ast
import io
import math
import os
import re
import struct
from typing import Any
import zipfile

import numpy as np
from numpy.typing import ArrayLike

from ddjax.files.bounded import MAX_BYTES, read_bytes

_MOST_HEADER = 1024  # bytes
_MOST_ITEMS = 1024  # arrays of an npz
_MOST_SAVED = 64  # how many times its own size a file may unpack to, beyond the following
_FREELY_UNPACKED = 1 << 30  # bytes
_PLAIN_DTYPE = re.compile(r"[<>|=]?([biufUS?]\d*|bool|u?int\d+|float\d+)")


def bytes_of(array: ArrayLike) -> memoryview:
  """The bytes of an array of numbers or text in C order, for a digest."""
  return np.ascontiguousarray(array).view(np.uint8).data


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an npz, read-only.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: naming the file, for one that is damaged, holds Python objects, or more than
      `MAX_BYTES`.
  """
  return parse_npz(read_bytes(path), path)


def parse_npz(content: bytes, path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an npz whose bytes have been read; see `read_npz`."""
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
      entries = [entry for entry in file.infolist() if entry.filename.endswith(".npy")]
      if len(entries) > _MOST_ITEMS:
        raise ValueError(f"{len(entries)} arrays")
      total = sum(entry.file_size for entry in entries)
      if total > most_unpacked(len(content)):
        raise ValueError(f"{total} bytes when unpacked, too many for a file of {len(content)}")
      return {
        entry.filename.removesuffix(".npy"): _read_npy(entry.filename, file.read(entry))
        for entry in entries
      }
  except Exception as error:  # damaged bytes raise errors of a dozen kinds
    reason = str(error)[:300] or type(error).__name__  # a zip's may hold names of any length
    raise ValueError(f"{path} is damaged or no npz of plain arrays: {reason}") from error


def most_unpacked(size: int) -> int:
  """Bytes that a file of `size` bytes may unpack to."""
  return min(MAX_BYTES, max(_FREELY_UNPACKED, _MOST_SAVED * size))


def plain_dtype(name: Any) -> np.dtype:
  """A dtype of numbers or text, by its name."""
  if type(name) is not str or not _PLAIN_DTYPE.fullmatch(name):
    raise ValueError(f"an array of {str(name)[:20]!r}: neither numbers nor text")
  return np.dtype(name)


def _read_npy(name: str, content: bytes) -> np.ndarray:
  """An array in NumPy's format, whose header must suit the length of its content."""
  file = io.BytesIO(content)
  version = np.lib.format.read_magic(file)
  width = "<H" if version == (1, 0) else "<I"
  (length,) = struct.unpack(width, file.read(struct.calcsize(width)))
  if length > _MOST_HEADER:
    raise ValueError(f"array {name} has a header of {length} bytes")
  header = ast.literal_eval(file.read(length).decode("latin1" if version < (3, 0) else "utf-8"))
  shape = header["shape"]
  if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
    raise ValueError(f"array {name} has the shape {str(shape)[:40]}")
  dtype = plain_dtype(header["descr"])
  data = content[file.tell() :]
  if math.prod(shape) * dtype.itemsize != len(data):
    raise ValueError(f"array {name} is {dtype}{list(shape)}, but has {len(data)} bytes")
  if not data:
    return np.zeros(shape, dtype)
  return np.frombuffer(data, dtype).reshape(shape, order="F" if header["fortran_order"] else "C")
