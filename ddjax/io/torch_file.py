"""PyTorch's `.pt` files without PyTorch: read without running anything in them, and written.

Since release 1.6 such a file is a zip without compression:

  NAME/data.pkl    a pickle of the value, in which tensors point to storages
  NAME/data/KEY    the raw values of a storage
  NAME/byteorder   "little" or "big"; newer releases only
  NAME/version     "3"

Before, it was one stream: pickles of a magic number, of the protocol (1001), of facts on the
machine, of the value, and of the list of storage keys; then every storage, its length in front.
"""

import io
import os
import pickle
import struct
from typing import Any
import zipfile

import numpy as np

from ddjax.files import atomic
from ddjax.files.bounded import read_bytes
from ddjax.io.pickle_data import (
  STORAGE_DTYPES,
  RefusedError,
  Storage,
  read_pickle,
  skip_pickle,
)

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DATE = (1980, 1, 1, 0, 0, 0)
_STORAGE_NAMES = {dtype: name for name, dtype in STORAGE_DTYPES.items()}


def read_torch(path: str | os.PathLike) -> Any:
  """Reads what `torch.save` wrote, of tensors and plain data alone.

  Args:
    path: of the file.
  Returns:
    dict, list, tuple, str, int, float, bool, None, and tensors as read-only arrays (bfloat16 as
    float32). Containers may contain themselves: do not recurse into them.
  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: naming the file, for one that is damaged, no such file, or asks for anything else
      (which is named). Nothing in it is run.
  """
  content = read_bytes(path)
  try:
    return _read_zip(content) if content[:2] == b"PK" else _read_stream(content)
  except RefusedError as error:
    raise ValueError(
      f"{path} is refused, and nothing in it was run: it asks for {error}. Only tensors, numbers, "
      "strings and containers of them are read."
    ) from error
  except Exception as error:  # damaged bytes raise errors of a dozen kinds
    reason = str(error)[:300] or type(error).__name__  # a zip's may hold names of any length
    raise ValueError(f"{path} is damaged or no file of torch.save: {reason}") from error


def write_torch(path: str | os.PathLike, value: Any) -> None:
  """Writes what `torch.load(path, weights_only=True)` reads; the same value gives the same bytes.

  Args:
    path: of the file, replaced as a whole.
    value: nested dict (string keys), list, tuple, str, int, float, bool, None and arrays of a dtype
      that PyTorch has.
  Raises:
    ValueError: naming a type or dtype that cannot be written.
    atomic.OutputError: where the file cannot be written; an earlier one stays.
  """
  storages: list[bytes] = []
  parts = [pickle.PROTO, b"\x02", *_opcodes(value, storages), pickle.STOP]
  records = {"data.pkl": b"".join(parts), "byteorder": b"little", "version": b"3\n"}
  records |= {f"data/{key}": content for key, content in enumerate(storages)}
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
    for name, content in records.items():
      file.writestr(zipfile.ZipInfo(f"archive/{name}", _DATE), content)
  atomic.write_bytes(path, buffer.getvalue())


def _read_zip(content: bytes) -> Any:
  """The value of a file since release 1.6."""
  with zipfile.ZipFile(io.BytesIO(content)) as file:
    budget = [len(content)]  # records may overlap in a file made to explode

    def record(name: str) -> bytes:
      entry = file.getinfo(name)
      if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"record {name} is compressed, which torch.save never does")
      budget[0] -= entry.file_size
      if budget[0] < 0:
        raise ValueError("its records are larger than the file")
      return file.read(entry)

    names = file.namelist()
    folders = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(folders) != 1:
      raise ValueError(f"a zip with {len(folders)} records */data.pkl instead of one")
    (folder,) = folders
    if f"{folder}byteorder" in names and record(f"{folder}byteorder") != b"little":
      raise ValueError("its numbers are not little-endian")
    storages: dict[str, np.ndarray] = {}

    def read_storage(storage: Storage) -> np.ndarray:
      if storage.key not in storages:
        storages[storage.key] = _values(storage, record(f"{folder}data/{storage.key}"))
      return _same(storage, storages[storage.key])

    return read_pickle(record(f"{folder}data.pkl"), 0, read_storage)[0]


def _read_stream(content: bytes) -> Any:
  """The value of a file before release 1.6: storages follow it, so it is skipped at first."""
  is_pickle = content[:1] == pickle.PROTO
  magic, place = read_pickle(content, 0, _no_storage) if is_pickle else (None, 0)
  if magic != _MAGIC_NUMBER:
    raise ValueError("neither a zip nor a stream with the magic number of torch.save")
  protocol, place = read_pickle(content, place, _no_storage)
  if protocol != _PROTOCOL:
    raise ValueError(f"protocol {str(protocol)[:20]} instead of {_PROTOCOL}")
  start = skip_pickle(content, place)
  keys, data_start = read_pickle(content, skip_pickle(content, start), _no_storage)
  if type(keys) is not list or not all(type(key) is str for key in keys):
    raise ValueError("its list of storages is no list of names")
  storages: dict[str, np.ndarray] = {}
  declared: dict[str, Storage] = {}

  def declare(storage: Storage) -> np.ndarray:
    declared[storage.key] = storage
    return np.lib.stride_tricks.as_strided(np.zeros(1, storage.dtype), (storage.numel,), (0,))

  read_pickle(content, start, declare)  # which storages there are, and of which types
  place = data_start
  for key in keys:
    (numel,) = struct.unpack_from("<q", content, place)
    storage = declared[key]
    end = place + 8 + numel * storage.dtype.itemsize
    if numel < 0 or end > len(content):
      raise ValueError(f"storage {key} is cut off")
    storages[key] = _values(storage, content[place + 8 : end])
    place = end
  return read_pickle(content, start, lambda storage: _same(storage, storages[storage.key]))[0]


def _no_storage(storage: Storage) -> np.ndarray:
  """For streams in which no tensor may stand."""
  raise ValueError("a tensor in the head of the file")


def _values(storage: Storage, content: bytes) -> np.ndarray:
  """The values of a storage [numel], exactly as many bytes as declared."""
  if len(content) != storage.numel * storage.dtype.itemsize:
    raise ValueError(
      f"storage {storage.key} has {len(content)} bytes, not {storage.numel} x "
      f"{storage.dtype.itemsize}"
    )
  values = np.frombuffer(content, storage.dtype)
  return values.astype(np.float32) if storage.dtype.kind == "V" else values


def _same(storage: Storage, values: np.ndarray) -> np.ndarray:
  """The values of a storage that was read before, if it is declared as it was then."""
  dtype = np.dtype(np.float32) if storage.dtype.kind == "V" else storage.dtype
  if (dtype, storage.numel) != (values.dtype, len(values)):
    raise ValueError(f"storage {storage.key} is declared in two ways")
  return values


def _opcodes(value: Any, storages: list[bytes]) -> list[bytes]:
  """The opcodes that make a value; the bytes of its arrays join `storages`."""
  kind = type(value)
  if value is None:
    return [pickle.NONE]
  if kind is bool:
    return [pickle.NEWTRUE if value else pickle.NEWFALSE]
  if kind is int:
    content = pickle.encode_long(value)
    return [pickle.LONG1, bytes([len(content)]), content]
  if kind is float:
    return [pickle.BINFLOAT, struct.pack(">d", value)]
  if kind is str:
    text = value.encode()
    return [pickle.BINUNICODE, struct.pack("<I", len(text)), text]
  if kind is tuple:
    return [pickle.MARK, *_joined(value, storages), pickle.TUPLE]
  if kind is list:
    return [pickle.EMPTY_LIST, pickle.MARK, *_joined(value, storages), pickle.APPENDS]
  if kind is dict:
    items = [part for item in value.items() for part in item]
    return [pickle.EMPTY_DICT, pickle.MARK, *_joined(items, storages), pickle.SETITEMS]
  if kind is np.ndarray:
    return _tensor_opcodes(value, storages)
  raise ValueError(f"A {kind.__name__} cannot be written to a .pt file.")


def _joined(values: Any, storages: list[bytes]) -> list[bytes]:
  """The opcodes of several values, one after another."""
  return [opcode for value in values for opcode in _opcodes(value, storages)]


def _tensor_opcodes(array: np.ndarray, storages: list[bytes]) -> list[bytes]:
  """A tensor with a storage of its own, as `torch.save` writes it."""
  array = np.asarray(array, order="C")
  dtype = array.dtype.newbyteorder("<")
  if dtype not in _STORAGE_NAMES:
    raise ValueError(f"PyTorch has no storage of {array.dtype}.")
  key = str(len(storages))
  storages.append(array.astype(dtype).tobytes())
  stride = tuple(step // array.itemsize for step in array.strides)
  return [
    *_name("torch._utils._rebuild_tensor_v2"),
    pickle.MARK,
    pickle.MARK,
    *_opcodes("storage", storages),
    *_name(_STORAGE_NAMES[dtype]),
    *_joined((key, "cpu", array.size), storages),
    pickle.TUPLE,
    pickle.BINPERSID,
    *_joined((0, array.shape, stride, False), storages),
    *_name("collections.OrderedDict"),
    pickle.EMPTY_TUPLE,
    pickle.REDUCE,
    pickle.TUPLE,
    pickle.REDUCE,
  ]


def _name(name: str) -> list[bytes]:
  """Something of Python, by its name."""
  module, _, attribute = name.rpartition(".")
  return [pickle.GLOBAL, f"{module}\n{attribute}\n".encode()]
