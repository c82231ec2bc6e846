"""The private sum: what is drawn, how far one example moves it, and that its noise is what is said.

A lower bound of epsilon is measured by adding one canary to a step, many times over (Jagielski et
al. 2020, arXiv 2006.07709): it must not exceed the epsilon of the right noise, and must show noise
that is ten times too small.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ddjax.privacy import accounting, mechanism
from tests.privacy.canaries import epsilon_lower_bound, normal_deviation


@jax.jit
def _samples(rngs, mask):
  return jax.vmap(lambda rng: mechanism.draw_sample(rng, mask, 0.25, 40))(rngs)


def test_every_member_is_drawn_with_the_rate_and_apart_from_others():
  mask = np.arange(60) % 3 > 0
  samples = _samples(jax.random.split(jax.random.key(0), 4000), mask)
  index, weights = np.asarray(samples.index), np.asarray(samples.weights)
  drawn = np.zeros((4000, 60), bool)
  rows, places = np.nonzero(weights)
  drawn[rows, index[rows, places]] = True
  assert not drawn[:, ~mask].any()
  assert drawn.sum() == weights.sum()  # nobody twice
  assert stats.binomtest(int(drawn.sum()), 4000 * 40, 0.25).pvalue > 1e-4
  members = drawn[:, mask]
  each = stats.chisquare(members.sum(0), np.full(40, members.sum() / 40)).pvalue
  together = np.corrcoef(members.T)[~np.eye(40, dtype=bool)]
  assert each > 1e-4 and np.abs(together).max() < 0.08
  assert np.var(members.sum(1)) == pytest.approx(40 * 0.25 * 0.75, rel=0.1)  # a Binomial's


def test_a_sample_without_an_example_draws_the_others_as_before():
  whole = np.ones(60, bool)
  full = mechanism.draw_sample(jax.random.key(4), whole, 0.5, 60)
  chosen = np.asarray(full.index)[np.asarray(full.weights) > 0]
  less = mechanism.draw_sample(jax.random.key(4), whole & (np.arange(60) != chosen[3]), 0.5, 60)
  others = np.asarray(less.index)[np.asarray(less.weights) > 0]
  assert set(chosen) - set(others) == {chosen[3]} and set(others) < set(chosen)


def test_a_sample_above_the_capacity_is_cut():
  sample = mechanism.draw_sample(jax.random.key(0), np.ones(60, bool), 1.0, 7)
  assert sample.index.tolist() == list(range(7)) and sample.weights.tolist() == [1.0] * 7


def _contributions(count=50):
  rng = np.random.default_rng(0)
  sizes = 10.0 ** rng.uniform(-6, 6, count)
  one = {"a": rng.normal(size=(count, 3, 2)), "b": rng.normal(size=(count, 5))}
  return {
    name: (leaf * sizes.reshape(-1, *(1,) * (leaf.ndim - 1))).astype(np.float32)
    for name, leaf in one.items()
  }


def test_the_sum_is_that_of_a_loop():
  tree, weights = _contributions(), (np.arange(50) % 4 > 0).astype(np.float32)
  found = mechanism.clipped_sum(tree, weights, 0.5)
  total = dict.fromkeys(tree, 0.0)
  for i in np.flatnonzero(weights):
    norm = np.sqrt(sum(np.sum(leaf[i].astype(np.float64) ** 2) for leaf in tree.values()))
    total = {name: total[name] + leaf[i] * min(1, 0.5 / norm) for name, leaf in tree.items()}
  for name in tree:
    np.testing.assert_allclose(found[name], total[name], rtol=1e-4, atol=1e-5)


def test_no_example_moves_the_sum_by_more_than_the_clip_norm():
  tree = _contributions()
  tree["a"][7], tree["b"][9, 2] = np.inf, np.nan  # a hostile example must not spoil the rest
  tree["b"][11] = 1e30  # its square overflows
  tree = jax.tree.map(jnp.asarray, tree)
  total = jax.jit(lambda weights: mechanism.clipped_sum(tree, weights, 0.5))
  ones = np.ones(50, np.float32)
  whole, moved = total(ones), []
  for i in range(50):
    less = total(np.where(np.arange(50) == i, 0, ones).astype(np.float32))
    change = [np.asarray(whole[name] - less[name], np.float64) for name in tree]
    assert all(np.isfinite(part).all() for part in change)
    moved.append(np.sqrt(sum(np.sum(part**2) for part in change)))
  assert max(moved) <= 0.5 + 1e-5 and np.median(moved) > 0.2  # rounding of a sum of fifty
  assert max(moved[7], moved[9], moved[11]) == 0


def test_long_vectors_are_clipped_to_just_below_the_norm():
  rows = np.random.default_rng(0).normal(size=(2000, 30)).astype(np.float32) * 100
  factors = np.asarray(mechanism.clip_factors(jnp.sum(rows**2, axis=1), 0.7), np.float64)
  norms = np.linalg.norm(rows.astype(np.float64), axis=1) * factors
  assert norms.max() <= 0.7 and norms.min() > 0.7 * (1 - 1e-5)


def test_factors_have_a_gradient_where_vectors_are_zero_or_on_the_limit():
  def clipped(rows):
    return jnp.sum(rows * mechanism.clip_factors(jnp.sum(rows**2, axis=1), 1.0)[:, None])

  gradient = jax.grad(clipped)(jnp.array([[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]]))
  assert np.isfinite(np.asarray(gradient)).all()
  np.testing.assert_allclose(gradient[0], 1.0)
  direction = np.array([3.0, 4.0]) / 5  # of x / |x|: what is across, over the norm
  np.testing.assert_allclose(gradient[2], (1 - direction * direction.sum()) / 5, rtol=1e-4)


def test_noise_has_the_scale_that_is_said_and_no_leaf_has_that_of_another():
  zero = {"a": jnp.zeros((100, 100)), "b": jnp.zeros((100, 100))}
  noised = mechanism.add_noise(jax.random.key(0), zero, 0.3)
  for leaf in noised.values():
    assert stats.kstest(np.asarray(leaf).ravel(), "norm", args=(0, 0.3)).pvalue > 1e-3
    assert abs(normal_deviation(leaf, 0.3)) < 4 < abs(normal_deviation(leaf, 0.33))
  assert abs(np.corrcoef(np.ravel(noised["a"]), np.ravel(noised["b"]))[0, 1]) < 0.04


def _words(key):
  return jax.random.key_data(key).tolist()


def test_noise_is_that_of_the_step_and_of_the_secret():
  def keys(seed, step):
    key = mechanism.noise_key(jax.random.key(0), seed)
    return [_words(one) for one in mechanism.step_keys(key, step)]

  assert keys(5, 3) == keys(5, jnp.int32(3))
  seeds = (None, 0, 5, 5 + 2**32, 2**64 - 1)
  found = [tuple(map(tuple, keys(seed, step))) for seed in seeds for step in (0, 1, 2)]
  assert len({word for of_step in found for word in of_step}) == 3 * len(found)


_CANARY = np.array([0.6, -0.8, 0.0, 0.0], np.float32)
_COUNT = 30000


def _scores(rate, scale, has_canary):
  """The release along the canary, over many steps of other noise."""
  others = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  rows = np.concatenate([others, 5 * _CANARY[None]])  # it is clipped
  mask = np.arange(10) < (10 if has_canary else 9)

  def one(key):
    keys = mechanism.step_keys(key, 0)
    sample = mechanism.draw_sample(keys.sample, mask, rate, 10)
    total = mechanism.clipped_sum(jnp.asarray(rows)[sample.index], sample.weights, 1.0)
    return jnp.dot(mechanism.add_noise(keys.noise, total, scale), _CANARY)

  rngs = jax.random.split(jax.random.key(has_canary), _COUNT)
  return np.asarray(jax.jit(jax.vmap(one))(rngs))


@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_canaries_show_noise_that_is_too_small_and_do_not_flag_the_right_one(rate):
  multiplier = accounting.find_noise_multiplier(1.0, 1e-5, rate, 1)
  right = epsilon_lower_bound(_scores(rate, multiplier, True), _scores(rate, multiplier, False))
  assert right <= 1.0
  assert right > 0.05 or rate < 1  # where all examples are drawn, it sees something
  fault = multiplier / 10
  assert epsilon_lower_bound(_scores(rate, fault, True), _scores(rate, fault, False)) > 1.0
