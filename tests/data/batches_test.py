import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.data.batches import draw_class_balanced, draw_examples, standardise, take
from ddjax.data.splits import rows_by_class
from ddjax.types import DataSplit

LABELS = np.repeat([0, 1, 2], [12, 7, 3])[np.random.RandomState(0).permutation(22)].astype(np.int32)


@pytest.fixture
def data():
  index, counts = rows_by_class(LABELS, 3)
  images = np.random.RandomState(1).randint(0, 256, (22, 4, 4, 2)).astype(np.uint8)
  mean, std = np.float32([100, 120]), np.float32([50, 60])
  return DataSplit(images, LABELS, np.ones(22, bool), index, counts, mean, std)


def test_standardise(data):
  expected = (data.images.astype(np.float64) - [100, 120]) / [50, 60]
  for images, truth in ((data.images, expected), (data.images[0], expected[0])):
    out = standardise(jnp.asarray(images), data)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, truth, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_are_taken_to_the_bits_that_standardising_them_gives(data, dtype):
  data = jax.tree.map(jnp.asarray, data.replace(images=data.images.astype(dtype)))
  index = jnp.array([3, 0, 21, 3])
  expected = jax.jit(lambda: standardise(data.images[index], data))()
  np.testing.assert_array_equal(jax.jit(take)(data, index), expected)
  both = jax.vmap(take, in_axes=(None, 0))(data, jnp.stack([index, index + 0]))
  np.testing.assert_array_equal(both[1], expected)


@pytest.mark.parametrize("num_per_class", [1, 3])
def test_draws_are_balanced_and_without_replacement(data, num_per_class):
  rows = jax.jit(draw_class_balanced, static_argnums=2)(jax.random.key(0), data, num_per_class)
  assert rows.shape == (3, num_per_class) and rows.dtype == jnp.int32
  np.testing.assert_array_equal(LABELS[rows], np.arange(3)[:, None].repeat(num_per_class, 1))
  assert all(len(set(of_class)) == num_per_class for of_class in rows.tolist())


def test_small_class_gives_all_then_again(data):
  rows = np.asarray(draw_class_balanced(jax.random.key(0), data, 14))
  for label, count in enumerate([12, 7, 3]):
    everything = np.flatnonzero(LABELS == label)
    for start in range(0, 14 - count + 1, count):
      np.testing.assert_array_equal(np.sort(rows[label, start : start + count]), everything)


def test_every_example_of_a_class_is_equally_likely(data):
  draw = jax.jit(jax.vmap(lambda rng: draw_class_balanced(rng, data, 2)))
  rows = np.asarray(draw(jax.random.split(jax.random.key(3), 3000)))
  for label, count in enumerate([12, 7, 3]):
    hits = np.bincount(rows[:, label].ravel(), minlength=22)[LABELS == label]
    share = 2 / count
    noise = np.sqrt(3000 * share * (1 - share))
    assert np.abs(hits - 3000 * share).max() < 4.5 * noise
    assert np.abs(hits - 3000 / (count + 1)).max() > 4.5 * noise  # a wrong value is seen


def test_examples_of_any_class_are_equally_likely_and_drawn_without_replacement(data):
  draw = jax.jit(jax.vmap(lambda rng: draw_examples(rng, data, 5)))
  rows = np.asarray(draw(jax.random.split(jax.random.key(4), 3000)))
  assert rows.shape == (3000, 5) and rows.dtype == np.int32
  assert all(len(set(of_draw)) == 5 for of_draw in rows.tolist())
  hits = np.bincount(rows.ravel(), minlength=22)
  noise = np.sqrt(3000 * 5 / 22 * (1 - 5 / 22))
  assert np.abs(hits - 3000 * 5 / 22).max() < 4.5 * noise
  assert np.abs(hits - 3000 * 4 / 22).max() > 4.5 * noise  # a wrong value is seen
  everything = draw_examples(jax.random.key(0), data, 22)
  np.testing.assert_array_equal(np.sort(everything), np.arange(22))
