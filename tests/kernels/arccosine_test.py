import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.kernels.arccosine import kappa_0, kappa_1

COSINES = np.linspace(-1, 1, 4001)


def test_both_are_those_of_cho_and_saul():
  angle = np.arccos(COSINES)
  expected_1 = (np.sin(angle) + COSINES * (np.pi - angle)) / (2 * np.pi)
  expected_0 = (np.pi - angle) / (2 * np.pi)
  for dtype, tolerance in ((jnp.float32, 1.2e-7), (jnp.float64, 1e-15)):
    with jax.enable_x64(dtype == jnp.float64):
      x = jnp.asarray(COSINES, dtype)
      np.testing.assert_allclose(kappa_1(x), expected_1, atol=tolerance)
      # A cosine in float32 is known to 6e-8, and near one the angle to the root of that.
      np.testing.assert_allclose(kappa_0(x)[5:-5], expected_0[5:-5], atol=20 * tolerance)


def test_they_are_means_over_two_correlated_normals():
  nodes, weights = np.polynomial.hermite_e.hermegauss(200)
  weights = weights / weights.sum()
  for cosine in (-0.9, -0.2, 0.0, 0.5, 0.95):
    v = cosine * nodes[:, None] + np.sqrt(1 - cosine**2) * nodes[None]
    u = np.broadcast_to(nodes[:, None], v.shape)
    expected = weights @ (np.maximum(u, 0) * np.maximum(v, 0)) @ weights
    assert float(kappa_1(jnp.float32(cosine))) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("fn", [kappa_1, kappa_0])
def test_ends_and_beyond(fn):
  np.testing.assert_allclose(fn(jnp.float32([-1.5, -1, 1, 1.5])), [0, 0, 0.5, 0.5], atol=1e-7)
  slopes = jax.vmap(jax.grad(fn))(jnp.float32([-1, 1]))
  np.testing.assert_allclose(slopes, [0, 0.5 if fn is kappa_1 else 0], atol=1e-7)


def test_slopes():
  inside = COSINES[20:-20]
  with jax.enable_x64(True):
    x = jnp.asarray(inside)
    np.testing.assert_allclose(jax.vmap(jax.grad(kappa_1))(x), kappa_0(x), rtol=1e-12)
    expected = 1 / (2 * np.pi * np.sqrt(1 - inside**2))
    np.testing.assert_allclose(jax.vmap(jax.grad(kappa_0))(x), expected, rtol=1e-12)
