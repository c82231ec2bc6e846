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


def _reference(seed):
  """Algorithms 1 and 2 in a plain loop, given the draws of `square`: whether an image is fooled.

  A draw in [0, 1) is a sign (minus below one half) or a place among those where the square fits.
  """
  pixels, labels = (np.asarray(array) for array in victim.test_set())
  count, height, width, channels = pixels.shape
  key, logits_fn = jax.random.key(seed), jax.jit(victim.logits_fn())

  def draws_of(query, shape):
    return np.asarray(jax.random.uniform(jax.random.fold_in(key, query), (count, *shape)))

  def sign(draw):
    return np.where(draw < 0.5, -1.0, 1.0)

  def margin_of(points):
    logits = np.array(logits_fn(jnp.float32(points)))
    own = logits[np.arange(count), labels]
    logits[np.arange(count), labels] = -np.inf
    return logits.max(1) - own

  is_fooled = margin_of(pixels) > 0
  best = np.clip(pixels + _EPSILON * sign(draws_of(1, (1, width, channels))), 0, 1)
  margins = margin_of(best)
  is_fooled |= margins > 0
  for query, side in enumerate(square_sides(_NUM_QUERIES, 0.8, height, width)[1:], start=2):
    draws = draws_of(query, (2 + channels,))
    tried = best.copy()
    for i, (row, column, *signs) in enumerate(draws):
      row, column = int(row * (height - side + 1)), int(column * (width - side + 1))
      window = i, slice(row, row + side), slice(column, column + side)
      tried[window] = np.clip(pixels[window] + _EPSILON * sign(np.array(signs)), 0, 1)
    found = margin_of(tried)
    is_better = found > margins
    best[is_better], margins[is_better] = tried[is_better], found[is_better]
    is_fooled |= found > 0
  return is_fooled


def test_fools_the_images_that_a_plain_search_fools(result):
  """Given the same draws; rounding of a margin may still turn one of the sixty."""
  fooled, reference = np.asarray(result.is_fooled), _reference(seed=0)
  assert 0.2 < reference.mean() < 0.9
  assert fooled.mean() == pytest.approx(reference.mean(), abs=0.02)
  assert np.sum(fooled != reference) <= 1
