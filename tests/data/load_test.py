import hashlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from ddjax.config import groups
from ddjax.data import load
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data, make_data_split
from ddjax.data.preprocess import KINDS, as_pixels
from ddjax.data.source import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "cache"))


def config(name="fake", **fields):
  result = groups.data(name)
  result.update(fields)
  return result


def rows(images):
  return {image.tobytes() for image in images}


def test_digits():
  real = load_real_data(config("digits"))
  assert real.info == ("digits", (8, 8, 1), 10, 1347, 16, ())
  assert real.max_value == 16 and len(real.test_labels) == 450
  assert real.train_images.max() == 16 and real.train_images.dtype == np.uint8
  truth = load_digits()
  both = np.concatenate([real.train_images, real.test_images]).reshape(1797, 64)
  labels = np.concatenate([real.train_labels, real.test_labels])
  expected = np.column_stack([truth.data, truth.target])
  ours = np.column_stack([both, labels])
  np.testing.assert_array_equal(ours[np.lexsort(ours.T)], expected[np.lexsort(expected.T)])
  shares = np.bincount(real.test_labels) / np.bincount(truth.target)
  assert np.abs(shares - 450 / 1797).max() < 0.01


def test_second_start_reads_the_cache(monkeypatch):
  first = load_real_data(config("digits"))
  monkeypatch.setattr(load, "_read_digits", None)
  second = load_real_data(config("digits", split_seed=5))
  assert second.fingerprint == first.fingerprint and second.class_names == first.class_names
  assert second.version == first.version


def test_fingerprint_is_that_of_what_is_used():
  real = load_real_data(config())
  content = real.train_images.tobytes() + real.train_labels.astype("<i4").tobytes()
  assert real.fingerprint == hashlib.sha256(content).hexdigest()
  assert load_real_data(config(max_train_examples=32)).fingerprint != real.fingerprint


def test_cuts():
  whole = load_real_data(config("digits"))
  fields = dict(num_classes=3, validation_fraction=0.25, max_train_examples=60)
  real = load_real_data(config("digits", **fields))
  num_pool = int((whole.train_labels < 3).sum())
  assert real.info.num_classes == 3 and real.info.num_train == 60 and len(real.class_names) == 3
  np.testing.assert_array_equal(np.bincount(real.train_labels), [20, 20, 20])
  assert len(real.validation_labels) == round(0.25 * num_pool)
  assert real.test_labels.max() == 2
  train, held_out, test = (
    rows(x) for x in (real.train_images, real.validation_images, real.test_images)
  )
  assert train <= rows(whole.train_images) and test <= rows(whole.test_images)
  assert not train & held_out and not held_out & test
  other = load_real_data(config("digits", split_seed=1, **fields))
  assert rows(other.validation_images) != held_out


def test_nothing_is_held_out_by_default():
  real = load_real_data(config())
  assert real.info.num_train == 64
  assert real.validation_images.shape == (0, 8, 8, 1) and real.validation_labels.shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_split_shows_the_network_what_the_preprocessing_says(kind):
  fields = dict(preprocessing=kind) if kind != "published" else {}
  real = load_real_data(config("digits", max_train_examples=100, **fields))
  data = make_data_split(real)
  expected = real.preprocessing.forward(jnp.asarray(as_pixels(real.train_images, 16)))
  np.testing.assert_allclose(standardise(jnp.asarray(data.images), data), expected, atol=1e-5)
  assert data.images.dtype == (np.float32 if kind.startswith("zca") else np.uint8)
  assert {type(leaf) for leaf in jax.tree.leaves(data)} == {np.ndarray}
  assert data.mask.all() and data.mask.shape == (100,)


def test_whitened_images_are_computed_once(monkeypatch):
  real = load_real_data(config(preprocessing="zca_kip"))
  first = make_data_split(real)
  monkeypatch.setattr(load, "_whiten", None)
  np.testing.assert_array_equal(make_data_split(real).images, first.images)


def test_masks():
  real = load_real_data(config())
  mask = np.arange(64) < 40
  np.testing.assert_array_equal(make_data_split(real, mask).mask, mask)
  assert make_data_split(real, np.stack([mask, ~mask])).mask.shape == (2, 64)
  for bad in (mask[:9], mask.astype(np.int32)):
    with pytest.raises(ValueError, match="not bool for 64 examples"):
      make_data_split(real, bad)


def test_own_data_by_name(tmp_path):
  images = np.random.RandomState(0).randint(0, 256, (30, 6, 6, 1)).astype(np.uint8)
  np.savez(tmp_path / "own.npz", images=images, labels=np.arange(30) % 3)
  real = load_real_data(config("npz", path=str(tmp_path / "own.npz")))
  assert real.info == ("npz", (6, 6, 1), 3, 24, 255, ()) and len(real.test_labels) == 6
  with pytest.raises(DataError, match="no folder"):
    load_real_data(config("folder", path=str(tmp_path / "absent")))


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(name="cifar01"), "'cifar01'.*'cifar10'"),
    (dict(name="npz"), "'npz' needs config.data.path"),
    (dict(num_classes=5), "num_classes = 5 must lie between 2 and 4"),
    (dict(num_classes=1), "num_classes = 1"),
    (dict(validation_fraction=1.0), "validation_fraction = 1.0"),
    (dict(max_train_examples=3), "max_train_examples = 3"),
    (dict(preprocessing="zca"), "Unknown preprocessing 'zca'"),
    (dict(preprocessing="published"), "no published"),
  ],
)
def test_bad_fields_are_named(fields, message):
  with pytest.raises(ValueError, match=message):
    load_real_data(config(**fields))


def test_import_is_light():
  heavy = ("tensorflow", "tensorflow_datasets", "sklearn", "PIL", "matplotlib")
  code = f"import sys, ddjax.data.load; assert not set({heavy!r}) & set(sys.modules)"
  subprocess.run([sys.executable, "-c", code], check=True)
