"""Sets of other projects in our convention: their space, their preprocessing, what suits."""

import json

from absl import logging
import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.config.foreign_group import foreign as foreign_group
from ddjax.data.load import is_at_hand
from ddjax.data.preprocess import KINDS, as_pixels, fit_preprocessing
from ddjax.io import distilled
from ddjax.io.foreign import convert
from ddjax.io.foreign.convert import as_distilled, check_alone, check_statistics, load_any
from ddjax.io.foreign.foreign_set import ForeignSet
from ddjax.io.foreign.read import read_foreign
from tests.io import foreign_files as files


@pytest.fixture
def warned(monkeypatch):
  texts = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: texts.append(text % args))
  return texts


def _foreign(images, space="network", **fields):
  labels = np.eye(10, dtype=np.float32)[np.arange(len(images)) % 10]
  return ForeignSet(np.asarray(images, np.float32), labels, "one_hot", space, "npz", **fields)


def test_named_classes_take_the_order_of_the_real_set(digits):
  pixels = as_pixels(digits.train_images[:50], 16)
  plain = _foreign(pixels, "pixels")
  named = digits._replace(class_names=tuple(f"Class {word}" for word in "ztrqponmlk"))
  shuffled = sorted(f"class_{word}" for word in "ztrqponmlk")
  one = as_distilled(plain._replace(class_names=tuple(shuffled)), named, "none")
  for stored, read in zip(plain.labels.argmax(axis=1), one.labels.argmax(axis=1), strict=True):
    assert named.class_names[read] == shuffled[stored].replace("_", " ").capitalize()
  for in_order in (tuple(map(str, range(10))), tuple(f"{i}_word" for i in range(10))):
    one = as_distilled(plain._replace(class_names=in_order), named, "none")
    np.testing.assert_array_equal(one.labels, plain.labels)
  wrong = plain._replace(class_names=("cat", *shuffled[1:]))
  with pytest.raises(ValueError, match="The set's classes are cat, class_l.*Class z.*by number"):
    as_distilled(wrong, named, "none")


def test_images_in_pixels_are_mapped_and_others_are_not(digits, warned):
  pixels = as_pixels(digits.train_images[:50], 16)
  fitted = fit_preprocessing("standardise", digits.train_images, 16)
  one = as_distilled(_foreign(pixels, "pixels", learning_rate=0.5), digits, "standardise")
  np.testing.assert_allclose(one.images, fitted.forward(pixels), atol=1e-6)
  other = as_distilled(_foreign(one.images), digits, "standardise")
  np.testing.assert_array_equal(other.images, one.images)
  assert not warned
  assert set(distilled.INFO_FIELDS) <= one.info.keys() and one.info["learning_rate"] == 0.5
  assert one.info["preprocessing"].same_as(fitted) and one.info["ipc"] == 5


def test_what_as_distilled_gives_can_be_saved_and_loaded(digits, tmp_path):
  one = as_distilled(_foreign(as_pixels(digits.train_images[:20], 16), "pixels"), digits, "none")
  info = {key: value for key, value in one.info.items() if key != "preprocessing"}
  distilled.save_distilled(tmp_path, one, info, one.info["preprocessing"])
  back = distilled.load_distilled(tmp_path)
  assert {**back.info, "preprocessing": None} == {**one.info, "preprocessing": None}


_CHECKED = ("none", "standardise", "zca_kornia")


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("claimed", _CHECKED)
@pytest.mark.parametrize("true", _CHECKED)
def test_pixel_statistics_warn_of_the_wrong_kind_alone(digits, warned, true, claimed, noise):
  rng = np.random.default_rng(0)
  rows = rng.choice(len(digits.train_images), 100)
  fitted = {kind: fit_preprocessing(kind, digits.train_images, 16) for kind in _CHECKED}
  images = np.asarray(fitted[true].forward(as_pixels(digits.train_images[rows], 16)))
  images = images + noise * images.std() * rng.normal(size=images.shape)
  found = check_statistics(images, claimed, fitted[claimed], digits)
  assert found.is_doubtful == (true != claimed)
  if true != claimed:
    assert found.best == true
  as_distilled(_foreign(images), digits, claimed)
  assert len(warned) == (true != claimed)
  if warned:
    word = {"none": "pixels"}.get(true, true)
    assert f"fit {word} better" in warned[0]


def test_pixels_that_are_none_are_doubted(digits, warned):
  fitted = fit_preprocessing("standardise", digits.train_images, 16)
  images = fitted.forward(as_pixels(digits.train_images[:50], 16))
  one = as_distilled(_foreign(images, "pixels"), digits, "standardise")
  assert "taken as pixels" in warned[0] and "fit standardise better" in warned[0]
  assert warned[0] in one.info["remarks"]


def test_no_preprocessing_is_guessed(digits):
  fitted = fit_preprocessing("zca_kornia", digits.train_images, 16)
  images = fitted.forward(as_pixels(digits.train_images[:50], 16))
  with pytest.raises(
    ValueError, match="none is guessed.*so zca_kornia is the most likely"
  ) as error:
    as_distilled(_foreign(images), digits)
  known = set(KINDS) - {"published"}  # which digits have none of
  assert all(kind in str(error.value) for kind in known) and "published" not in str(error.value)
  with pytest.raises(ValueError, match="lies in pixels and its file names no preprocessing"):
    as_distilled(_foreign(images, "pixels"), digits)
  with pytest.raises(ValueError, match="Unknown preprocessing 'zca'"):
    as_distilled(_foreign(images), digits, "zca")


def test_nothing_is_decoded_or_fitted_to_give_advice(digits, tmp_path, monkeypatch):
  """An empty cache: a set that TFDS must decode first, then one whose whitenings are not fitted."""
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path))
  config = get_config("configs/evaluate.py:mnist").data
  config.data_dir = str(tmp_path)
  assert not is_at_hand(config) and is_at_hand(get_config("configs/evaluate.py:digits").data)
  fitted = fit_preprocessing("zca_kornia", digits.train_images, 16)
  images = np.asarray(fitted.forward(as_pixels(digits.train_images[:50], 16)))
  whitened = np.tile(images, (1, 4, 4, 1))[:, :28, :28]
  with pytest.raises(ValueError, match="published.*a whitening .zca. is likely"):
    check_alone(_foreign(whitened), config, None)
  check_alone(_foreign(whitened), config, "zca_kip")
  with pytest.raises(ValueError, match=r"\[8, 8, 1\], but mnist's \[28, 28, 1\]"):
    check_alone(_foreign(images), config, None)
  monkeypatch.setattr(convert, "_QUICK_DIMENSIONS", 1)
  unseen = digits._replace(fingerprint="of no images that the cache knows")
  with pytest.raises(ValueError, match="none is guessed.*correlated by"):
    as_distilled(_foreign(images), unseen)
  fit_preprocessing("zca_kornia", unseen.train_images, 16, fingerprint=unseen.fingerprint)
  with pytest.raises(ValueError, match="zca_kip, zca_frepo not compared.*so zca_kornia is"):
    as_distilled(_foreign(images), unseen)


def test_sets_that_do_not_suit_the_real_set_name_both(digits):
  images = as_pixels(digits.train_images[:20], 16)
  with pytest.raises(ValueError, match=r"\[8, 8, 3\], but digits's \[8, 8, 1\].*another channels"):
    as_distilled(_foreign(np.tile(images, (1, 1, 1, 3)), "pixels"), digits, "none")
  with pytest.raises(ValueError, match=r"\[16, 8, 1\], but digits's \[8, 8, 1\].*another size"):
    as_distilled(_foreign(np.tile(images, (1, 2, 1, 1)), "pixels"), digits, "none")
  one = _foreign(images, "pixels")
  with pytest.raises(ValueError, match="of 7 classes; digits has 10"):
    as_distilled(one._replace(labels=one.labels[:, :7]), digits, "none")
  with pytest.raises(ValueError, match="undecoded grids"):
    as_distilled(one._replace(decode_factor=2), digits, "zca_kornia")


def test_load_any_reads_ours_and_theirs(tmp_path, fake):
  theirs = load_any(files.write_mtt(tmp_path), fake, {**foreign_group(), "preprocessing": "none"})
  assert theirs.info["layout"] == "mtt" and len(theirs.info["file_sha256"]) == 64
  np.testing.assert_array_equal(theirs.images, files.IMAGES)
  info = {key: value for key, value in theirs.info.items() if key != "preprocessing"}
  run = tmp_path / "run"
  path = distilled.save_distilled(run / "distilled", theirs, info, theirs.info["preprocessing"])
  for place in (run, run / "distilled", path):
    np.testing.assert_array_equal(load_any(place, fake, foreign_group()).images, files.IMAGES)
  with pytest.raises(ValueError, match="foreign.preprocessing='none', but .* is a set of our own"):
    load_any(run, fake, dict(preprocessing="none"))
  with pytest.raises(ValueError, match="Unknown option foreign.layuot. Did you mean 'layout'"):
    load_any(run, fake, dict(layuot="npz"))


def test_a_damaged_set_of_our_own_is_still_ours(tmp_path, fake):
  (tmp_path / "distilled").mkdir()
  (tmp_path / "distilled" / "distilled.npz").write_bytes(b"PK damaged")
  with pytest.raises(ValueError, match="distilled.npz is damaged"):
    load_any(tmp_path, fake)


def test_records_of_an_export_are_checked(tmp_path):
  one = read_foreign(files.write_export(tmp_path))
  assert one.learning_rate == 0.5 and one.preprocessing.kind == "standardise"
  arrays = dict(np.load(tmp_path / "export.npz")) | {"preprocessing/std": np.ones(3, np.float32)}
  np.savez(tmp_path / "a.npz", **arrays)
  with pytest.raises(ValueError, match=r"its preprocessing has std \[3\]"):
    read_foreign(tmp_path / "a.npz")
  for record in ("{", "[]", json.dumps({"preprocessing": {"kind": "nne"}})):
    np.savez(tmp_path / "a.npz", images=files.PIXELS, labels=files.LABELS, record=np.array(record))
    with pytest.raises(ValueError, match="a.npz: its record cannot be read"):
      read_foreign(tmp_path / "a.npz")
