import numpy as np
import pytest

from ddjax.data.splits import rows_by_class, stratified_rows, without_rows

LABELS = np.repeat([0, 1, 2, 3], [50, 30, 15, 5])[np.random.RandomState(1).permutation(100)]


@pytest.mark.parametrize("count", [0, 1, 20, 33, 99, 100])
def test_every_class_keeps_its_share(count):
  rows = stratified_rows(LABELS, count, 0)
  assert len(np.unique(rows)) == len(rows) == count
  assert (np.diff(rows) > 0).all()
  shares = np.bincount(LABELS[rows], minlength=4)
  assert (np.abs(shares - np.array([50, 30, 15, 5]) * count / 100) < 1).all()


def test_exact_shares():
  np.testing.assert_array_equal(np.bincount(LABELS[stratified_rows(LABELS, 20, 0)]), [10, 6, 3, 1])


def test_seed_decides():
  assert np.array_equal(stratified_rows(LABELS, 20, (3, 1)), stratified_rows(LABELS, 20, (3, 1)))
  assert not np.array_equal(stratified_rows(LABELS, 20, (3, 1)), stratified_rows(LABELS, 20, 3))


def test_draws_do_not_change_between_versions():
  np.testing.assert_array_equal(stratified_rows(np.arange(40) % 2, 6, 0), [0, 8, 9, 19, 26, 31])


def test_all_rows_of_a_class_are_equally_likely():
  labels = np.arange(40) % 2
  hits = np.zeros(40)
  for seed in range(400):
    hits[stratified_rows(labels, 10, seed)] += 1
  # 400 draws with p = 1/4: mean 100, std 8.7
  assert np.abs(hits - 100).max() < 4.5 * 8.7
  assert 5 < hits.std() < 13


def test_too_many_are_refused():
  with pytest.raises(ValueError, match="101 examples from 100"):
    stratified_rows(LABELS, 101, 0)


def test_without_rows_is_the_complement():
  np.testing.assert_array_equal(without_rows(6, np.array([1, 4])), [0, 2, 3, 5])


def test_rows_by_class():
  index, counts = rows_by_class(np.array([1, 0, 1, 1, 0]), 2)
  np.testing.assert_array_equal(index, [[1, 4, 1], [0, 2, 3]])
  np.testing.assert_array_equal(counts, [2, 3])
  assert index.dtype == counts.dtype == np.int32


def test_class_without_examples_is_refused():
  with pytest.raises(ValueError, match=r"\[1\]"):
    rows_by_class(np.array([0, 2]), 3)
