"""Files of arrays that a stranger made: npz, msgpack, folders of PNGs; read within bounds.

Nothing in a file is run, and nothing is allocated that the bytes of the file do not back.
"""

import ast
import io
import math
import os
from pathlib import Path
import re
import struct
from typing import Any
import zipfile

import ml_dtypes
import msgpack
import numpy as np

from ddjax.io.torch_file import MAX_BYTES, read_bytes

_MOST_PIXELS = 4096 * 4096  # of one image
_MOST_FILES = 100_000
_MOST_HEADER = 1024
_MOST_ITEMS = 1024  # of a msgpack list; flax writes lists as maps
_MOST_SAVED = 64  # how many times its own size a file may unpack to, beyond the following
_FREELY_UNPACKED = 1 << 30  # bytes
_PLAIN_DTYPE = re.compile(r"[<>|=]?([biufUS?]\d*|bool|u?int\d+|float\d+)")
_NDARRAY, _COMPLEX, _SCALAR = 1, 2, 3  # flax's types of extension


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The arrays of an npz.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: naming the file, for one that is damaged, holds Python objects, or more than
      `MAX_BYTES`.
  """
  content = read_bytes(path)
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
      entries = [entry for entry in file.infolist() if entry.filename.endswith(".npy")]
      if len(entries) > _MOST_ITEMS:
        raise ValueError(f"{len(entries)} arrays")
      total = sum(entry.file_size for entry in entries)
      if total > min(MAX_BYTES, max(_FREELY_UNPACKED, _MOST_SAVED * len(content))):
        raise ValueError(f"{total} bytes when unpacked, too many for a file of {len(content)}")
      return {
        entry.filename.removesuffix(".npy"): _read_npy(entry.filename, file.read(entry))
        for entry in entries
      }
  except Exception as error:  # damaged bytes raise errors of a dozen kinds
    reason = error or type(error).__name__
    raise ValueError(f"{path} is damaged or no npz of plain arrays: {reason}") from error


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
    reason = error or type(error).__name__
    raise ValueError(f"{path} is damaged or no msgpack of arrays: {reason}") from error


def read_png_folder(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
  """Reads `CLASS/*.png`, all of one size.

  Args:
    path: of the folder.
  Returns:
    images u8[n h w c], c = 3 if any has colour; labels i64[n]; names of the classes, in the order
    of their labels (by number, where all are numbers).
  Raises:
    ValueError: naming the folder or the file that is wrong.
  """
  folders = [entry for entry in Path(path).iterdir() if entry.is_dir() and entry.name[0] != "."]
  is_numbered = all(folder.name.isdecimal() for folder in folders)
  folders.sort(key=lambda folder: int(folder.name) if is_numbered else folder.name)
  files = [sorted(folder.glob("*.png")) for folder in folders]
  for folder, of_class in zip(folders, files):
    if not of_class:
      raise ValueError(f"{folder} holds no PNG.")
  count = sum(map(len, files))
  if not 0 < count <= _MOST_FILES:
    raise ValueError(f"{path} holds {count} PNGs in folders of classes.")
  images, room = [], MAX_BYTES
  for file in (file for of_class in files for file in of_class):
    images.append(_read_png(file))
    room -= images[-1].size
    if room < 0:
      raise ValueError(f"{path} holds more than {MAX_BYTES >> 30} GiB of pixels.")
  sizes = {image.shape[:2] for image in images}
  if len(sizes) > 1:
    raise ValueError(f"{path} holds images of several sizes: {sorted(sizes)} (height, width).")
  channels = max(image.shape[2] for image in images)
  images = [np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]
  labels = np.repeat(np.arange(len(files)), list(map(len, files)))
  return np.stack(images), labels, tuple(folder.name for folder in folders)


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
  dtype = _plain_dtype(header["descr"])
  data = content[file.tell() :]
  if math.prod(shape) * dtype.itemsize != len(data):
    raise ValueError(f"array {name} is {dtype}{list(shape)}, but has {len(data)} bytes")
  if not data:
    return np.zeros(shape, dtype)
  return np.frombuffer(data, dtype).reshape(shape, order="F" if header["fortran_order"] else "C")


def _extension(code: int, content: bytes) -> Any:
  """An array or a scalar, as flax stores them: shape, name of the dtype, bytes."""
  if code == _COMPLEX:
    return complex(*msgpack.unpackb(content))
  if code not in (_NDARRAY, _SCALAR):
    raise ValueError(f"an extension of the unknown type {code}")
  shape, name, data = msgpack.unpackb(content, max_array_len=_MOST_ITEMS)
  name = name.decode() if isinstance(name, bytes) else name
  dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else _plain_dtype(name)
  if not all(type(size) is int and size >= 0 for size in shape):
    raise ValueError("an array whose shape is none")
  if math.prod(shape) * dtype.itemsize != len(data):
    raise ValueError(f"an array {dtype}{list(shape)} of {len(data)} bytes")
  array = np.frombuffer(data, dtype).reshape(shape) if data else np.zeros(shape, dtype)
  return array if code == _NDARRAY else array[()]


def _plain_dtype(name: Any) -> np.dtype:
  """A dtype of numbers or text, by its name."""
  if type(name) is not str or not _PLAIN_DTYPE.fullmatch(name):
    raise ValueError(f"an array of {str(name)[:20]!r}: neither numbers nor text")
  return np.dtype(name)


def _read_png(path: Path) -> np.ndarray:
  """u8[h w c], c = 1 or 3."""
  from PIL import Image

  content = read_bytes(path)
  try:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
      if math.prod(image.size) > _MOST_PIXELS:
        raise ValueError(f"{image.size[0]} x {image.size[1]} pixels, too many")
      if image.mode not in ("1", "L", "RGB", "RGBA", "P"):
        raise ValueError(f"mode {image.mode!r}, where images of 8 bits a channel are needed")
      array = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
  except Exception as error:
    raise ValueError(f"{path} is no readable PNG: {error or type(error).__name__}") from error
  return array[..., None] if array.ndim == 2 else array
