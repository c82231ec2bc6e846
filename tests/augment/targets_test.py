"""Augmented target batches against SciPy and NumPy, one operation at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from ddjax.augment import targets
from ddjax.config import groups
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data, make_data_split


@pytest.fixture(scope="module")
def data():
  return make_data_split(load_real_data(groups.data("fake")))


def _apply(data, options, seed=0, num=48):
  index = np.arange(num)
  draws = targets.draw(jax.random.key(seed), num, 1, options)
  take = jax.jit(targets.take_augmented, static_argnums=3)
  images = np.asarray(take(data, index, draws, options))
  plain = np.asarray(standardise(data.images[index], data))
  return images, plain, jax.device_get(draws)


def test_shift_moves_and_fills_with_zero_in_network_space(data):
  images, plain, draws = _apply(data, targets.TargetAugmentation(fraction=1.0, max_shift=3))
  for image, before, shift in zip(images, plain, draws.shift, strict=True):
    expected = scipy.ndimage.shift(before, (*shift, 0), order=0, cval=0.0)
    np.testing.assert_allclose(image, expected, atol=1e-6)
  assert set(np.unique(draws.shift)) == set(range(-3, 4))


def test_flip_mirrors_half(data):
  images, plain, draws = _apply(data, targets.TargetAugmentation(fraction=1.0, flip=True))
  expected = np.where(draws.flip[:, None, None, None], plain[:, :, ::-1], plain)
  np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-6)
  assert 0.25 < draws.flip.mean() < 0.75


def test_rotation_is_scipys(data):
  images, plain, draws = _apply(data, targets.TargetAugmentation(fraction=1.0, max_rotation=30.0))
  for image, before, angle in zip(images, plain, draws.angle, strict=True):
    degrees = np.rad2deg(angle)
    expected = scipy.ndimage.rotate(
      before, degrees, axes=(1, 0), reshape=False, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(image, expected, atol=1e-4)
  assert np.abs(draws.angle).max() > np.deg2rad(25)


def test_channel_shift_adds_a_constant(data):
  images, plain, draws = _apply(data, targets.TargetAugmentation(fraction=1.0, channel_shift=0.5))
  np.testing.assert_allclose(images - plain, draws.channel[:, None, None] + 0 * plain, atol=1e-5)


def test_only_the_fraction_is_touched(data):
  options = targets.TargetAugmentation(fraction=0.25, channel_shift=0.5)
  images, plain, _ = _apply(data, options)
  assert (np.abs(images - plain) > 1e-5).any(axis=(1, 2, 3)).sum() == 12
  none = targets.TargetAugmentation(fraction=0.0, channel_shift=0.5)
  images, plain, _ = _apply(data, none)
  np.testing.assert_allclose(images, plain, rtol=1e-5, atol=1e-6)


def test_whether_anything_is_to_be_done():
  assert not targets.TargetAugmentation().is_active
  assert not targets.TargetAugmentation(fraction=0.5).is_active
  assert not targets.TargetAugmentation(flip=True).is_active
  assert targets.TargetAugmentation(fraction=0.5, flip=True).is_active


def test_gradients_are_finite(data):
  options = targets.TargetAugmentation(1.0, True, 2, 15.0, 0.2)
  draws = targets.draw(jax.random.key(0), 8, 1, options)

  def total(mean):
    return targets.take_augmented(data.replace(mean=mean), np.arange(8), draws, options).sum()

  assert np.isfinite(jax.jit(jax.grad(total))(jnp.asarray(data.mean))).all()
