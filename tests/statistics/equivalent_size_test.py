"""What a set is worth on curves whose inverse is known."""

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from ddjax.statistics import equivalent_size
from ddjax.statistics.equivalent_size import isotonic, read_backwards


def _curve(rng, sizes=(5, 10, 20, 40, 80), seeds=3, networks=5, noise=0.01):
  """Accuracy .2 + .15 log2(size / 5), with noise of seeds, sizes and networks."""
  shared = rng.normal(scale=noise, size=seeds)
  return {size: _at(0.2 + 0.15 * math.log2(size / 5), shared, rng, networks, noise)
          for size in sizes}  # fmt: skip


def _at(level, shared, rng, networks=5, noise=0.01):
  """{seed: accuracies of networks} about a level; what a seed adds to all sizes is `shared`."""
  return {
    seed: (level + one + rng.normal(scale=noise) + rng.normal(scale=noise, size=networks)).tolist()
    for seed, one in enumerate(shared)
  }


def _numbers(*values):
  return {seed: [value] for seed, value in enumerate(values)}


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
  curve = _curve(np.random.default_rng(3))
  target = {seed: list(curve[20][seed]) for seed in curve[20]}
  found = equivalent_size.equivalent_size(curve, target)
  assert found.value == pytest.approx(20.0)
  assert found.low == found.high == pytest.approx(20.0)  # the same to each seed, so it is sure
  apart = equivalent_size.equivalent_size(curve, {seed + 3: x for seed, x in target.items()})
  assert apart.low < 20 < apart.high and (apart.smallest, apart.largest) == (5.0, 80.0)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds):
  held = []
  for number in range(150):
    rng = np.random.default_rng(number)
    shared = rng.normal(scale=0.01, size=seeds)
    curve = {size: _at(0.2 + 0.15 * math.log2(size / 5), shared, rng) for size in (5, 10, 20, 40)}
    found = equivalent_size.equivalent_size(curve, _at(0.3, shared, rng), num_draws=400)
    held.append(found.low <= 5 * 2 ** (2 / 3) <= found.high)
  assert 0.915 <= np.mean(held) <= 0.985


def test_outside_of_what_was_measured():
  curve = _curve(np.random.default_rng(0))
  above = equivalent_size.equivalent_size(curve, {0: [0.99, 0.98]})
  assert above.value == above.low == above.high == math.inf
  below = equivalent_size.equivalent_size(curve, {0: [0.01, 0.02]})
  assert below.value == below.low == below.high == -math.inf
  last = {seed + 3: values for seed, values in curve[80].items()}
  at_the_end = equivalent_size.equivalent_size(curve, last)
  assert at_the_end.high == math.inf and at_the_end.low < 80


def test_one_network_of_one_seed_has_a_point():
  found = equivalent_size.equivalent_size({1: _numbers(0.1), 100: _numbers(0.3)}, _numbers(0.2))
  assert found.value == found.low == found.high == pytest.approx(10.0)


@pytest.mark.parametrize(
  "curve, target, message",
  [({1: {0: [0.1]}}, {0: [0.2]}, "two sizes"),
   ({0: {0: [0.1]}, 1: {0: [0.2]}}, {0: [0.2]}, "positive"),
   ({1: {0: [0.1]}, 2: {0: []}}, {0: [0.2]}, "no number"),
   ({1: {0: [0.1]}, 2: {0: [0.2]}}, {}, "no number")],
)  # fmt: skip
def test_bad_curves(curve, target, message):
  with pytest.raises(ValueError, match=message):
    equivalent_size.equivalent_size(curve, target)
