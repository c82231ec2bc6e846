"""The budget: against `dp_accounting` called by hand, a closed form, and exact binomial tails."""

import math
import sys

import dp_accounting
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
import numpy as np
import pytest
from scipy import optimize, stats

from ddjax.privacy import accounting

_RUNS = [(1.0, 0.25, 3), (2.3, 0.3, 200), (0.8, 0.01, 1000), (4.0, 1.0, 5)]


def _by_hand(accountant, multiplier, rate, num_updates, delta):
  """Epsilon, by one call of the library for each update."""
  one = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(multiplier))
  for _ in range(num_updates if num_updates < 10 else 1):
    accountant.compose(one, 1 if num_updates < 10 else num_updates)
  return accountant.get_epsilon(delta)


@pytest.mark.parametrize("multiplier,rate,num_updates", _RUNS)
def test_bounds_are_those_of_the_library(multiplier, rate, num_updates):
  found = accounting.spent(multiplier, rate, num_updates, 1e-5)
  relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
  pld = _by_hand(PLDAccountant(relation), multiplier, rate, num_updates, 1e-5)
  rdp = _by_hand(RdpAccountant(range(2, 64), relation), multiplier, rate, num_updates, 1e-5)
  assert found.bounds["pld"] == pytest.approx(pld, rel=1e-3)
  assert found.bounds["rdp"] == pytest.approx(rdp, rel=1e-6)
  assert found.epsilon == min(found.bounds.values()) == found.bounds[found.accountant]


def _gaussian_epsilon(multiplier, num_updates, delta):
  """Exact: Balle, Wang 2018 (arXiv 1805.06530), theorem 8."""
  sigma = multiplier / math.sqrt(num_updates)

  def excess(epsilon):
    tails = stats.norm.cdf([0.5 / sigma - epsilon * sigma, -0.5 / sigma - epsilon * sigma])
    return tails[0] - math.exp(epsilon) * tails[1] - delta

  return optimize.brentq(excess, 0, 100)


@pytest.mark.parametrize("multiplier,num_updates", [(4.0, 1), (0.6, 1), (30.0, 400)])
def test_without_sampling_epsilon_has_a_closed_form(multiplier, num_updates):
  found = accounting.spent(multiplier, 1.0, num_updates, 1e-5)
  exact = _gaussian_epsilon(multiplier, num_updates, 1e-5)
  assert exact <= found.epsilon * (1 + 1e-6)  # a bound from above
  assert found.epsilon == pytest.approx(exact, rel=5e-3)
  assert found.bounds["rdp"] > 1.02 * exact  # the looser one


@pytest.mark.parametrize(
  "epsilon,rate,num_updates",
  [(0.1, 0.3, 50), (1.0, 0.3, 200), (1.0, 1.0, 1), (10.0, 1 / 1200, 3000), (300.0, 0.5, 20)],
)
def test_the_noise_for_a_wanted_epsilon_is_found_to_a_percent(epsilon, rate, num_updates):
  multiplier = accounting.find_noise_multiplier(epsilon, 1e-5, rate, num_updates)
  found = accounting.spent(multiplier, rate, num_updates, 1e-5).epsilon
  assert 0.99 * epsilon <= found <= epsilon
  assert accounting.spent(0.9 * multiplier, rate, num_updates, 1e-5).epsilon > epsilon


def test_what_no_noise_can_give_is_refused():
  with pytest.raises(ValueError, match="epsilon of 1e-12"):
    accounting.find_noise_multiplier(1e-12, 1e-12, 0.5, 100)


def test_a_missing_library_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "dp_accounting", None)
  with pytest.raises(ValueError, match="dp-accounting.*requirements.txt"):
    accounting.spent(1.234, 0.5, 7, 1e-5)


@pytest.mark.parametrize("rate", [0.1, 1 / 3, 1e-6, 0.999, 1.0])
def test_the_rate_that_is_accounted_is_the_one_that_is_drawn(rate):
  drawable = accounting.drawable_rate(rate)
  assert rate <= drawable < rate + 2**-22 and np.float32(drawable) == drawable
  levels = np.arange(2**23, dtype=np.float64) / 2**23  # what uniform float32 numbers are
  assert (levels < drawable).mean() == drawable


@pytest.mark.parametrize(
  "num_examples,rate,num_updates,epsilon",
  [
    (1347, 0.3, 200, 10.0),
    (60000, 1 / 1200, 12000, 1.0),
    (50000, 0.1, 100, 0.1),
    (64, 0.5, 9, 2.0),
  ],
)
def test_samples_that_are_cut_cost_a_hundredth_of_delta(num_examples, rate, num_updates, epsilon):
  capacity = accounting.choose_capacity(num_examples, rate, num_updates, epsilon, 1e-5)
  assert capacity.delta == pytest.approx(0.99e-5)
  exact = stats.binom(num_examples, rate).sf(capacity.size)
  assert num_updates * (1 + math.exp(epsilon)) * exact <= 1e-7
  if num_examples > 100:  # and it is no larger than need be
    smaller = stats.binom(num_examples, rate).sf(int(0.9 * capacity.size))
    assert num_updates * (1 + math.exp(epsilon)) * smaller > 1e-7
    assert capacity.size < num_examples


@pytest.mark.parametrize("epsilon,rate", [(1.0, 1.0), (5000.0, 0.5)])
def test_where_no_cut_can_be_afforded_all_examples_have_room(epsilon, rate):
  assert accounting.choose_capacity(64, rate, 10, epsilon, 1e-5).size == 64
