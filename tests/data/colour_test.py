"""Colour-biased images: stated bias, no bias in the test part, and the cuts carry colours along."""

import hashlib

import numpy as np
import pytest

from ddjax.config import groups
from ddjax.data import colour
from ddjax.data.facts import FACTS
from ddjax.data.load import load_real_data


def load(name="digits", **fields):
  config = groups.data(name)
  config.update(fields)
  return load_real_data(config)


def test_colours_are_apart_and_equally_bright():
  table = colour.palette(10)
  np.testing.assert_allclose(table.sum(axis=1), 1.5)
  np.testing.assert_allclose((table**2).sum(axis=1), 1.125)
  assert table.min() >= 0 and table.max() <= 1
  apart = np.linalg.norm(table[:, None] - table[None], axis=-1)
  assert apart[~np.eye(10, dtype=bool)].min() > 0.35


def test_strokes_by_hand():
  images = np.array([0, 8, 16], np.uint8).reshape(3, 1, 1, 1)
  table = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.25]])
  coloured = colour.colour_strokes(images, np.array([0, 0, 1]), table, 16)
  assert coloured.dtype == np.uint8
  np.testing.assert_array_equal(coloured.reshape(3, 3), [[0, 0, 0], [8, 0, 4], [0, 16, 4]])


@pytest.mark.parametrize("bias", [0.1, 0.6, 0.95, 1.0])
def test_the_bias_is_as_stated_and_other_colours_are_alike(bias):
  labels = np.arange(50_000) % 10
  colours = colour.draw_colours(labels, 10, bias, (0, 1))
  own = colours == labels
  assert abs(own.mean() - bias) < 4 * np.sqrt(bias * (1 - bias) / 50_000) + 1e-12
  others = np.bincount((colours - labels)[~own] % 10, minlength=10)[1:]
  expected = (1 - bias) * 50_000 / 9
  assert np.abs(others - expected).max() <= 4 * np.sqrt(expected)


def test_digits():
  grey = load()
  real = load(colour_bias=0.9)
  assert real.info.image_shape == (8, 8, 3) and real.max_value == 16
  assert real.train_groups.dtype == np.int32 and real.train_groups.shape == (1347,)
  table = colour.palette(10)
  for images, labels, colours, source in (
    (real.train_images, real.train_labels, real.train_groups, grey.train_images),
    (real.test_images, real.test_labels, real.test_groups, grey.test_images),
  ):
    expected = source * table[colours][:, None, None]
    assert np.abs(images - expected).max() <= 0.5
    assert len(labels) == len(colours)
  assert abs((real.train_groups == real.train_labels).mean() - 0.9) < 0.04
  assert abs((real.test_groups == real.test_labels).mean() - 0.1) < 0.06
  assert real.fingerprint != grey.fingerprint
  content = real.train_images.tobytes() + real.train_labels.astype("<i4").tobytes()
  assert real.fingerprint == hashlib.sha256(content).hexdigest()
  assert grey.train_groups is None and grey.test_groups is None


def test_the_split_seed_alone_decides():
  first, again, other = (load("fake", colour_bias=0.5, split_seed=seed) for seed in (0, 0, 1))
  assert first.fingerprint == again.fingerprint != other.fingerprint
  np.testing.assert_array_equal(first.test_groups, again.test_groups)


def test_cuts_carry_colours_along():
  real = load(colour_bias=0.5, num_classes=4, validation_fraction=0.2, max_train_examples=100)
  assert len(real.train_groups) == 100 and real.train_groups.max() == 3  # four colours
  assert real.validation_images.shape[1:] == (8, 8, 3)
  brightest = real.train_images.max(axis=(1, 2)).astype(float)
  table = colour.palette(4)
  distance = np.linalg.norm(
    brightest[:, None] / brightest.sum(-1)[:, None, None] - table[None] / 1.5, axis=-1
  )
  np.testing.assert_array_equal(distance.argmin(axis=1), real.train_groups)
  assert len(real.test_groups) == len(real.test_labels)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(colour_bias=0.2), r"colour_bias = 0.2 must lie in \[0.25, 1\]"),
    (dict(colour_bias=1.1), "colour_bias = 1.1"),
  ],
)
def test_bad_bias(fields, message):
  with pytest.raises(ValueError, match=message):
    load("fake", **fields)


def test_only_grey_images(tmp_path):
  images = np.arange(20 * 48).reshape(20, 4, 4, 3) % 256
  np.savez(tmp_path / "own.npz", images=images, labels=np.arange(20) % 2)
  with pytest.raises(ValueError, match="colour_bias = 0.9 needs grey images; these have 3"):
    load("npz", path=str(tmp_path / "own.npz"), colour_bias=0.9)


def test_published_constants_are_of_grey_images(monkeypatch):
  published = FACTS["fake"]._replace(mean=(0.1,), std=(0.3,))
  monkeypatch.setitem(FACTS, "fake", published)
  assert load("fake", preprocessing="published").preprocessing.mean == np.float32(0.1)
  with pytest.raises(ValueError, match="no published"):
    load("fake", colour_bias=0.9, preprocessing="published")
