"""Square against a plain random search, and its schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks.square import square, square_sides
from tests.attacks import victim

_EPSILON, _NUM_QUERIES = 0.1, 300


@pytest.fixture(scope="module")
def result():
  pixels, labels = victim.test_set()
  return jax.jit(
    lambda rng: square(
      victim.logits_fn(), pixels, labels, rng, epsilon=_EPSILON, num_queries=_NUM_QUERIES
    )
  )(jax.random.key(0))


def test_sides_of_the_published_schedule():
  sides = square_sides(10_000, 0.8, 32, 32)
  for query, share in ((0, 0.8), (11, 0.4), (51, 0.2), (201, 0.1), (501, 0.05), (8001, 0.8 / 512)):
    assert sides[query] == round(np.sqrt(share * 32 * 32))
  assert sides[10] == sides[0] and sides.min() == 1
  np.testing.assert_array_equal(square_sides(100, 0.8, 32, 32), sides[::100])


def test_stays_in_the_ball(result):
  pixels, labels = victim.test_set()
  assert jnp.abs(result.adversarial - pixels).max() <= _EPSILON + 1e-6
  assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
  accuracy = 1 - float(result.is_fooled.mean())
  assert victim.accuracy(result.adversarial, labels) == pytest.approx(accuracy)
  assert not result.num_gradients.any()
  robust = ~np.asarray(result.is_fooled)
  assert set(np.asarray(result.num_forwards)[robust]) == {_NUM_QUERIES + 1}


def _reference():
  """Algorithms 1 and 2 in NumPy: whether each image is fooled."""
  pixels, labels = (np.asarray(array) for array in victim.test_set())
  rng = np.random.default_rng(0)
  logits_fn = jax.jit(victim.logits_fn())
  rows = np.arange(len(pixels))

  def margin_of(points):
    logits = np.array(logits_fn(jnp.float32(points)))
    own = logits[rows, labels]
    logits[rows, labels] = -np.inf
    return logits.max(1) - own

  best = np.clip(pixels + _EPSILON * rng.choice([-1, 1], (len(pixels), 1, 8, 1)), 0, 1)
  margins = np.maximum(margin_of(best), -np.inf)
  is_fooled = (margins > 0) | (margin_of(pixels) > 0)
  for side in square_sides(_NUM_QUERIES, 0.8, 8, 8)[1:]:
    tried = best.copy()
    for i in rows:
      row, column = rng.integers(0, 8 - side + 1, 2)
      window = i, slice(row, row + side), slice(column, column + side)
      tried[window] = np.clip(pixels[window] + _EPSILON * rng.choice([-1, 1]), 0, 1)
    found = margin_of(tried)
    is_better = found > margins
    best[is_better], margins[is_better] = tried[is_better], found[is_better]
    is_fooled |= found > 0
  return is_fooled


def test_as_strong_as_a_plain_search(result):
  """Draws differ, so that a few of the sixty images may differ too."""
  fooled, reference = np.asarray(result.is_fooled), _reference()
  assert 0.2 < reference.mean() < 0.9
  assert fooled.mean() == pytest.approx(reference.mean(), abs=0.05)
  assert np.mean(fooled == reference) > 0.9
