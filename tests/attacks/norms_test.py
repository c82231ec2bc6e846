"""Balls: projections, draws and directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks import norms

_IMAGE = jnp.array([[[0.0], [0.5]], [[1.0], [0.9]]])


def test_projections_by_hand():
  candidate = jnp.array([[[-0.5], [0.55]], [[1.5], [0.2]]])
  np.testing.assert_allclose(
    norms.LINF.project(_IMAGE, candidate, 0.1).ravel(), [0, 0.55, 1, 0.8], rtol=1e-6
  )
  far = _IMAGE.at[0, 1, 0].add(-0.3).at[1, 1, 0].add(-0.4)  # at l2 distance .5
  np.testing.assert_allclose(
    norms.L2.project(_IMAGE, far, 0.25).ravel(), [0, 0.35, 1, 0.7], rtol=1e-6
  )
  np.testing.assert_array_equal(norms.L2.project(_IMAGE, far, 1.0), far)


@pytest.mark.parametrize("name", list(norms.NORMS))
def test_draws_lie_in_the_ball_and_fill_it(name):
  norm = norms.find_norm(name)
  images = jnp.full((2000, 1, 2, 1), 0.5)
  drawn = norm.draw(jax.random.key(0), images, 0.2) - 0.5
  sizes = np.asarray(jax.vmap(norm.size)(drawn))
  assert sizes.max() <= 0.2 + 1e-6
  # uniform in two dimensions: the share within half the radius is a quarter, in either norm
  assert np.mean(sizes < 0.1) == pytest.approx(0.25, abs=0.04)
  np.testing.assert_allclose(np.asarray(drawn).mean(0), 0, atol=0.01)
  edges = norm.draw(jax.random.key(0), jnp.zeros((50, 1, 2, 1)), 0.2)
  assert edges.min() >= 0 and edges.max() <= 0.2 + 1e-6


@pytest.mark.parametrize("name", list(norms.NORMS))
def test_directions_have_size_one_and_zero_is_no_direction(name):
  norm = norms.find_norm(name)
  gradient = jnp.array([[[3.0], [-4.0]]])
  assert norm.size(norm.direction(gradient)) == pytest.approx(1)
  assert not norm.direction(jnp.zeros((1, 2, 1))).any()


def test_unknown_norm():
  with pytest.raises(ValueError, match="norm='linff'. Did you mean 'linf'"):
    norms.find_norm("linff")
