"""Sets of Hugging Face's `datasets`: every form that it writes."""

import numpy as np
import pyarrow as pa
import pytest

from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import read_foreign
from tests.io import foreign_files as files


def _check(one, labels=files.LABELS):
  np.testing.assert_array_equal(one.images, files.PIXELS)
  np.testing.assert_array_equal(one.labels, np.eye(5)[labels])
  assert one.layout == "huggingface" and one.space == "pixels" and one.label_kind == "one_hot"
  assert one.class_names == files.NAMES
  assert any(remark == "Columns image and label." for remark in one.remarks)


def test_what_save_to_disk_wrote(tmp_path, rows):
  rows.save_to_disk(tmp_path / "one", num_shards=3)
  _check(read_foreign(tmp_path / "one"))
  _check(read_foreign(tmp_path / "one", ForeignOptions(layout="huggingface")))
  file = tmp_path / "one" / "data-00001-of-00003.arrow"
  np.testing.assert_array_equal(read_foreign(file).images, files.PIXELS[3:6])


def test_features_beside_a_file_that_has_none(tmp_path, rows):
  rows.save_to_disk(tmp_path / "one")
  bare = rows.data.table.replace_schema_metadata(None)
  files.write_stream(tmp_path / "one" / "data-00000-of-00001.arrow", bare)
  _check(read_foreign(tmp_path / "one"))


def test_splits_of_a_dict(tmp_path, datasets, rows):
  other = rows.select(range(7, -1, -1))
  datasets.DatasetDict(test=other, train=rows).save_to_disk(tmp_path / "two")
  _check(one := read_foreign(tmp_path / "two"))
  assert "The split train, of test, train." in one.remarks
  datasets.DatasetDict(valid=rows).save_to_disk(tmp_path / "single")
  _check(one := read_foreign(tmp_path / "single"))
  assert not any("split" in remark for remark in one.remarks)
  datasets.DatasetDict(test=other, valid=rows).save_to_disk(tmp_path / "none")
  with pytest.raises(ValueError, match="none holds the splits test, valid, and none called train"):
    read_foreign(tmp_path / "none")


def test_labels_that_are_names(tmp_path):
  words = [f"class {'edcba'[label]}" for label in files.LABELS]
  path = files.write_parquet(tmp_path / "a", {"image": files.pictures(), "label": words})
  one = read_foreign(path)
  assert one.class_names == tuple(sorted(set(words)))
  found = [one.class_names[row] for row in one.labels.argmax(axis=1)]
  assert found == words
  assert "Its labels are names; the classes are in the order of the alphabet." in one.remarks


@pytest.mark.parametrize("place", ["", "data"])
@pytest.mark.parametrize("mark", ["", "-0123456789abcdef"])
def test_parquet_in_shards(tmp_path, rows, place, mark):
  (tmp_path / place).mkdir(exist_ok=True)
  for shard in range(2):
    file = tmp_path / place / f"train-{shard:05d}-of-00002{mark}.parquet"
    rows.shard(2, shard, contiguous=True).to_parquet(file)
  (tmp_path / "README.md").write_text("a card")
  (tmp_path / "script.py").write_text("raise SystemExit  # which datasets once ran")
  _check(read_foreign(tmp_path))
  rows.select(range(2)).to_parquet(tmp_path / place / f"test-00000-of-00001{mark}.parquet")
  _check(one := read_foreign(tmp_path))
  assert "The split train, of test, train." in one.remarks
  file.unlink()
  with pytest.raises(ValueError, match="split 'train' there are the files 0, where 2 are needed"):
    read_foreign(tmp_path)


def test_one_parquet_file_whatever_its_name(tmp_path, rows):
  rows.to_parquet(tmp_path / "any")
  _check(read_foreign(tmp_path / "any"))
  _check(read_foreign(tmp_path))
  np.savez(tmp_path / "set.npz", images=files.PIXELS, labels=files.LABELS)
  with pytest.raises(ValueError, match="several sets: any, set.npz"):
    read_foreign(tmp_path)


def test_train_and_test_as_single_files(tmp_path, rows):
  rows.to_parquet(tmp_path / "train.parquet")
  rows.select(range(2)).to_parquet(tmp_path / "test.parquet")
  _check(read_foreign(tmp_path))


def test_an_arrow_file_with_an_index(tmp_path, rows):
  table = rows.data.table
  with pa.ipc.new_file(path := tmp_path / "a", table.schema) as file:
    file.write_table(table)
  _check(read_foreign(path))


def test_jpegs_are_decoded_as_pillow_decodes_them(tmp_path):
  import io

  from PIL import Image

  one = read_foreign(files.write_huggingface_arrow(tmp_path))
  for content, image in zip(files.pictures("JPEG"), one.images, strict=True):
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(np.round(image[..., 0] * 255), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("is_3d", [True, False])
@pytest.mark.parametrize("order", ["last", "first", "none"])
def test_arrays_of_numbers(tmp_path, datasets, dtype, is_3d, order):
  """Array3D and Array2D, which are extension types, and plain lists."""
  images = files.BYTES if dtype in ("uint8", "int64") else files.IMAGES
  expected = files.PIXELS if images is files.BYTES else images
  stored = {"last": images, "first": files.first_channels(images), "none": images[..., 0]}[order]
  if is_3d:
    make = datasets.Array2D if order == "none" else datasets.Array3D
    features = {"image": make(stored.shape[1:], dtype), "label": datasets.Value("int32")}
    columns = {"image": stored.astype(dtype), "label": files.LABELS}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(tmp_path / "a")
  else:
    columns = {"image": stored.astype(dtype).tolist(), "label": files.LABELS}
    files.write_parquet(tmp_path / "a", columns)
  one = read_foreign(tmp_path / "a", ForeignOptions(space="network"))
  np.testing.assert_array_equal(one.images, expected.astype(np.float32))
  if images is files.IMAGES:
    with pytest.raises(ValueError, match="Name foreign.space: pixels or network"):
      read_foreign(tmp_path / "a")
  else:
    assert read_foreign(tmp_path / "a").space == "pixels"
  assert one.class_names == ()


@pytest.mark.parametrize("is_fixed", [True, False])
def test_soft_labels_beside_classes(tmp_path, is_fixed):
  kind = pa.list_(pa.float32(), 4 if is_fixed else -1)
  columns = {
    "image": files.pictures(),
    "label": files.LABELS,
    "soft_label": pa.array((files.CENTRED * 3).tolist(), kind),
  }
  features = {"label": {"_type": "ClassLabel", "names": list(files.NAMES[:4])}}
  path = files.write_parquet(tmp_path / "a", columns, features)
  with pytest.raises(ValueError, match="Name foreign.label_kind"):
    read_foreign(path)
  one = read_foreign(path, ForeignOptions(label_kind="centred"))
  np.testing.assert_array_equal(one.labels, files.CENTRED * 3)
  assert one.class_names == files.NAMES[:4] and one.label_kind == "centred"
  assert "Names of the classes are those of label." in one.remarks
  features["label"]["names"] = list(files.NAMES)
  with pytest.raises(ValueError, match="labels are of 4 classes, but it names 5"):
    read_foreign(files.write_parquet(path, columns, features), ForeignOptions(label_kind="centred"))


def test_columns_are_chosen_by_type_then_by_name(tmp_path):
  columns = {
    "id": np.arange(8),
    "text": ["a"] * 8,
    "photo": files.pictures(),
    "kind": files.LABELS,
    "y": files.LABELS[::-1].copy(),
  }
  features = {
    "photo": {"_type": "Image"},
    "kind": {"_type": "ClassLabel", "names": list(files.NAMES)},
  }
  one = read_foreign(files.write_parquet(tmp_path / "a", columns, features))
  np.testing.assert_array_equal(one.labels.argmax(1), files.LABELS)
  features["kind"] = {"_type": "Value", "dtype": "int64"}
  one = read_foreign(files.write_parquet(tmp_path / "a", columns, features))
  np.testing.assert_array_equal(one.labels.argmax(1), files.LABELS[::-1])
  assert "Columns photo and y." in one.remarks
