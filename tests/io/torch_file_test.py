"""`.pt` files: as PyTorch wrote them, booby-trapped, made to explode, and written by us."""

import os
from pathlib import Path
import pickle
import pickletools
import zipfile

import numpy as np
import pytest

from ddjax.io import torch_file
from ddjax.io.torch_file import read_torch, write_torch

_REFERENCE = Path("tests/reference")
_TENSOR = pickle.GLOBAL + b"torch._utils\n_rebuild_tensor_v2\n"
_ORDERED = pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE


def _zip(path, program, storages=(), compression=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", compression) as file:
    file.writestr("archive/data.pkl", b"\x80\x02" + program + pickle.STOP)
    for key, content in enumerate(storages):
      file.writestr(f"archive/data/{key}", content)
  return path


def _number(value):
  content = pickle.encode_long(value)
  return pickle.LONG1 + bytes([len(content)]) + content


def _numbers(*values):
  return pickle.MARK + b"".join(map(_number, values)) + pickle.TUPLE


def _tensor(offset, size, stride, numel, kind=b"FloatStorage", key=b"0"):
  """The opcodes of a tensor."""
  storage = b"".join(
    [
      pickle.MARK + b"X\x07\x00\x00\x00storage" + pickle.GLOBAL + b"torch\n" + kind + b"\n",
      b"X\x01\x00\x00\x00" + key + b"X\x03\x00\x00\x00cpu" + _number(numel),
      pickle.TUPLE + pickle.BINPERSID,
    ]
  )
  shape = _numbers(*size) + _numbers(*stride)
  rest = pickle.NEWFALSE + _ORDERED + pickle.TUPLE + pickle.REDUCE
  return _TENSOR + pickle.MARK + storage + _number(offset) + shape + rest


@pytest.mark.parametrize("name", ["torch_file.pt", "torch_file_legacy.pt"])
def test_reads_what_pytorch_wrote(name):
  value = read_torch(_REFERENCE / name)
  with np.load(_REFERENCE / "torch_file.npz") as expected:
    np.testing.assert_array_equal(value["data"][0][0], expected["half"])
    assert value["data"][0][0].dtype == np.float16
    np.testing.assert_array_equal(value["data"][1][0], expected["images"])
    for key in ("bfloat16", "parameter", "mask"):
      np.testing.assert_array_equal(value[key], expected[key])
    for experiment in value["data"]:
      np.testing.assert_array_equal(experiment[1], expected["labels"])
  assert value["accs_all_exps"] == {"ConvNet": [0.25, 0.5]}
  assert value["rate"].shape == () and value["rate"] == np.float32(0.01)


def test_writes_what_it_reads_and_the_same_bytes_again(tmp_path):
  rng = np.random.default_rng(0)
  value = {
    "images": rng.normal(size=(2, 3, 4, 5)).astype(np.float32).transpose(0, 2, 3, 1),
    "list": [np.arange(3), None, True, False, -5, 2**40, 0.1, "é"],
    "tuple": (np.float16([[1], [2]]), np.array([True, False]), np.zeros((0, 3)), np.array(0.5)),
  }
  for name in ("a.pt", "b.pt"):
    write_torch(tmp_path / name, value)
  assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
  back = read_torch(tmp_path / "a.pt")
  np.testing.assert_array_equal(back["images"], value["images"])
  np.testing.assert_array_equal(back["list"][0], np.arange(3))
  assert back["list"][1:] == value["list"][1:] and type(back["tuple"]) is tuple
  for one, other in zip(back["tuple"], value["tuple"]):
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype


def test_writes_opcodes_that_pytorch_reads_with_weights_only(tmp_path):
  """Its reader knows these among others (PyTorch 2.13; tried there by hand)."""
  known = (
    "PROTO EMPTY_DICT EMPTY_LIST EMPTY_TUPLE MARK TUPLE APPENDS SETITEMS BINUNICODE LONG1 BINFLOAT "
    "NONE NEWTRUE NEWFALSE GLOBAL BINPERSID REDUCE STOP"
  )
  value = {"x": [np.zeros(2, np.float32), 1, 0.5, None, True, False, ()], "y": {"z": ("a", [])}}
  write_torch(tmp_path / "a.pt", value)
  with zipfile.ZipFile(tmp_path / "a.pt") as file:
    opcodes = pickletools.genops(file.read("archive/data.pkl"))
    assert {opcode.name for opcode, _, _ in opcodes} == set(known.split())


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["a"]), np.zeros(2, complex), 1j])
def test_refuses_to_write_what_pytorch_could_not_read(tmp_path, value):
  with pytest.raises(ValueError, match="cannot be written|no storage"):
    write_torch(tmp_path / "a.pt", {"x": value})
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("module", "name"),
  [
    ("builtins", "eval"),
    ("posix", "system"),
    ("torch.serialization", "load"),
    ("numpy", "load"),
    ("collections", "deque"),
    ("torch._utils", "_rebuild_wrapper_subclass"),
  ],
)
@pytest.mark.parametrize("layout", ["zip", "legacy", "stack_global", "inst"])
def test_a_booby_trap_is_refused_by_name_and_not_run(tmp_path, monkeypatch, module, name, layout):
  monkeypatch.setattr("builtins.__import__", _no_import)
  words = f"{module}\n{name}\n".encode()
  arguments = b"(X\x07\x00\x00\x00touch /" + pickle.TUPLE + pickle.REDUCE
  program = pickle.GLOBAL + words + arguments
  if layout == "stack_global":
    texts = [
      pickle.BINUNICODE + len(text).to_bytes(4, "little") + text.encode() for text in (module, name)
    ]
    program = b"".join(texts) + pickle.STACK_GLOBAL + arguments
  elif layout == "inst":
    program = b"(" + pickle.INST + words
  path = tmp_path / "a.pt"
  if layout == "legacy":
    head = [torch_file._MAGIC_NUMBER, torch_file._PROTOCOL, {}]
    path.write_bytes(b"".join(pickle.dumps(x, 2) for x in head) + program + b"." + b"].")
  else:
    _zip(path, program)
  with pytest.raises(ValueError, match="is refused, and nothing in it was run") as error:
    read_torch(path)
  assert (f"{module}.{name}" if layout != "inst" else "opcode INST") in str(error.value)


def _no_import(name, *arguments, **options):
  raise AssertionError(f"import of {name}")


def test_a_trap_of_pythons_pickle_does_not_run(tmp_path):
  class Trap:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / "ran"),)

  content = pickle.dumps({"data": [Trap()]}, 2)
  pickle.loads(content)  # the trap works
  os.rmdir(tmp_path / "ran")
  with pytest.raises(ValueError, match=r"posix\.mkdir|nt\.mkdir"):
    read_torch(_zip(tmp_path / "a.pt", content[2:-1]))
  assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
  ("program", "message"),
  [
    (_ORDERED + pickle.EMPTY_DICT + pickle.BUILD, "setting the state of a dict"),
    (_TENSOR + b")" + pickle.NEWOBJ, "opcode NEWOBJ"),
    (_TENSOR + b"(K\x01" + pickle.TUPLE + pickle.REDUCE, "damaged"),
    (pickle.GLOBAL + b"torch\nFloatStorage\n)R", "a call of torch.FloatStorage"),
    (b"cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R", "a NumPy dtype that is no plain number"),
    (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR", "_codecs.encode"),
    (b"}()K\x01u", "a dict key of type tuple"),
    (pickle.GLOBAL + b"torch\nSize\n", "torch.Size as a value"),
    (b"]" + pickle.GLOBAL + b"torch\nSize\na", "torch.Size as a value"),
    (b"Pname\n", "opcode PERSID"),
    (b"\x82\x01", "opcode EXT1"),
    (b"]" * 300_000, "more than 200000 opcodes"),
    (b"\x8b" + (1000).to_bytes(4, "little") + b"\x01" * 1000, "an integer of 7993 bits"),
    (b"\x8e" + (2**62).to_bytes(8, "little"), "damaged"),
    (b"0", "damaged"),
    (b"", "damaged"),
    (b"h\x05", "damaged"),
    (b"K\x01K\x02a", "damaged"),
  ],
)
def test_misused_opcodes_and_bombs_are_a_clear_error(tmp_path, program, message):
  with pytest.raises(ValueError, match=message) as error:
    read_torch(_zip(tmp_path / "a.pt", program))
  assert "a.pt" in str(error.value)


@pytest.mark.parametrize(
  ("offset", "size", "stride", "numel"),
  [
    (0, (2, 3), (3, 1), 5),  # the storage is not as long as declared
    (1, (2, 3), (3, 1), 6),
    (0, (2, 3), (4, 1), 6),
    (0, (2**40,), (0,), 6),  # petabytes that are one number
    (0, (2**40, 2**40), (0, 0), 6),
    (0, (2,), (-1,), 6),
    (0, (2, 3), (3,), 6),
    (-1, (2,), (1,), 6),
    (0, (2**60,), (1,), 6),
    (0, (1,) * 40, (1,) * 40, 6),
    (0, (6,), (1,), 2**47),
  ],
)
def test_a_tensor_must_lie_inside_its_storage(tmp_path, offset, size, stride, numel):
  path = _zip(tmp_path / "a.pt", _tensor(offset, size, stride, numel), [bytes(24)])
  with pytest.raises(ValueError, match="a.pt is damaged"):
    read_torch(path)


def test_a_tensor_inside_its_storage_is_read(tmp_path):
  content = np.arange(6, dtype=np.float32).tobytes()
  path = _zip(tmp_path / "a.pt", _tensor(1, (2, 2), (2, 1), 6), [content])
  np.testing.assert_array_equal(read_torch(path), [[1, 2], [3, 4]])


def test_other_zips_are_refused(tmp_path):
  good = _tensor(0, (6,), (1,), 6)
  path = _zip(tmp_path / "a.pt", good, [bytes(24)], zipfile.ZIP_DEFLATED)
  with pytest.raises(ValueError, match="data.pkl is compressed"):
    read_torch(path)
  path = _zip(tmp_path / "a.pt", _tensor(0, (6,), (1,), 6, kind=b"ComplexFloatStorage"), [b""])
  with pytest.raises(ValueError, match="asks for torch.ComplexFloatStorage"):
    read_torch(path)
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("readme.txt", "nothing")
  with pytest.raises(ValueError, match="a zip with 0 records"):
    read_torch(path)
  with pytest.raises(FileNotFoundError, match="none.pt"):
    read_torch(tmp_path / "none.pt")


def test_what_contains_itself_or_nests_deeply_is_harmless(tmp_path):
  loop = read_torch(_zip(tmp_path / "a.pt", b"]q\x00h\x00a"))
  assert loop[0] is loop
  deep = read_torch(_zip(tmp_path / "b.pt", b")" + b"\x85" * 150_000))
  assert type(deep) is tuple
