"""Files of safetensors: read as tensors of a `.pt` file are; those that lie are refused."""

import json

import ml_dtypes
import numpy as np
import pytest

from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import read_foreign
from ddjax.io.foreign.safetensors import read_safetensors
from ddjax.io.torch_file import write_torch
from tests.io import foreign_files as files

_DTYPES = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": ml_dtypes.bfloat16,
  "I64": np.int64,
  "I32": np.int32,
  "I16": np.int16,
  "I8": np.int8,
  "U32": np.uint32,
  "U16": np.uint16,
  "U8": np.uint8,
  "BOOL": bool,
}
_ONE = {"x": ("F32", np.arange(6, dtype=np.float32).reshape(2, 3))}


def _write(path, content):
  path.write_bytes(content)
  return path


def _raw(text, data=b""):
  return len(text).to_bytes(8, "little") + text + data


def test_every_type_comes_back(tmp_path):
  tensors = {
    name: (name, np.arange(6).reshape(2, 3).astype(dtype)) for name, dtype in _DTYPES.items()
  }
  tensors |= {"empty": ("F32", np.zeros((0, 3), np.float32)), "one": ("F32", np.float32(7))}
  back = read_safetensors(_write(tmp_path / "a", files.safetensors(tensors)))
  assert back.keys() == tensors.keys()
  for name, (_, array) in tensors.items():
    np.testing.assert_array_equal(back[name], array)
    assert back[name].dtype == array.dtype and back[name].shape == array.shape


def test_the_bytes_of_the_format_are_read_as_its_text_says(tmp_path):
  """A file written by hand: no other writer of ours between."""
  text = b'{"b":{"dtype":"U8","shape":[1,2],"data_offsets":[4,6]},"a":'
  text += b'{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  '  # spaces fill it up
  back = read_safetensors(_write(tmp_path / "a", _raw(text, b"\x00\x00\xc0\x3f\x07\x09")))
  assert back["a"] == np.float32(1.5) and back["b"].tolist() == [[7, 9]]


@pytest.mark.parametrize("pad", range(0x180 - 8, 0x180 + 8))
def test_a_header_of_any_length_is_told_from_a_pickle(tmp_path, pad):
  """The length 0x280 begins as a pickle does, 0x181 as msgpack."""
  for length in (pad, pad + 0x100):
    tensors = {"images": ("F32", files.IMAGES), "labels": ("I64", files.LABELS)}
    content = files.safetensors(tensors)
    size = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + size].ljust(length)
    _write(tmp_path / "a", _raw(text, content[8 + size :]))
    assert len(text) == length
    assert read_foreign(tmp_path / "a", ForeignOptions(space="pixels")).layout == "safetensors"


@pytest.mark.parametrize("labels", [files.LABELS, files.SOFT, files.CENTRED])
@pytest.mark.parametrize("rate", [None, 0.5])
def test_a_set_is_the_same_as_from_a_pt_file(tmp_path, labels, rate):
  arrays = {"images": files.first_channels(files.IMAGES), "labels": labels}
  arrays |= {} if rate is None else {"syn_lr": np.float32(rate)}
  names = {"float32": "F32", "int64": "I64"}
  tensors = {name: (names[str(array.dtype)], array) for name, array in arrays.items()}
  path = _write(tmp_path / "any.bin", files.safetensors(tensors))
  write_torch(tmp_path / "a.pt", arrays | ({} if rate is None else {"syn_lr": rate}))
  for options in (ForeignOptions(space="network"), ForeignOptions(space="pixels", ipc=1)):
    one, other = (read_foreign(file, options) for file in (path, tmp_path / "a.pt"))
    for name in set(one._fields) - {"layout"}:
      np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
  assert one.learning_rate == rate


def test_bytes_are_pixels_and_halves_are_read(tmp_path):
  stored = np.round(files.PIXELS * 255).astype(np.uint8)
  tensors = {"data": ("U8", stored), "targets": ("U8", files.LABELS.astype(np.uint8))}
  one = read_foreign(_write(tmp_path / "a", files.safetensors(tensors)))
  np.testing.assert_allclose(one.images, files.PIXELS, atol=1e-6)
  assert one.space == "pixels" and one.label_kind == "one_hot"
  half = files.IMAGES.astype(ml_dtypes.bfloat16)
  tensors = {"data": ("BF16", half), "targets": ("F16", files.ONE_HOT.astype(np.float16))}
  path = _write(tmp_path / "a", files.safetensors(tensors))
  one = read_foreign(path, ForeignOptions(space="network"))
  np.testing.assert_array_equal(one.images, half.astype(np.float32))
  with pytest.raises(ValueError, match=r"run from -\d.* to \d.*Name foreign.space"):
    read_foreign(path)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", "does not begin with the length"),
    (_raw(b"{"), "does not begin with the length"),
    ((1 << 40).to_bytes(8, "little") + b"{}", "does not begin with the length"),
    ((1 << 21).to_bytes(8, "little") + b"{}".ljust(1 << 21), "does not begin with the length"),
    (_raw(b"{]"), "Expecting property name"),
    (_raw(b'{"x":' * 3000), "recursion|RecursionError"),
    (_raw(b'{"x":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}'), "its header holds NaN"),
    (_raw(b'{"x":{"a":1},"x":{"a":1}}'), "a key twice"),
    (_raw(b'{"x":3}'), "subscriptable"),
    (_raw(b'{"\xff":3}'), "utf-8"),
    (_raw(json.dumps({str(i): 0 for i in range(1025)}).encode()), "1025 tensors"),
    (files.safetensors(_ONE, dtype="F8_E4M3"), "'x' is of the type 'F8_E4M3'"),
    (files.safetensors(_ONE, dtype=[1]), "unhashable"),
    (files.safetensors(_ONE, shape=[2, 4]), r"float32\[2, 4\], but has 24 bytes"),
    (files.safetensors(_ONE, shape=[10**30]), "but has 24 bytes"),
    (files.safetensors(_ONE, shape=[-2, -3]), r"has the shape \[-2, -3\]"),
    (files.safetensors(_ONE, shape=[True, 6]), "has the shape"),
    (files.safetensors(_ONE, shape=[2.0, 3]), "has the shape"),
    (files.safetensors(_ONE, shape=[1] * 40 + [6]), "has the shape"),
    (files.safetensors(_ONE, data_offsets=[0, 28]), "0 to 28 of 24 bytes"),
    (files.safetensors(_ONE, data_offsets=[0, 10**30]), "of 24 bytes"),
    (files.safetensors(_ONE, data_offsets=[24, 0]), "24 to 0 of 24 bytes, where 0 is next"),
    (files.safetensors(_ONE, data_offsets=[0.0, 24]), "0.0 to 24"),
    (files.safetensors(_ONE, data_offsets=[0, 4], shape=[1]), "20 bytes belong to no tensor"),
    (files.safetensors(_ONE, cut=1), "of 23 bytes"),
    (files.safetensors(_ONE) + b"\0", "1 bytes belong to no tensor"),
    (files.safetensors(_ONE | {"y": _ONE["x"]}, data_offsets=[24, 48]), "where 0 is next"),
  ],
)
def test_files_that_lie_are_refused(tmp_path, content, message):
  path = _write(tmp_path / "a.safetensors", content)
  with pytest.raises(
    ValueError, match=f"a.safetensors is damaged or no file of safetensors: .*{message}"
  ):
    read_foreign(path, ForeignOptions(layout="safetensors", space="network"))


@pytest.mark.parametrize(
  ("tensors", "message"),
  [
    ({"weights": _ONE["x"][1]}, "needs images .*; found a dict of weights"),
    ({"images": _ONE["x"][1], "labels": files.LABELS}, r"images are \[2, 3\]"),
    ({"images": files.IMAGES, "labels": files.LABELS[:3]}, "8 images, but labels"),
    ({"images": files.IMAGES * np.nan, "labels": files.LABELS}, "images hold nan"),
    ({"images": files.IMAGES, "labels": files.SOFT[:, None]}, "one for each augmentation"),
    ({"images": files.IMAGES, "labels": files.LABELS, "lr": np.float32(-1)}, "lr is .*not one"),
  ],
)
def test_tensors_that_are_no_set_are_refused(tmp_path, tensors, message):
  names = {"float32": "F32", "int64": "I64"}
  content = files.safetensors({key: (names[str(x.dtype)], x) for key, x in tensors.items()})
  with pytest.raises(ValueError, match=f"a.bin: .*{message}"):
    read_foreign(_write(tmp_path / "a.bin", content), ForeignOptions(space="network"))
