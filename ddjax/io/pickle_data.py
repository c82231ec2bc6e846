"""Pickle streams of plain data and tensors, read by an interpreter that can run nothing.

Python's own unpickler imports and calls what a file names. This one knows the opcodes that build
containers, numbers and strings, and a table of constructors (`_CALLS`), each ours, each checking
its arguments; whatever else a stream asks for is refused by its name. It neither imports nor
recurses, and what it allocates is bounded by the length of the stream.
"""

import io
import math
import pickletools
from typing import Any, Callable, Iterator, Mapping, NamedTuple

import ml_dtypes
import numpy as np

_MOST_OPCODES = 200_000  # DC's results of 5 experiments, 20 networks each, need about a thousand
_MOST_AXES = 32
_MOST_BITS = 128  # of an integer; the magic number of old files has 77
_MOST_ENCODED = 64  # characters that one call turns into bytes; a NumPy scalar has 8
_STORAGE_DTYPES = {
  "torch.FloatStorage": "<f4",
  "torch.DoubleStorage": "<f8",
  "torch.HalfStorage": "<f2",
  "torch.LongStorage": "<i8",
  "torch.IntStorage": "<i4",
  "torch.ShortStorage": "<i2",
  "torch.CharStorage": "<i1",
  "torch.ByteStorage": "<u1",
  "torch.BoolStorage": "?",
  "torch.BFloat16Storage": ml_dtypes.bfloat16,
}
STORAGE_DTYPES = {name: np.dtype(dtype) for name, dtype in _STORAGE_DTYPES.items()}
_SCALAR_DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class RefusedError(ValueError):
  """A stream that asks for something that is no plain data; says for what, by name."""


class Storage(NamedTuple):
  """The flat values of a tensor in a file, `numel` of them, under `key`."""

  dtype: np.dtype
  key: str
  numel: int


class _Global:
  """Something of Python that a stream names; never looked up."""

  def __init__(self, name: str):
    self.name = name


class _Dtype:
  """A NumPy dtype in the making: `BUILD` tells its byte order."""

  def __init__(self, code: str):
    self.code = code


_MARK = object()


def read_pickle(
  content: bytes, start: int, read_storage: Callable[[Storage], np.ndarray]
) -> tuple[Any, int]:
  """Reads one pickled value.

  Args:
    content: that holds the stream.
    start: where it begins.
    read_storage: (Storage) -> its values [numel].
  Returns:
    the value, of dict (string or integer keys), list, tuple, str, bytes, int, float, bool, None and
    arrays; and where its stream ends. Containers may contain themselves: do not recurse into them.
  Raises:
    RefusedError: naming the first thing that is not plain data.
    ValueError: for a damaged stream.
  """
  machine = _Machine(read_storage)
  stream = io.BytesIO(content)
  stream.seek(start)
  try:
    for opcode, argument in _opcodes(stream):
      machine.step(opcode, argument)
    return _plain([machine.pop()])[0], stream.tell()
  except RefusedError:
    raise
  except Exception as error:  # damaged streams raise errors of a dozen kinds
    raise ValueError(f"damaged pickle: {error or type(error).__name__}") from error


def skip_pickle(content: bytes, start: int) -> int:
  """Where the stream that begins at `start` ends; builds nothing. Raises ValueError if damaged."""
  stream = io.BytesIO(content)
  stream.seek(start)
  try:
    for _ in _opcodes(stream):
      pass
  except RefusedError:
    raise
  except Exception as error:
    raise ValueError(f"damaged pickle: {error or type(error).__name__}") from error
  return stream.tell()


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
  """(name, argument) of every opcode up to STOP, unless there are too many."""
  for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
    if count >= _MOST_OPCODES:
      raise RefusedError(f"more than {_MOST_OPCODES} opcodes")
    yield opcode.name, argument


class _Machine:
  """The stack and the memo of a stream that is being read."""

  def __init__(self, read_storage: Callable[[Storage], np.ndarray]):
    self._stack: list[Any] = []
    self._memo: dict[int, Any] = {}
    self._read_storage = read_storage

  def pop(self) -> Any:
    """The topmost value, which may be no mark."""
    value = self._stack.pop()
    if value is _MARK:
      raise ValueError("a mark where a value must stand")
    return value

  def step(self, name: str, argument: Any) -> None:
    """Carries out one opcode."""
    stack = self._stack
    if name in _CONSTANTS:
      stack.append(_CONSTANTS[name]())
    elif name in _LITERALS:
      if type(argument) is int and argument.bit_length() > _MOST_BITS:
        raise RefusedError(f"an integer of {argument.bit_length()} bits")
      stack.append(argument)
    elif name in ("PROTO", "FRAME", "STOP"):
      pass
    elif name == "MARK":
      stack.append(_MARK)
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
      self._memo[argument] = stack[-1]
    elif name == "MEMOIZE":
      self._memo[len(self._memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
      stack.append(self._memo[argument])
    elif name == "POP":
      stack.pop()
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
      count = int(name[-1])
      stack.append(tuple([self.pop() for _ in range(count)][::-1]))
    elif name == "TUPLE":
      stack.append(tuple(self._to_mark()))
    elif name == "LIST":
      stack.append(_plain(self._to_mark()))
    elif name == "DICT":
      stack.append(_pairs(self._to_mark()))
    elif name == "APPEND":
      items = _plain([self.pop()])
      _of_type(stack[-1], list).extend(items)
    elif name == "APPENDS":
      items = _plain(self._to_mark())
      _of_type(stack[-1], list).extend(items)
    elif name == "SETITEM":
      value, key = self.pop(), self.pop()
      _of_type(stack[-1], dict).update(_pairs([key, value]))
    elif name == "SETITEMS":
      items = self._to_mark()
      _of_type(stack[-1], dict).update(_pairs(items))
    elif name == "GLOBAL":
      stack.append(_allowed(argument.replace(" ", ".")))
    elif name == "STACK_GLOBAL":
      attribute, module = _of_type(self.pop(), str), _of_type(self.pop(), str)
      stack.append(_allowed(f"{module}.{attribute}"))
    elif name == "BINPERSID":
      stack.append(self._storage(_of_type(stack.pop(), tuple)))
    elif name == "REDUCE":
      arguments = _of_type(stack.pop(), tuple)
      stack.append(_call(_of_type(stack.pop(), _Global).name, arguments))
    elif name == "BUILD":
      _set_byte_order(self.pop(), stack[-1])
    else:
      raise RefusedError(f"the opcode {name}, which plain data and tensors do not need")

  def _to_mark(self) -> list[Any]:
    """Pops everything above the last mark, and the mark."""
    items = []
    while (item := self._stack.pop()) is not _MARK:
      items.append(item)
    return items[::-1]

  def _storage(self, identity: tuple) -> np.ndarray:
    """What a persistent identity `("storage", type, key, place, numel)` stands for."""
    tag, kind, key, _, numel, *view = identity
    if tag != "storage" or not isinstance(kind, _Global) or view not in ([], [None]):
      raise RefusedError("a persistent identity that is no storage of a tensor")
    if kind.name not in STORAGE_DTYPES:
      raise RefusedError(f"a storage of type {kind.name}")
    dtype = STORAGE_DTYPES[kind.name]
    return self._read_storage(Storage(dtype, _of_type(key, str), _size(numel)))


def _plain(items: list[Any]) -> list[Any]:
  """`items`, if none of them is the name of something to be called."""
  for item in items:
    if isinstance(item, (_Global, _Dtype)):
      raise RefusedError(f"{getattr(item, 'name', 'numpy.dtype')} as a value")
  return items


def _pairs(items: list[Any]) -> dict[Any, Any]:
  """Alternating keys and values as a dict; keys are what can be hashed without recursion."""
  _plain(items)
  if len(items) % 2:
    raise ValueError("a dict with a key without a value")
  for key in items[::2]:
    if type(key) not in (str, int):
      raise RefusedError(f"a dict key of type {type(key).__name__}")
  return dict(zip(items[::2], items[1::2]))


def _of_type(value: Any, kind: type) -> Any:
  """`value`, if its type is exactly `kind`."""
  if type(value) is not kind:
    raise ValueError(f"a {type(value).__name__} where a {kind.__name__} must stand")
  return value


def _size(value: Any) -> int:
  """A count: an integer from 0 to 2^48."""
  if type(value) is not int or not 0 <= value < 2**48:
    raise ValueError("a size that is no integer from 0 to 2^48")
  return value


def _allowed(name: str) -> _Global:
  """The mark of a name that a stream may use."""
  if name not in _CALLS and name not in STORAGE_DTYPES:
    raise RefusedError(name)
  return _Global(name)


def _call(name: str, arguments: tuple) -> Any:
  """What the constructor `name` makes of its arguments."""
  if name not in _CALLS:
    raise RefusedError(f"a call of {name}")
  return _CALLS[name](*arguments)


def _empty_dict() -> dict:
  """An ordered dict, which opcodes fill; a plain dict keeps its order too."""
  return {}


def _rebuild_tensor(storage, offset, size, stride, *_) -> np.ndarray:
  """A view of a storage; whatever it shows must lie inside it, and not more than it holds."""
  storage, offset = _of_type(storage, np.ndarray), _size(offset)
  size = [_size(count) for count in _of_type(size, tuple)]
  stride = [_size(step) for step in _of_type(stride, tuple)]
  if len(size) != len(stride) or len(size) > _MOST_AXES or storage.ndim != 1:
    raise ValueError("a tensor whose size and stride do not suit each other")
  if not math.prod(size):
    return np.zeros(size, storage.dtype)
  last = offset + sum((count - 1) * step for count, step in zip(size, stride))
  if last >= len(storage) or math.prod(size) > len(storage):
    raise ValueError(f"a tensor {size} that is larger than its storage of {len(storage)} values")
  strides = [step * storage.itemsize for step in stride]
  return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _rebuild_parameter(data, *_) -> np.ndarray:
  """The tensor of a parameter."""
  return _of_type(data, np.ndarray)


def _torch_size(values) -> tuple:
  """A shape."""
  return _of_type(values, tuple)


def _numpy_dtype(code, *_) -> _Dtype:
  """The dtype of a NumPy scalar."""
  if code not in _SCALAR_DTYPES:
    raise RefusedError("a NumPy dtype that is no plain number")
  return _Dtype(code)


def _numpy_scalar(dtype, content) -> bool | int | float:
  """A NumPy scalar, as a number of Python."""
  code = _of_type(dtype, _Dtype).code
  if type(content) is not bytes or len(content) != np.dtype(code).itemsize:
    raise ValueError("a NumPy scalar of the wrong length")
  return np.frombuffer(content, code)[0].item()


def _encode(text, codec) -> bytes:
  """Bytes as old protocols write them: as text."""
  if codec != "latin1" or len(_of_type(text, str)) > _MOST_ENCODED:
    raise RefusedError("_codecs.encode of anything but the few bytes of a number")
  return text.encode("latin1")


def _set_byte_order(state: Any, target: Any) -> None:
  """The one use of BUILD that is known: the state of a NumPy dtype."""
  if not isinstance(target, _Dtype):
    raise RefusedError(f"setting the state of a {type(target).__name__}")
  if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|"):
    raise RefusedError("a NumPy dtype that is not little-endian")


_CONSTANTS = {
  "NONE": lambda: None,
  "NEWTRUE": lambda: True,
  "NEWFALSE": lambda: False,
  "EMPTY_TUPLE": tuple,
  "EMPTY_LIST": list,
  "EMPTY_DICT": dict,
}
_LITERALS = frozenset(
  {
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
  }
)
_CALLS: Mapping[str, Callable[..., Any]] = {
  "collections.OrderedDict": _empty_dict,
  "torch._utils._rebuild_tensor": _rebuild_tensor,
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_parameter": _rebuild_parameter,
  "torch.Size": _torch_size,
  "numpy.dtype": _numpy_dtype,
  "numpy.core.multiarray.scalar": _numpy_scalar,
  "numpy._core.multiarray.scalar": _numpy_scalar,
  "_codecs.encode": _encode,
}
