"""Files made to explode or to run something: refused before anything is allocated or run."""

import io
import struct
import zipfile
import zlib

import msgpack
import numpy as np
import pytest

from ddjax.files.plain_arrays import read_npz
from ddjax.io.foreign.containers import read_msgpack, read_picture_folder
from ddjax.io.torch_file import read_torch


def _npz(path, header, data=b"", compression=zipfile.ZIP_STORED):
  """An npz of one array with any header."""
  head = header.encode().ljust(100) + b"\n"
  with zipfile.ZipFile(path, "w", compression) as file:
    file.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data)
  return path


def _header(shape, dtype="'<f4'", order=False):
  return f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}}}"


def test_npz_as_numpy_reads_it(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    "c": rng.normal(size=(2, 3)),
    "fortran": np.asfortranarray(rng.normal(size=(3, 2)).astype(np.float32)),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3),
    "text": np.array("é"),
  }
  for save in (np.savez, np.savez_compressed):
    save(tmp_path / "a.npz", **arrays)
    back = read_npz(tmp_path / "a.npz")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
      np.testing.assert_array_equal(back[name], array)
      assert back[name].dtype == array.dtype


@pytest.mark.parametrize(
  ("header", "message"),
  [
    (_header("(10**15,)"), "malformed|damaged"),
    (_header(f"({10**15},)"), r"float32\[1000000000000000\], but has 8 bytes"),
    (_header("(2,)", "'|O'"), "neither numbers nor text"),
    (_header("(2,)", "[('a', '<f4')]"), "neither numbers nor text"),
    (_header("(-2,)"), "has the shape"),
    (_header("(True, 2)"), "has the shape"),
    ("__import__('os').system('true')", "damaged"),
    ("(" * 90, "damaged"),
    ("{}", "damaged"),
  ],
)
def test_headers_that_lie_are_refused(tmp_path, header, message):
  with pytest.raises(ValueError, match=message) as error:
    read_npz(_npz(tmp_path / "a.npz", header, bytes(8)))
  assert "a.npz is damaged or no npz of plain arrays" in str(error.value)


@pytest.mark.parametrize("read", [read_npz, read_torch])
def test_a_zip_that_disagrees_on_long_names_is_one_short_sentence(tmp_path, read):
  """Its length of a name says 65,535: Python's message holds all of it."""
  np.savez(path := tmp_path / "a.npz", a=np.zeros(20_000))
  content = bytearray(path.read_bytes())
  content[26:28] = b"\xff\xff"
  path.write_bytes(content)
  with pytest.raises(ValueError, match="a.npz is damaged") as error:
    read(path)
  assert len(str(error.value)) < 600


def test_an_npz_that_unpacks_to_far_more_is_refused_before_it_does(tmp_path):
  """A directory that declares 2 GiB; what it compresses is never looked at."""
  path = _npz(tmp_path / "a.npz", _header("(2,)"), bytes(8), zipfile.ZIP_DEFLATED)
  content = bytearray(path.read_bytes())
  place = content.index(b"PK\x01\x02") + 24
  content[place : place + 4] = struct.pack("<I", 1 << 31)
  path.write_bytes(content)
  with pytest.raises(ValueError, match="2147483648 bytes when unpacked, too many"):
    read_npz(path)


@pytest.mark.parametrize(
  "content",
  [
    b"\xdd\x7f\xff\xff\xff" * 600,  # lists of 2 milliards, each in the other
    b"\xdd\x00\x0f\xff\xff" * 500 + bytes(2_000_000),  # each of which the file could hold
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 5000,
    msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((2**60,), "float32", b"")))}),
    msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((2,), "object", bytes(16))))}),
    msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb(((-1, -2), "float32", bytes(8))))}),
    msgpack.packb({"a": msgpack.ExtType(9, b"")}),
    msgpack.packb({"a": msgpack.ExtType(1, b"\x91" * 3000)}),
    b"",
  ],
)
def test_msgpack_bombs_are_a_clear_error(tmp_path, content):
  (tmp_path / "a").write_bytes(content)
  with pytest.raises(ValueError, match="a is damaged or no msgpack of arrays"):
    read_msgpack(tmp_path / "a")


def _png(width, height, data):
  def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum

  head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
  parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + parts


def test_pngs_too_large_or_of_another_kind_are_refused(tmp_path):
  (tmp_path / "0").mkdir()
  path = tmp_path / "0" / "a.png"
  path.write_bytes(_png(2, 1, b"\x00\x07\x09"))
  images, labels, names = read_picture_folder(tmp_path)
  np.testing.assert_array_equal(images[0, 0, :, 0], [7, 9])
  assert labels.tolist() == [0] and names == ("0",)
  path.write_bytes(_png(30_000, 30_000, b""))
  with pytest.raises(ValueError, match="a.png is no readable PNG"):
    read_picture_folder(tmp_path)
  path.write_bytes(_png(5000, 5000, b""))
  with pytest.raises(ValueError, match="5000 x 5000 pixels, too many"):
    read_picture_folder(tmp_path)
  buffer = io.BytesIO()
  from PIL import Image

  Image.fromarray(np.zeros((2, 2), np.uint8)).save(buffer, "GIF")
  path.write_bytes(buffer.getvalue())
  with pytest.raises(ValueError, match="a.png is no readable PNG"):
    read_picture_folder(tmp_path)


def test_empty_folders_are_named(tmp_path):
  (tmp_path / "cat").mkdir()
  with pytest.raises(ValueError, match="cat holds no PNG"):
    read_picture_folder(tmp_path)
