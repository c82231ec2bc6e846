"""The adversary: its ball, its starts, and what lies between pixels and networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data, make_data_split
from ddjax.distillers.adversaries import Adversary, check_epsilon, read_adversary
from tests.models.draws import draw

ADVERSARY = Adversary(epsilon=0.1, num_steps=4, relative_step=0.5, max_value=255)


def _pixels(count=6):
  return jnp.asarray(draw((count, 4, 4, 1), seed=0) % 1.0)


def _attack(pixels, loss_fn, adversary=ADVERSARY, first=0):
  numbers = jnp.arange(first, first + len(pixels), dtype=jnp.int32)
  return adversary.attack(jax.random.key(0), numbers, pixels, loss_fn)


def test_a_linear_loss_ends_in_the_corner_of_the_ball():
  pixels, slope = _pixels(), jnp.asarray(draw((4, 4, 1), seed=1))
  moved = _attack(pixels, lambda x: jnp.sum(x * slope[None], axis=(1, 2, 3)))
  corner = np.clip(np.asarray(pixels) + 0.1 * np.sign(slope)[None], 0, 1)
  np.testing.assert_allclose(moved, corner, atol=1e-6)


def test_points_stay_in_the_ball_and_among_pixels():
  pixels = _pixels()
  moved = np.asarray(_attack(pixels, lambda x: jnp.sum(jnp.sin(20 * x), axis=(1, 2, 3))))
  assert np.abs(moved - pixels).max() <= 0.1 + 1e-6
  assert moved.min() >= 0 and moved.max() <= 1
  assert np.abs(moved - pixels).min() < 0.05  # not at the border everywhere


def test_a_start_depends_on_the_number_of_the_image_alone():
  """So that devices, each with its own rows, begin where one device begins."""
  pixels = _pixels()

  def flat(x):
    return jnp.zeros(len(x))

  whole = _attack(pixels, flat)
  part = _attack(pixels[2:4], flat, first=2)
  np.testing.assert_array_equal(whole[2:4], part)
  assert (np.asarray(whole - pixels) != 0).all()


def test_a_moved_image_has_no_gradient():
  def loss(scale):
    return _attack(_pixels(), lambda x: scale * jnp.sum(x**2, axis=(1, 2, 3))).sum()

  assert jax.grad(loss)(1.0) == 0


@pytest.mark.parametrize("kind", ["none", "standardise", "zca_kip", "zca_kornia", "zca_frepo"])
def test_pixels_reach_the_networks_as_the_data_do(kind):
  config = get_config("configs/robust_dm.py:fake")
  config.data.preprocessing = kind
  real = load_real_data(config.data)
  data = jax.device_put(make_data_split(real, with_pixels=True))
  adversary = read_adversary(config, real.info)
  index = jnp.array([[3, 1], [60, 0]])
  pixels = adversary.pixels(data, index)
  np.testing.assert_allclose(pixels, real.train_images[np.asarray(index)] / 255, rtol=1e-6)
  expected = standardise(data.images[index], data)
  np.testing.assert_allclose(adversary.to_network(pixels, data), expected, rtol=1e-4, atol=1e-4)
  assert (data.pixels is not None) == kind.startswith("zca")
  assert make_data_split(real).pixels is None


@pytest.mark.parametrize(
  "field,value,message",
  [
    ("epsilon", 8.0, r"robust.epsilon=8.0 must lie above 0 and up to 1.*8/255 are 0.0314"),
    ("epsilon", -0.1, "robust.epsilon=-0.1 must lie above 0"),
    ("epsilon", 0.0, "robust.epsilon=0.0 must lie above 0"),
    ("epsilon", float("nan"), "robust.epsilon=nan"),
    ("num_steps", 0, "robust.num_steps=0 must be at least 1"),
    ("relative_step", 0.0, r"robust.relative_step=0.0 must lie in \(0, 2\]"),
  ],
)
@pytest.mark.parametrize("method", ["robust_dm", "robust_kip"])
def test_an_impossible_adversary_is_refused(method, field, value, message):
  config = get_config(f"configs/{method}.py:fake")
  config.robust[field] = value
  with pytest.raises(ValueError, match=message):
    read_adversary(config, load_real_data(config.data).info)


def test_a_radius_may_be_all_of_the_range():
  check_epsilon("robust.epsilon", 1.0)
