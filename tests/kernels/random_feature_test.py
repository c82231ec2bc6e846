"""Random features: the right limit, fixed by their seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config import groups
from ddjax.kernels.random_feature import random_feature_kernel
from ddjax.kernels.recursion import network_kernel

SHAPE = (4, 4, 2)


def _config(**fields):
  config = groups.kernel("random_feature", 1)
  config.update(fields)
  return config


def _images(seed, num_images):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(num_images, *SHAPE)), jnp.float32)


@pytest.mark.slow
def test_mean_over_networks_is_the_nngp_of_the_same_layers_and_of_no_others():
  config = _config(num_features=256, num_networks=64, bias_std=0.3)
  x1, x2 = _images(0, 3), _images(1, 4)
  ours = jax.jit(random_feature_kernel(config, SHAPE))(x1, x2)
  layers = ("conv", "relu", "pool", "flatten")
  stds = (config.bias_std, config.readout_weight_std, config.readout_bias_std)
  exact = network_kernel(layers, "nngp", config.weight_std, *stds)(x1, x2)
  wrong = network_kernel(layers, "nngp", 1.05 * config.weight_std, *stds)(x1, x2)
  assert np.max(np.abs(ours / exact - 1)) < 0.03
  assert np.max(np.abs(ours / wrong - 1)) > 0.06


def test_seed_fixes_the_features():
  x = _images(0, 3)
  first, again, other = (
    random_feature_kernel(_config(num_features=16, feature_seed=seed), SHAPE)(x, x)
    for seed in (0, 0, 1)
  )
  assert np.array_equal(first, again)
  assert not np.allclose(first, other, rtol=1e-3)


@pytest.mark.parametrize(
  ("fields", "message"),
  [(dict(num_features=0), "num_features=0"), (dict(depth=3), "4x4 are too small for 3 blocks")],
)
def test_refusals_name_the_value(fields, message):
  with pytest.raises(ValueError, match=message):
    random_feature_kernel(_config(**fields), SHAPE)
