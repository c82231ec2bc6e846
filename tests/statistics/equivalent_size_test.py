"""What a set is worth on curves whose inverse is known."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from ddjax.statistics import equivalent_size
from ddjax.statistics.equivalent_size import isotonic, read_backwards


def _curve(rng, sizes=(5, 10, 20, 40, 80), seeds=3, networks=5, noise=0.01):
  """Accuracy .2 + .15 log2(size / 5), with noise of seeds and networks."""
  return {
    size: [
      (0.2 + 0.15 * math.log2(size / 5) + rng.normal(scale=noise) + rng.normal(
        scale=noise, size=networks)).tolist()
      for _ in range(seeds)
    ]
    for size in sizes
  }  # fmt: skip


def test_isotonic_is_that_of_scikit_learn():
  values = np.random.default_rng(0).normal(size=40) + np.arange(40) / 10
  expected = IsotonicRegression().fit_transform(np.arange(40), values)
  assert isotonic(values) == pytest.approx(expected)


def test_reading_backwards():
  places, values = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.3, 0.7])
  assert read_backwards(places, values, 0.2) == pytest.approx(0.5)
  assert read_backwards(places, values, 0.3) == pytest.approx(1.5)  # the middle of the flat part
  assert read_backwards(places, values, 0.5) == pytest.approx(2.5)
  assert read_backwards(places, values, 0.05) == -math.inf
  assert read_backwards(places, values, 0.8) == math.inf


def test_a_set_as_good_as_twenty_images_is_worth_twenty():
  rng = np.random.default_rng(3)
  curve = _curve(rng)
  found = equivalent_size.equivalent_size(curve, curve[20])
  assert found.value == pytest.approx(20.0)
  assert found.low < 20 < found.high
  assert (found.smallest, found.largest) == (5.0, 80.0)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
  held = []
  for seed in range(60):
    rng = np.random.default_rng(seed)
    target = _curve(rng, sizes=(20,), seeds=5)[20]
    found = equivalent_size.equivalent_size(_curve(rng, seeds=5), target, num_bootstrap=300)
    held.append(found.low <= 20 <= found.high)
  assert np.mean(held) >= 0.85


def test_outside_of_what_was_measured():
  curve = _curve(np.random.default_rng(0))
  above = equivalent_size.equivalent_size(curve, [[0.99, 0.98]])
  assert above.value == above.low == above.high == math.inf
  below = equivalent_size.equivalent_size(curve, [[0.01, 0.02]])
  assert below.value == below.low == below.high == -math.inf
  at_the_end = equivalent_size.equivalent_size(curve, curve[80])
  assert at_the_end.high == math.inf and at_the_end.low < 80


def test_one_network_of_one_seed_has_a_point():
  found = equivalent_size.equivalent_size({1: [[0.1]], 100: [[0.3]]}, [[0.2]])
  assert found.value == found.low == found.high == pytest.approx(10.0)


def test_redrawn_means_have_the_variance_of_a_mean():
  values = [[0.1], [0.4], [0.2]]
  drawn = equivalent_size.redraw(values, 40000, np.random.default_rng(0))
  assert drawn.var() == pytest.approx(np.var([0.1, 0.4, 0.2], ddof=1) / 3, rel=0.03)
  assert drawn.mean() == pytest.approx(np.mean([0.1, 0.4, 0.2]), abs=0.002)


@pytest.mark.parametrize(
  "curve, target, message",
  [({1: [[0.1]]}, [[0.2]], "two sizes"), ({0: [[0.1]], 1: [[0.2]]}, [[0.2]], "positive"),
   ({1: [[0.1]], 2: [[]]}, [[0.2]], "no number"), ({1: [[0.1]], 2: [[0.2]]}, [], "no number")],
)  # fmt: skip
def test_bad_curves(curve, target, message):
  with pytest.raises(ValueError, match=message):
    equivalent_size.equivalent_size(curve, target)
