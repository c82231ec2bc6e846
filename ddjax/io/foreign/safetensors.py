"""safetensors, Hugging Face's file of tensors, read within bounds and without its package.

The file is 8 bytes, the length of the header (little-endian); the header, JSON of {name: {"dtype",
"shape", "data_offsets": [begin, end]}}; the raw values, little-endian and in the order of rows,
without holes. Source: https://github.com/huggingface/safetensors (the README, "Format").
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Iterator

import ml_dtypes
import numpy as np

from ddjax.files.bounded import read_bytes
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.named_arrays import set_of_tensors

_DTYPES = {
  "F64": np.dtype("<f8"),
  "F32": np.dtype("<f4"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "I64": np.dtype("<i8"),
  "I32": np.dtype("<i4"),
  "I16": np.dtype("<i2"),
  "I8": np.dtype("i1"),
  "U32": np.dtype("<u4"),
  "U16": np.dtype("<u2"),
  "U8": np.dtype("u1"),
  "BOOL": np.dtype("u1"),
}
_MOST_HEADER = 1 << 20  # bytes; a distilled set is a handful of tensors
_MOST_TENSORS = 1024
_MOST_AXES = 16


def is_safetensors(head: bytes, size: int) -> bool:
  """Whether a file of `size` bytes that begins with `head`, 9 bytes, has the form."""
  length = int.from_bytes(head[:8], "little")
  return head[8:9] == b"{" and 2 <= length <= min(_MOST_HEADER, size - 8)


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The tensors of a file, as read-only arrays.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: naming the file, for a damaged one, or a type that is not in the table above.
  """
  content = read_bytes(path)
  try:
    if not is_safetensors(content[:9], len(content)):
      raise ValueError("it does not begin with the length of its header and a brace")
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(
      content[8:start], object_pairs_hook=_without_repeats, parse_constant=_refuse
    )
    header.pop("__metadata__", None)
    if len(header) > _MOST_TENSORS:
      raise ValueError(f"{len(header)} tensors")
    return dict(_tensors(header, content[start:]))
  except Exception as error:  # damaged JSON raises errors of several kinds
    reason = str(error)[:300] or type(error).__name__
    raise ValueError(f"{path} is damaged or no file of safetensors: {reason}") from error


def read_set(path: Path, options: ForeignOptions) -> ForeignSet:
  """Tensors under the names that people give images and labels, as of the layout "tensors"."""
  return set_of_tensors(path, "safetensors", read_safetensors(path), options)


def _tensors(header: dict[str, Any], data: bytes) -> Iterator[tuple[str, np.ndarray]]:
  """(name, array) of each tensor; together they are all of `data`."""
  place = 0
  for name, facts in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
    label, (begin, end), dtype = name[:40], facts["data_offsets"], _DTYPES.get(facts["dtype"])
    if dtype is None:
      raise ValueError(f"tensor {label!r} is of the type {str(facts['dtype'])[:20]!r}")
    shape = facts["shape"]
    if len(shape) > _MOST_AXES or not all(type(size) is int and size >= 0 for size in shape):
      raise ValueError(f"tensor {label!r} has the shape {str(shape)[:60]}")
    if not (type(begin) is type(end) is int and place == begin <= end <= len(data)):
      raise ValueError(
        f"tensor {label!r} is said to lie at {str(begin)[:20]} to {str(end)[:20]} of {len(data)} "
        f"bytes, where {place} is next"
      )
    if math.prod(shape) * dtype.itemsize != end - begin:
      raise ValueError(f"tensor {label!r} is {dtype}{shape}, but has {end - begin} bytes")
    place = end
    array = np.frombuffer(data, dtype, count=(end - begin) // dtype.itemsize, offset=begin)
    array = array.view(bool) if facts["dtype"] == "BOOL" else array
    yield name, array.reshape(shape)
  if place != len(data):
    raise ValueError(f"{len(data) - place} bytes belong to no tensor")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A dict of JSON, whose keys must differ."""
  found = dict(pairs)
  if len(found) < len(pairs):
    raise ValueError("its header has a key twice")
  return found


def _refuse(name: str) -> None:
  """Raises ValueError for NaN and the infinities, which JSON does not have."""
  raise ValueError(f"its header holds {name}")
