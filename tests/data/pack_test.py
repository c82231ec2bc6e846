"""Packed data sets: equal in every byte, and refused by name where they are not what they say."""

import json
import sys

import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.config import groups
from ddjax.data import load, pack
from ddjax.data.facts import get_facts
from ddjax.data.source import DataError, Source
from ddjax.tasks.start import start


@pytest.fixture
def packed(tmp_path):
  """The digits in a folder of packed sets."""
  start(get_config("configs/pack.py:digits"), workdir=str(tmp_path))
  return tmp_path


def _config(name, folder):
  config = groups.data(name)
  config.data_dir = str(folder)
  config.download = False
  return config


def _assert_equal(one: Source, other: Source):
  for field in Source._fields:
    a, b = (np.asarray(getattr(source, field)) for source in (one, other))
    assert a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.shape == b.shape, field


def _coloured(seed=0):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (30, 32, 32, 3)).astype(np.uint8)
  labels = (np.arange(30) % 10).astype(np.int32)
  names = ("Flugzeug", "été", *map(str, range(8)))
  return Source(images[:20], labels[:20], images[20:], labels[20:], names, "3.0.2")


def test_the_digits_come_back_in_every_byte(packed):
  direct = load.read_source(groups.data("digits"))
  _assert_equal(direct, pack.read(packed / "digits.npz", "digits", get_facts("digits")))
  _assert_equal(direct, load.read_source(_config("digits", packed)))
  facts = json.loads(str(np.load(packed / "digits.npz")["facts"]))
  assert facts["sha256"] == pack.content_hash(direct) and facts["num_test"] == 450


@pytest.mark.parametrize("has_test_groups", [True, False])
def test_groups_of_a_users_own_set_come_back(tmp_path, has_test_groups):
  groups = (np.arange(30) % 3).astype(np.int32)
  of_test = groups[20:] if has_test_groups else None
  source = _coloured()._replace(train_groups=groups[:20], test_groups=of_test)
  path = tmp_path / "cifar10.npz"
  pack.write(path, "cifar10", source, 255)
  _assert_equal(source, pack.read(path, "cifar10", get_facts("cifar10")))
  assert pack.content_hash(source) != pack.content_hash(_coloured())


@pytest.mark.parametrize(
  "groups,problem",
  [
    (np.zeros(20), r"groups is float64\[20\], not int32\[20\]"),
    (np.zeros(3, np.int32), r"groups is int32\[3\], not int32\[20\]"),
    (np.full(20, -1, np.int32), "groups run from -1, not from 0"),
  ],
)
def test_groups_that_are_none_are_refused(tmp_path, groups, problem):
  path = tmp_path / "cifar10.npz"
  arrays = pack._arrays(_coloured()) | {"groups": groups}
  facts = pack._facts("cifar10", _coloured(), 255) | {"sha256": pack._hash(arrays)}
  np.savez(path, **arrays, facts=np.array(json.dumps(facts)))
  with pytest.raises(DataError, match=problem):
    pack.read(path, "cifar10", get_facts("cifar10"))


def test_neither_tfds_nor_scikit_learn_is_imported(packed, monkeypatch):
  pack.write(packed / "cifar10.npz", "cifar10", _coloured(), 255)
  for module in ("tensorflow_datasets", "tensorflow", "sklearn.datasets"):
    monkeypatch.setitem(sys.modules, module, None)
  for name in ("digits", "cifar10"):
    load.read_source(_config(name, packed))


def test_the_fingerprint_of_a_run_is_that_of_its_images(tmp_path):
  source = _coloured()
  facts = pack.write(tmp_path / "cifar10.npz", "cifar10", source, 255)
  assert facts["num_train"] == 20 and facts["sha256"] == pack.content_hash(source)
  config = _config("cifar10", tmp_path)
  _assert_equal(source, load.read_source(config))
  assert load.load_real_data(config).fingerprint == load.fingerprint(
    source.train_images, source.train_labels
  )


def test_the_environment_names_the_folder_too(tmp_path, monkeypatch):
  pack.write(tmp_path / "cifar10.npz", "cifar10", _coloured(), 255)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  _assert_equal(_coloured(), load.read_source(groups.data("cifar10")))


def _grey(seed):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 17, (30, 8, 8, 1)).astype(np.uint8)
  labels = (np.arange(30) % 10).astype(np.int32)
  return Source(images, labels, images[:10], labels[:10], tuple(map(str, range(10))), "1")


def _change(path, **changes):
  arrays = dict(np.load(path))
  facts = json.loads(str(arrays.pop("facts")))
  facts |= {name: value for name, value in changes.items() if name in facts}
  arrays |= {name: value for name, value in changes.items() if name in arrays}
  np.savez(path, **arrays, facts=np.array(json.dumps(facts)))


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"format": 2}, "version 2; this is version 1"),
    ({"format": 0}, "version 0; this is version 1"),
    ({"name": "mnist"}, "holds the data set 'mnist', not 'digits'"),
    ({"sha256": "0" * 64}, "does not have the hash"),
    ({"labels": np.zeros(1347, np.int32)}, "does not have the hash"),
    ({"max_value": 255}, r"up to 255; digits has \(8, 8, 1\) of 10 up to 16"),
    ({"num_train": 1346}, "its facts say num_train 1346, its arrays 1347"),
    ({"max_value": None}, "up to None; digits has"),
  ],
)
def test_what_is_not_what_it_says(packed, changes, message):
  path = packed / "digits.npz"
  _change(path, **changes)
  with pytest.raises(DataError, match=message) as error:
    load.read_source(_config("digits", packed))
  assert str(path) in str(error.value) and "\n" not in str(error.value)


_LABELS = np.arange(30, dtype=np.int32) % 10


@pytest.mark.parametrize(
  "changes,message",
  [
    (
      {"images": np.zeros((30, 8, 8, 1), np.float32)},
      "images is float32.30, 8, 8, 1., not uint8",
    ),
    (
      {"images": np.zeros((30, 8, 8), np.uint8)},
      "images is uint8.30, 8, 8., not uint8",
    ),
    ({"test_images": np.zeros((10, 4, 8, 1), np.uint8)}, "test_images is uint8.10, 4, 8, 1"),
    ({"labels": _LABELS.astype(np.int64)}, r"labels is int64\[30\], not int32\[30\]"),
    ({"labels": _LABELS[:9]}, r"labels is int32\[9\], not int32\[30\]"),
    ({"test_labels": _LABELS[:10] + np.int32(1)}, "test_labels run from 1 to 10 of 10 classes"),
    ({"labels": _LABELS - np.int32(1)}, "labels run from -1 to 8 of 10 classes"),
    ({"class_names": np.array(["a", "b"])}, "labels run from 0 to 9 of 2 classes"),
    ({"class_names": np.array("a")}, "labels run from 0 to 9 of 1 classes"),
  ],
)
def test_a_right_hash_does_not_make_other_arrays_a_set(tmp_path, changes, message):
  path = tmp_path / "digits.npz"
  pack.write(path, "digits", _grey(0), 16)
  _change(path, **changes)
  _change(path, sha256=pack._hash(dict(np.load(path))))
  with pytest.raises(DataError, match=message) as error:
    load.read_source(_config("digits", tmp_path))
  assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", "3", "[" * 100000, "{}"])
def test_facts_that_are_none(tmp_path, text):
  path = tmp_path / "digits.npz"
  np.savez(path, facts=np.array(text))
  with pytest.raises(DataError, match="digits.npz"):
    pack.read(path, "digits", get_facts("digits"))


def test_a_pickled_object_is_not_loaded(tmp_path):
  path = tmp_path / "digits.npz"
  np.savez(path, facts=np.array({"format": 1}, dtype=object))
  with pytest.raises(DataError, match="digits.npz"):
    load.read_source(_config("digits", tmp_path))


def test_a_file_cut_short_or_of_something_else(packed):
  path = packed / "digits.npz"
  whole = path.read_bytes()
  for content in (whole[: len(whole) // 2], whole[:-30], b"", b"PK\x03\x04"):
    path.write_bytes(content)
    with pytest.raises(DataError, match="digits.npz"):
      load.read_source(_config("digits", packed))
  np.savez(path, images=np.zeros((1, 8, 8, 1), np.uint8))
  with pytest.raises(DataError, match="is no packed data set: it has no 'facts'"):
    load.read_source(_config("digits", packed))


def test_a_flipped_byte_is_found(packed):
  path = packed / "digits.npz"
  content = bytearray(path.read_bytes())
  content[len(content) // 3] ^= 1
  path.write_bytes(content)
  with pytest.raises(DataError, match="digits.npz"):
    load.read_source(_config("digits", packed))


def test_a_folder_of_ones_own_becomes_what_npz_reads(tmp_path):
  source = _grey(0)
  pack.write(tmp_path / "folder.npz", "folder", source, 255)
  config = groups.data("npz")
  config.path, config.max_value = str(tmp_path / "folder.npz"), 255  # its brightest value is 16
  _assert_equal(source._replace(version="own"), load.read_source(config))
