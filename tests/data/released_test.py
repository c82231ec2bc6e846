"""Made-up images in the layouts of the archives; the archives themselves are not at hand."""

import numpy as np
from PIL import Image
import pytest

from ddjax.config.groups import data as data_group
from ddjax.data import load
from ddjax.data.facts import FACTS
from ddjax.data.source import DataError


def _save(path, value, size=(64, 64)):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, (value, 255 - value, 7)).save(path, quality=95)


@pytest.fixture
def tiny(tmp_path):
  """Tiny ImageNet: two train images a class and one to test on, of 200 classes."""
  folder, lines, words = tmp_path / "tiny-imagenet-200", [], []
  for label in range(200):
    wnid = f"n{label:08d}"
    for index in range(2):
      _save(folder / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", label)
    _save(folder / "val" / "images" / f"val_{label}.JPEG", label)
    lines.insert(0, f"val_{label}.JPEG\t{wnid}\t0\t0\t62\t62")
    words.append(f"{wnid}\t{'crane' if label < 2 else f'word {label}'}, other name")
  (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
  (folder / "words.txt").write_text("\n".join(words))
  return folder


def _config(name, **fields):
  config = data_group(name)
  config.update(fields)
  return config


def test_tiny_imagenet(tiny):
  source = load.read_source(_config("tiny_imagenet", data_dir=str(tiny.parent)))
  assert source.train_images.shape == (400, 64, 64, 3)
  np.testing.assert_array_equal(source.train_labels, np.repeat(np.arange(200), 2))
  np.testing.assert_array_equal(source.test_labels, np.arange(200))
  for images, labels in (
    (source.train_images, source.train_labels),
    (source.test_images, source.test_labels),
  ):
    np.testing.assert_allclose(images[:, 30, 30, 0].astype(int), labels, atol=3)  # JPEG rounds
  assert source.class_names[1:3] == ("crane (n00000001)", "word 2")


def test_imagenette_of_unequal_sizes(tmp_path):
  names = FACTS["imagenette"].class_names
  for label, wnid in enumerate(names):
    _save(tmp_path / "train" / wnid / "a.JPEG", 20 * label, (200, 160))
    _save(tmp_path / "train" / wnid / "b.JPEG", 20 * label, (160, 300))
    _save(tmp_path / "val" / wnid / "c.JPEG", 20 * label, (130, 131))
  real = load.load_real_data(_config("imagenette", path=str(tmp_path), preprocessing="published"))
  assert real.info.image_shape == (128, 128, 3) and real.test_images.shape == (10, 128, 128, 3)
  assert real.class_names == tuple(names.values())
  np.testing.assert_allclose(
    real.train_images[:, 60, 60, 0].astype(int), 20 * real.train_labels, atol=3
  )


def _without(folder, part):
  (folder / part).rename(folder / "elsewhere")


def _annotate(line):
  def change(folder):
    path = folder / "val" / "val_annotations.txt"
    path.write_text(line + path.read_text())

  return change


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda folder: _without(folder, "train"), "no folder .*train. tiny_imagenet is read from"),
    (lambda folder: _without(folder, "val"), "no folder .*val. tiny_imagenet is read from"),
    (lambda folder: _without(folder, "train/n00000007"), "line 193: .* is no file and class"),
    (_annotate("../x.JPEG\tn00000001\n"), "line 1: .* is no file and class of train"),
    (_annotate("absent.JPEG\tn00000001\n"), "absent.JPEG is not a readable image"),
    (_annotate("no tab\n"), "line 1: 'no tab' is no file"),
  ],
)
def test_a_damaged_archive_is_refused(tiny, change, message):
  change(tiny)
  with pytest.raises(DataError, match=message):
    load.read_source(_config("tiny_imagenet", path=str(tiny)))


@pytest.mark.parametrize("fields", [dict(image_size=32), dict(channels="first")])
def test_fields_of_own_data_are_refused(fields):
  with pytest.raises(DataError, match=f"data.{next(iter(fields))}=.* is of data.name="):
    load.read_source(_config("digits", **fields))
