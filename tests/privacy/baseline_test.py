"""Noised class means: against a loop, how far one example moves them, and their noise."""

import math

import numpy as np
import pytest
from scipy import stats

from ddjax.data import fake
from ddjax.privacy import accounting, baseline
from tests.privacy.canaries import normal_deviation

_SOURCE = fake.make_fake(num_train=203)


def _means(rows=slice(None), ipc=1, epsilon=1e4, seed=(1, 2), images=_SOURCE.train_images):
  labels = _SOURCE.train_labels
  stored = baseline.Stored(images[rows], labels[rows], 4, 255)
  return baseline.noised_means(stored, ipc, epsilon=epsilon, delta=1e-5, seed=seed)


def test_with_little_noise_they_are_the_class_means_about_grey():
  pixels, labels = _SOURCE.train_images / 255, _SOURCE.train_labels
  found = _means()
  assert found.shape == (4, 8, 8, 1) and found.dtype == np.float32
  for label in range(4):
    own = pixels[labels == label]
    expected = 0.5 + (own - 0.5).sum(axis=0) / (203 / 4)  # by the size that is public
    np.testing.assert_allclose(found[label], np.clip(expected, 0, 1), atol=0.01)


def test_groups_of_a_class_share_its_examples():
  with_groups = _means(ipc=3).reshape(4, 3, 8, 8, 1)
  assert np.abs(with_groups[:, 0] - with_groups[:, 1]).max() > 0.02
  np.testing.assert_allclose(with_groups.mean(axis=1), _means(), atol=0.05)


def test_an_example_moves_the_sums_by_half_the_diagonal_at_most(monkeypatch):
  monkeypatch.setattr(baseline, "noise_scale", lambda *_: 0.0)
  images = np.where(np.arange(203)[:, None, None, None] % 2, _SOURCE.train_images, 255)  # farthest
  whole = _means(images=images)
  for row in range(0, 203, 20):
    less = _means(np.arange(203) != row, images=images)
    share = 203 / 4, 202 / 4  # to sums again; clipping to [0, 1] brings values nearer together
    moved = (whole - 0.5) * share[0] - (less - 0.5) * share[1]
    assert np.linalg.norm(moved) <= math.sqrt(64) / 2 + 1e-3
  assert np.linalg.norm(moved) > 1


@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_the_noise_is_that_of_the_gaussian_mechanism(epsilon):
  grey = np.full((40000, 8, 8, 1), 127.5, np.float32)  # sums are noise alone
  stored = baseline.Stored(grey, np.arange(40000) % 4, 4, 255)
  means = baseline.noised_means(stored, 5, epsilon=epsilon, delta=1e-5, seed=[3])
  scale = baseline.noise_scale(64, epsilon, 1e-5)
  noise = (means.astype(np.float64) - 0.5).ravel() * 2000
  assert stats.kstest(noise, "norm", args=(0, scale)).pvalue > 1e-3
  assert abs(normal_deviation(noise, scale)) < 4 < abs(normal_deviation(noise, 1.3 * scale))
  spent = accounting.spent(scale / 4, 1.0, 1, 1e-5).epsilon  # 4 is half the diagonal of 8 x 8
  assert 0.99 * epsilon <= spent <= epsilon


def test_the_same_seed_gives_the_same_set():
  np.testing.assert_array_equal(_means(seed=(7,)), _means(seed=(7,)))
  assert (_means(seed=(7,), epsilon=1.0) != _means(seed=(8,), epsilon=1.0)).mean() > 0.3
