"""Files that a stranger made: msgpack, and folders of pictures; read within bounds.

Nothing in a file is run, and nothing is allocated that the bytes of the file do not back.
"""

from functools import partial
import math
import os
from pathlib import Path
import re
from typing import Any

import ml_dtypes
import msgpack
import numpy as np

from ddjax.files.bounded import read_bytes
from ddjax.files.plain_arrays import plain_dtype
from ddjax.io.foreign.pictures import MOST_PICTURES, stack_pictures

_MOST_ITEMS = 1024  # of a msgpack list; flax writes lists as maps
_NUMBERED = re.compile(r"(\d{1,9})(_.*)?")
PICTURES = (".png", ".jpg", ".jpeg")
_NDARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # flax's types of extension


def read_msgpack(path: str | os.PathLike) -> Any:
  """What flax's `msgpack_serialize` wrote: nested dicts of arrays, numbers and strings.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: naming the file, for a damaged one.
  """
  content = read_bytes(path)
  try:
    return msgpack.unpackb(
      content, ext_hook=_extension, strict_map_key=False, max_array_len=_MOST_ITEMS
    )
  except Exception as error:
    reason = str(error)[:300] or type(error).__name__
    raise ValueError(f"{path} is damaged or no msgpack of arrays: {reason}") from error


def class_number(name: str) -> int | None:
  """7 of `7` and of `07_horse`; None for a name without a number in front."""
  found = _NUMBERED.fullmatch(name)
  return int(found[1]) if found else None


def list_files(folder: Path, *suffixes: str) -> list[Path]:
  """The files of a folder that end so, in either case, in order; none that begins with a dot."""
  return sorted(
    file
    for file in folder.iterdir()
    if file.suffix.lower() in suffixes and file.name[0] != "." and file.is_file()
  )


def has_class_folders(path: Path) -> bool:
  """Whether a folder has folders of pictures."""
  return any(
    list_files(folder, *PICTURES)
    for folder in path.iterdir()
    if folder.is_dir() and folder.name[0] != "."
  )


def read_picture_folder(
  path: str | os.PathLike, max_value: float | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
  """Reads `CLASS/*.png`, or .jpg, all of one size; names that begin with a dot are left out.

  Args:
    path: of the folder.
    max_value: the value of white in pictures of 16 bits; None: 65535.
  Returns:
    images u8[n h w c], c = 3 if any has colour; labels i64[n]; names of the classes, in the order
    of their labels (by number, where all have one).
  Raises:
    ValueError: naming the folder or the file that is wrong.
  """
  folders = [entry for entry in Path(path).iterdir() if entry.is_dir() and entry.name[0] != "."]
  numbers = {folder.name: class_number(folder.name) for folder in folders}
  if None in numbers.values():
    folders.sort(key=lambda folder: folder.name)
  else:
    if len(set(numbers.values())) < len(numbers):
      raise ValueError(f"{path} has two folders of one number: {', '.join(sorted(numbers))}.")
    folders.sort(key=lambda folder: numbers[folder.name] or 0)
  files = [list_files(folder, *PICTURES) for folder in folders]
  for folder, of_class in zip(folders, files):
    if not of_class:
      raise ValueError(f"{folder} holds no PNG or JPEG.")
  count = sum(map(len, files))
  if not 0 < count <= MOST_PICTURES:
    raise ValueError(
      f"{path} holds {count} pictures in folders of classes, where it needs 1 to {MOST_PICTURES}."
    )
  pictures = ((file, partial(read_bytes, file)) for of_class in files for file in of_class)
  images = stack_pictures(path, pictures, ("PNG", "JPEG"), max_value)
  labels = np.repeat(np.arange(len(files)), list(map(len, files)))
  return images, labels, tuple(folder.name for folder in folders)


def _extension(code: int, content: bytes) -> Any:
  """An array or a scalar, as flax stores them: shape, name of the dtype, bytes."""
  if code == _COMPLEX:
    return complex(*msgpack.unpackb(content))
  if code not in (_NDARRAY, _SCALAR):
    raise ValueError(f"an extension of the unknown type {code}")
  shape, name, data = msgpack.unpackb(content, max_array_len=_MOST_ITEMS)
  name = name.decode() if isinstance(name, bytes) else name
  dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else plain_dtype(name)
  if not all(type(size) is int and size >= 0 for size in shape):
    raise ValueError("an array whose shape is none")
  if math.prod(shape) * dtype.itemsize != len(data):
    raise ValueError(f"an array {dtype}{list(shape)} of {len(data)} bytes")
  array = np.frombuffer(data, dtype).reshape(shape) if data else np.zeros(shape, dtype)
  return array if code == _NDARRAY else array[()]
