"""Columns of parquet and Arrow files that a stranger made, read by pyarrow within bounds.

pyarrow is C++ and trusts what it is told. Every batch is validated in full before it is looked at:
unvalidated, a third of mutated Arrow streams end the process. Rows and bytes are counted. What an
Arrow stream could unpack (compressed buffers, dictionaries), which `datasets` never writes, is
refused; parquet is unpacked by a process of its own. The facts that parquet keeps of each column
are not asked for, as wrong ones end the process. Nothing in a file is run.
"""

import os
import struct
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
import pyarrow as pa

from ddjax.files.bounded import read_bytes
from ddjax.files.plain_arrays import most_unpacked
from ddjax.io.foreign.huggingface_folder import FILE, PARQUET, STREAM
from ddjax.io.foreign.parquet_process import open_parquet, unpack
from ddjax.io.foreign.pictures import MOST_PICTURES

_LONGEST_NAME = 200  # characters of a class's name
_HEADER, _COMPRESSION = 2, 3  # fields of the tables Message and RecordBatch of Arrow's flatbuffers


class Table(NamedTuple):
  """A file that has been opened.

  Attributes:
    schema: Arrow's.
    batches: (names of columns) -> batches of rows, each valid, that have at least these.
  """

  schema: pa.Schema
  batches: Callable[[list[str]], Iterator[pa.RecordBatch]]


def open_table(path: str | os.PathLike) -> Table:
  """Opens a parquet file, an Arrow stream or an Arrow file.

  Raises:
    FileNotFoundError: where there is no such file.
    Exception: of many kinds, here and while its batches are drawn, for damaged bytes or more than
      they may unpack to.
  """
  content = read_bytes(path)
  if content[:4] == PARQUET:
    return _open_parquet(path, content)
  if content[:8] == FILE:  # a stream, with an index behind it that is not needed
    return _open_stream(content[8:])
  if content[:4] == STREAM:
    return _open_stream(content)
  raise ValueError(f"it begins with the bytes {content[:4]!r}")


def plain_type(kind: pa.DataType) -> pa.DataType:
  """The type of what is stored, which an extension only names anew."""
  return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def depth(kind: pa.DataType) -> tuple[int, pa.DataType]:
  """How many lists lie around a type, and that type."""
  kind, around = plain_type(kind), 0
  while _is_list(kind):
    kind, around = plain_type(kind.value_type), around + 1
  return around, kind


def numbers(column: pa.Array) -> np.ndarray:
  """Lists of numbers, each of one length, as an array [rows ...].

  Raises:
    ValueError: for lists of several lengths, a missing value, or something else than numbers.
  """
  shape = [len(column)]
  column = _stored(column)
  while _is_list(column.type):
    if column.null_count:
      raise ValueError(f"{column.null_count} lists are missing")
    if pa.types.is_fixed_size_list(column.type):
      sizes = [column.type.list_size]
    else:
      sizes = np.unique(column.value_lengths().to_numpy(zero_copy_only=False)).tolist() or [0]
    if len(sizes) > 1:
      raise ValueError(f"lists have several lengths: {str(sizes[:8])[1:-1]}")
    shape.append(sizes[0])
    column = _stored(column.flatten())
  if not is_number(column.type):
    raise ValueError(f"a column of {str(column.type)[:40]}, not of numbers")
  if column.null_count:
    raise ValueError(f"{column.null_count} numbers are missing")
  return column.to_numpy(zero_copy_only=False).reshape(shape)


def texts(column: pa.Array) -> np.ndarray:
  """The values of a column of strings, as strings [rows].

  Raises:
    ValueError: for a missing value, or one that is too long for a name.
  """
  column = _stored(column)
  if column.null_count:
    raise ValueError(f"{column.null_count} labels are missing")
  found = column.to_pylist()
  longest = max(map(len, found), default=0)
  if longest > _LONGEST_NAME:
    raise ValueError(f"a label of {longest} characters, where names have up to {_LONGEST_NAME}")
  return np.array(found, np.str_)


def binaries(column: pa.Array) -> list[bytes | None]:
  """The values of a column of bytes, or of the field `bytes` of a column of structs."""
  column = _stored(column)
  if pa.types.is_struct(column.type):
    column = column.flatten()[column.type.get_field_index("bytes")]
  return column.to_pylist()


def is_number(kind: pa.DataType) -> bool:
  """Whether a type is one of whole numbers, of floats, or bool."""
  return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def is_text(kind: pa.DataType) -> bool:
  """Whether a type is one of strings."""
  return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_binary(kind: pa.DataType) -> bool:
  """Whether a type is one of bytes."""
  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
  return any(
    is_one(kind)
    for is_one in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
  )


def _stored(column: pa.Array) -> pa.Array:
  """What an extension stores."""
  return column.storage if isinstance(column, pa.ExtensionArray) else column


def _open_parquet(path: str | os.PathLike, content: bytes) -> Table:
  file = open_parquet(content)
  _check_rows(file.metadata.num_rows)

  def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
    stream = unpack(path, names, most_unpacked(len(content)))
    return _open_stream(stream).batches(names) if stream else iter(())

  return Table(file.schema_arrow, batches)


def _open_stream(content: bytes) -> Table:
  messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(content))
  for message in messages:
    if message.type == "dictionary":
      raise ValueError("it has dictionaries, which datasets never writes")
    if message.type == "record batch" and _is_compressed(message.metadata.to_pybytes()):
      raise ValueError("it is compressed, which datasets never does: save it as parquet instead")
  options = pa.ipc.IpcReadOptions(use_threads=False)
  stream = pa.ipc.open_stream(pa.BufferReader(content), options=options)
  return Table(stream.schema, lambda names: _checked(stream, most_unpacked(len(content))))


def _is_compressed(message: bytes) -> bool:
  """Whether the buffers of a record batch are compressed, by its flatbuffer."""

  def field(table: int, number: int) -> int | None:
    """Where a table's field lies, by the list of offsets that the table points back to."""
    (back,) = struct.unpack_from("<i", message, table)
    (size,) = struct.unpack_from("<H", message, table - back)
    if 4 + 2 * number >= size:
      return None
    (offset,) = struct.unpack_from("<H", message, table - back + 4 + 2 * number)
    return table + offset if offset else None

  (root,) = struct.unpack_from("<I", message)
  place = field(root, _HEADER)
  if place is None:
    raise ValueError("a batch without a header")
  (offset,) = struct.unpack_from("<I", message, place)
  return field(place + offset, _COMPRESSION) is not None


def _checked(batches: Any, most: int) -> Iterator[pa.RecordBatch]:
  """Batches that are valid, up to a number of rows and of bytes."""
  rows, room = 0, most
  for batch in batches:
    batch.validate(full=True)
    rows, room = rows + batch.num_rows, room - batch.nbytes
    _check_rows(rows)
    if room < 0:
      raise ValueError(f"more than {most} bytes when unpacked, too many for its size")
    yield batch


def _check_rows(rows: int) -> None:
  """Raises ValueError for more rows than a distilled set has."""
  if not 0 <= rows <= MOST_PICTURES:
    raise ValueError(f"{rows} rows, where a distilled set has up to {MOST_PICTURES}")
