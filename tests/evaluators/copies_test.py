"""The copy check: a copy is found, others of the distribution are not, and the chance is right."""

import numpy as np
import pytest

from ddjax.evaluators import copies


def test_copies_are_found_and_named():
  rng = np.random.default_rng(0)
  train, held_out = rng.normal(size=(50, 6)), rng.normal(size=(20, 6))
  found = copies.check_copies(train[[7, 3]] + 1e-6, train, held_out)
  np.testing.assert_array_equal(found.train.index, [7, 3])
  np.testing.assert_allclose(found.train.distance, 1e-6, rtol=1e-4)
  np.testing.assert_array_equal(found.is_train, [1, 1])
  distances = np.sqrt(((train[7] - held_out) ** 2).mean(axis=1))
  np.testing.assert_allclose(found.held_out.distance[0], distances.min(), rtol=1e-4)


def test_fresh_images_are_nearest_to_train_as_often_as_chance_says():
  rng = np.random.default_rng(0)
  images, train, held_out = (rng.normal(size=(n, 5)) for n in (2000, 300, 100))
  found = copies.check_copies(images, train, held_out)
  assert found.expected == 0.75
  mean, low, high = copies.mean_interval(found.is_train)
  assert low < 0.75 < high and high - low < 0.05
  rows = rng.permutation(len(held_out))
  control = copies.check_copies(held_out[rows], train, held_out, own_rows=rows)
  assert control.expected == pytest.approx(300 / 399)
  assert (control.held_out.distance > 0).all()


def test_equal_distances_count_half():
  found = copies.check_copies(np.zeros((1, 2)), np.ones((3, 2)), -np.ones((2, 2)))
  assert found.is_train[0] == 0.5


def test_ten_of_ten_still_leave_doubt():
  mean, low, high = copies.mean_interval(np.ones(10))
  assert mean == high == 1.0
  assert low == pytest.approx(0.025 ** (1 / 10))
