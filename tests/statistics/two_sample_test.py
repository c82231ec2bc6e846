"""The energy test: its statistic against the definition, its level, its power."""

import numpy as np
import pytest
from scipy import stats

from ddjax.statistics.two_sample import energy_test


def test_the_distance_against_scipy():
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=(6, 1)), rng.normal(1, 1, size=(9, 1))
  ours, _ = energy_test(first, second, 99, rng)
  theirs = stats.energy_distance(first[:, 0], second[:, 0]) ** 2  # SciPy takes the root
  np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 5])
def test_level_and_power(count):
  """One point against many is tested too: equal samples are rejected in 5 %, others mostly."""
  rng = np.random.default_rng(1)

  def share(shift: float) -> float:
    p_values = [
      energy_test(rng.normal(shift, 1, (count, 3)), rng.normal(size=(40, 3)), 99, rng)[1]
      for _ in range(200)
    ]
    return np.mean(np.array(p_values) < 0.05)

  assert share(0.0) < 0.1
  assert share(3.0) > 0.9


def test_every_relabelling_is_taken_where_they_are_few():
  real = np.arange(24.0)[:, None]
  rng = np.random.default_rng(0)
  assert energy_test(np.array([[60.0]]), real, 99, rng)[1] == 1 / 25
  assert energy_test(np.array([[12.1]]), real, 99, rng)[1] > 0.5


def test_too_few_points_have_no_p_value():
  distance, p_value = energy_test(np.ones((1, 2)), np.zeros((10, 2)), 99, np.random.default_rng(0))
  assert p_value is None
  assert distance == pytest.approx(2 * 2**0.5)
