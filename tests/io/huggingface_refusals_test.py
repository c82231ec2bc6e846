"""Files of Hugging Face's `datasets` that are refused: no set, damaged, too large, or that lie."""

import json
import struct

import numpy as np
import pyarrow as pa
import pytest

from ddjax.io.foreign import arrow_files
from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import read_foreign
from tests.io import foreign_files as files

_IMAGES = {"image": files.pictures()}
_LABELS = {"label": files.LABELS}
_SPOILT = [b"\x89PNG no picture", *files.pictures()[1:]]
_PATHS = [{"bytes": None, "path": "/etc/passwd"}] + [{"bytes": b"", "path": None}] * 7
_SMALL = [image[:4].tolist() for image in files.BYTES[:1]] + [
  image.tolist() for image in files.BYTES[1:]
]
_NO_NAMES = {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}
_MANY = {"label": {"_type": "ClassLabel", "names": [str(i) for i in range(25_001)]}}
_FEW = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}


@pytest.mark.parametrize(
  ("columns", "features", "message"),
  [
    (_LABELS, None, "needs one column of images .*; of images there is none among label .int64"),
    (_IMAGES, None, "of labels there is none among image .binary"),
    ({"sound": files.pictures()} | _LABELS, None, "of images there is none among sound"),
    (_IMAGES | {"text": ["cat"] * 8}, None, r"of labels there is none .*text \(string\)"),
    (_IMAGES | {"label": [None, *["cat"] * 7]}, None, "1 labels are missing"),
    (_IMAGES | {"label": ["c" * 300] * 8}, None, "a label of 300 characters"),
    (_IMAGES | {"a": files.LABELS, "b": files.LABELS}, None, "labels could be a, b. Call the one"),
    ({"image": _SPOILT} | _LABELS, None, "column 'image', row 0 is no readable PNG or JPEG"),
    ({"image": _PATHS} | _LABELS, None, "has no bytes in row 0; a path alone is not opened"),
    ({"image": [None, *files.pictures()[1:]]} | _LABELS, None, "has no bytes in row 0"),
    ({"image": _SMALL} | _LABELS, None, "lists have several lengths: 4, 8"),
    (
      {"image": (files.BYTES.astype(int) * 2).tolist()} | _LABELS,
      None,
      "'image'.*holds 262, which lies outside .0, 255",
    ),
    ({"image": [None, *files.BYTES[1:].tolist()]} | _LABELS, None, "1 lists are missing"),
    (_IMAGES | {"label": [None, *files.LABELS[1:].tolist()]}, None, "1 numbers are missing"),
    (_IMAGES | {"label": files.LABELS - 1}, None, "labels run from -1"),
    (_IMAGES | {"label": [[0.5]] * 7 + [[0.5, 0.5]]}, None, "lists have several lengths: 1, 2"),
    (_IMAGES | _LABELS, _FEW, "labels are of 4 classes, but it names 2"),
    (_IMAGES | _LABELS, _NO_NAMES, "classes of column 'label' have no names of their own"),
    (_IMAGES | _LABELS, _MANY, "column 'label' is of 25001 classes"),
    (_IMAGES | _LABELS, [1], "its features are no object"),
    ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int8())}, None, "has no rows"),
    ({"image": pa.nulls(8), "label": files.LABELS}, None, "of images there is none"),
  ],
)
def test_columns_that_are_no_set_are_refused(tmp_path, columns, features, message):
  with pytest.raises(ValueError, match=f"a.bin.*{message}"):
    read_foreign(files.write_parquet(tmp_path / "a.bin", columns, features))


def test_pictures_of_several_sizes_are_named(tmp_path):
  from PIL import Image

  Image.fromarray(np.zeros((4, 8), np.uint8)).save(tmp_path / "small.png")
  images = [(tmp_path / "small.png").read_bytes(), *files.pictures()[1:]]
  path = files.write_parquet(tmp_path / "a", {"image": images} | _LABELS)
  with pytest.raises(ValueError, match=r"several sizes: \[\(4, 8\), \(8, 8\)\] \(height, width\)"):
    read_foreign(path)


def test_shards_that_differ_are_refused(tmp_path):
  files.write_parquet(tmp_path / "train-00000-of-00002.parquet", _IMAGES | _LABELS)
  second = tmp_path / "train-00001-of-00002.parquet"
  files.write_parquet(second, {"picture": files.pictures()} | _LABELS)
  with pytest.raises(ValueError, match="00001-of-00002.parquet has no column 'image' as the files"):
    read_foreign(tmp_path)
  lists = {"image": files.BYTES.tolist()} | _LABELS
  files.write_parquet(tmp_path / "train-00000-of-00002.parquet", lists)
  files.write_parquet(second, {"image": files.BYTES[:, :4].tolist()} | _LABELS)
  with pytest.raises(ValueError, match=r"'image' of several sizes: \[\(4, 8, 1\), \(8, 8, 1\)\]"):
    read_foreign(tmp_path)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_streams_and_dictionaries_are_refused(tmp_path, compression):
  rows = files.table(_IMAGES | _LABELS)
  files.write_stream(path := tmp_path / "a", rows)
  read_foreign(path)
  files.write_stream(path, rows, compression=compression)
  with pytest.raises(ValueError, match="a is damaged .*: it is compressed, which datasets never"):
    read_foreign(path)
  files.write_stream(path, files.table({"image": rows["image"].dictionary_encode()} | _LABELS))
  with pytest.raises(ValueError, match="a is damaged .*: it has dictionaries"):
    read_foreign(path)


def test_parquet_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
  """40 images of equal bytes, 6.4 MB, in a few kilobytes: counted by batches."""
  images = np.zeros((40, 400, 400, 1), np.uint8)
  flat = pa.array(images.ravel())
  for size in (1, 400, 400):
    flat = pa.FixedSizeListArray.from_arrays(flat, size)
  path = files.write_parquet(tmp_path / "a", {"image": flat, "label": list(range(40))})
  assert path.stat().st_size < 1 << 18
  assert read_foreign(path).images.shape == images.shape
  monkeypatch.setattr(arrow_files, "most_unpacked", lambda size: 6_000_000)
  with pytest.raises(ValueError, match="a is damaged .*: more than 6000000 bytes when unpacked"):
    read_foreign(path)


@pytest.mark.slow
def test_a_row_made_to_explode_ends_a_process_of_its_own(tmp_path):
  """300,000,000 numbers, of which the file is a few kilobytes and pyarrow's copies 5 GB."""
  flat = pa.array(np.zeros(300_000_000, np.uint8))
  for size in (1, 15_000, 20_000):
    flat = pa.FixedSizeListArray.from_arrays(flat, size)
  path = files.write_parquet(tmp_path / "a", {"image": flat, "label": [0]})
  assert path.stat().st_size < 1 << 16
  with pytest.raises(ValueError, match="a is damaged .*process that unpacks it ended .*alloc"):
    read_foreign(path)


def test_the_process_that_unpacks_imports_nothing_from_the_working_folder(tmp_path, monkeypatch):
  path = files.write_huggingface(tmp_path)
  for name in ("pyarrow", "resource", "ddjax", "numpy"):
    (tmp_path / f"{name}.py").write_text("open('ran', 'w'); raise SystemExit(1)")
  monkeypatch.chdir(tmp_path)
  assert len(read_foreign(path).images) == 8
  assert not (tmp_path / "ran").exists()


def test_wrong_facts_of_parquet_do_not_end_the_process(tmp_path):
  """A column that is said to be required ends it where Python asks for the facts of its chunks."""
  content = files.write_huggingface(tmp_path).read_bytes()
  start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
  num_refused = 0
  for place in range(start, start + 60):
    mutated = bytearray(content)
    mutated[place] ^= 2  # which makes an optional field a required one
    (tmp_path / "a").write_bytes(mutated)
    try:
      read_foreign(tmp_path / "a")
    except ValueError as error:
      assert str(error).startswith(str(tmp_path / "a"))
      num_refused += 1
  assert num_refused > 30


def test_more_rows_than_a_distilled_set_has_are_refused(tmp_path):
  path = files.write_parquet(
    tmp_path / "a", {"image": np.zeros(100_001, bytes), "label": [0] * 100_001}
  )
  with pytest.raises(ValueError, match="100001 rows, where a distilled set has up to 100000"):
    read_foreign(path)


@pytest.mark.parametrize(
  "content",
  [
    b"PAR1",
    b"PAR1" + bytes(100) + b"PAR1",
    b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1",
    b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1),
    b"\xff\xff\xff\xff" + struct.pack("<i", -8) + bytes(64),
    b"\xff\xff\xff\xff" + bytes(4),
    b"ARROW1\0\0",
    b"PK\x03\x04",
    b"",
  ],
)
def test_damaged_files_are_named(tmp_path, content):
  (tmp_path / "a.bin").write_bytes(content)
  with pytest.raises(ValueError, match="a.bin is damaged or no parquet or Arrow file of a set: ."):
    read_foreign(tmp_path / "a.bin", ForeignOptions(layout="huggingface"))


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("state.json", "{", "state.json is damaged or no JSON"),
    ("state.json", "[]", "state.json is damaged or no JSON: it holds no object"),
    ("state.json", "{}", "state.json names no files of its folder"),
    ("state.json", '{"_data_files": [3]}', "state.json names no files"),
    ("state.json", '{"_data_files": {"a": 3}}', "state.json names no files"),
    ("state.json", '{"_data_files": 3}', "state.json names no files"),
    ("state.json", '{"_data_files": [{"filename": "../a"}]}', "state.json names no files"),
    ("state.json", '{"_data_files": [{"filename": "/etc/passwd"}]}', "state.json names no files"),
    ("state.json", '{"_data_files": [{"filename": "a"}]}', "names a, which is missing"),
    ("dataset_dict.json", '{"splits": ["../two"]}', "dataset_dict.json names no splits"),
    ("dataset_dict.json", '{"splits": []}', "holds the splits none"),
    ("dataset_dict.json", '{"splits": 3}', "dataset_dict.json names no splits"),
    ("dataset_dict.json", '{"splits": ["train"]}', "train/state.json"),
  ],
)
def test_folders_that_lie_are_refused(tmp_path, rows, name, content, message):
  rows.save_to_disk(folder := tmp_path / "one")
  (folder / name).write_text(content)
  with pytest.raises((ValueError, FileNotFoundError), match=f"one.*{message}"):
    read_foreign(folder)


def test_nothing_but_the_set_is_opened_or_written(tmp_path, rows, monkeypatch):
  """Paths of pictures lead to a file that is there; neither it nor a cache is touched."""
  secret = tmp_path / "secret.png"
  secret.write_bytes(files.pictures()[0])
  images = [{"bytes": picture, "path": str(secret)} for picture in files.pictures()]
  path = files.write_parquet(tmp_path / "a", {"image": images} | _LABELS)
  monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
  before = secret.stat().st_atime_ns, sorted(tmp_path.iterdir())
  one = read_foreign(path)
  np.testing.assert_array_equal(one.images, files.PIXELS)
  assert (secret.stat().st_atime_ns, sorted(tmp_path.iterdir())) == before


def test_a_folder_without_rows_is_named(tmp_path, rows):
  with pytest.raises(ValueError, match="needs dataset_dict.json, state.json or parquet files"):
    read_foreign(tmp_path, ForeignOptions(layout="huggingface"))
  rows.save_to_disk(tmp_path / "one")
  facts = json.loads((tmp_path / "one" / "state.json").read_text())
  (tmp_path / "one" / facts["_data_files"][0]["filename"]).unlink()
  with pytest.raises(ValueError, match="names data-00000-of-00001.arrow, which is missing"):
    read_foreign(tmp_path / "one")
