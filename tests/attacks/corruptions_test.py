"""Corruptions: the moments of the noise, what stays, and what grows with the severity."""

import numpy as np
import pytest

from ddjax.attacks import corruptions

_RNG = np.random.default_rng(0)
_COLOUR = _RNG.random((4, 32, 32, 3)).astype(np.float32)
_GREY = np.full((8, 32, 32, 1), 0.5, np.float32)


@pytest.mark.parametrize("kind", list(corruptions.CORRUPTIONS))
def test_within_the_pixels_deterministic_and_growing(kind):
  smooth = np.linspace(0, 1, 32, dtype=np.float32)
  images = 0.3 + 0.2 * (smooth[:, None, None] * np.sin(9 * smooth)[None, :, None] + _COLOUR[:2])
  changes = []
  for severity in corruptions.SEVERITIES:
    corrupted = corruptions.corrupt(images, kind, severity, seed=3)
    assert corrupted.shape == images.shape and corrupted.dtype == np.float32
    assert corrupted.min() >= 0 and corrupted.max() <= 1
    changes.append(np.abs(corrupted - images).mean())
  again = corruptions.corrupt(images, kind, corruptions.SEVERITIES[-1], seed=3)
  np.testing.assert_array_equal(corrupted, again)
  assert np.all(np.diff(changes) > 0) and changes[0] > 0


@pytest.mark.parametrize("kind", list(corruptions.CORRUPTIONS))
def test_takes_one_channel_and_eight_pixels(kind):
  digits = _RNG.random((3, 8, 8, 1))
  assert corruptions.corrupt(digits, kind, 5, seed=0).shape == digits.shape


def test_moments_of_the_noise():
  assert corruptions.corrupt(_GREY, "gaussian_noise", 3, 0).std() == pytest.approx(0.08, rel=0.05)
  shot = corruptions.corrupt(_GREY, "shot_noise", 5, 0)
  assert shot.std() == pytest.approx(np.sqrt(0.5 / 50), rel=0.05)
  assert shot.mean() == pytest.approx(0.5, abs=0.01)
  hit = corruptions.corrupt(_GREY, "impulse_noise", 5, 0) - 0.5
  assert np.mean(hit != 0) == pytest.approx(0.07, abs=0.01)
  assert set(np.unique(hit)) == {-0.5, 0.0, 0.5}
  other = corruptions.corrupt(_GREY, "gaussian_noise", 3, 1)
  assert np.abs(other - corruptions.corrupt(_GREY, "gaussian_noise", 3, 0)).max() > 0.1


def test_brightness_keeps_the_colour():
  image = np.float32([0.2, 0.4, 0.1]).reshape(1, 1, 1, 3)
  np.testing.assert_allclose(
    corruptions.corrupt(image, "brightness", 4, 0).ravel(), np.array([0.2, 0.4, 0.1]) * 0.6 / 0.4,
    rtol=1e-5,
  )  # fmt: skip
  black = np.zeros((1, 1, 1, 3), np.float32)
  np.testing.assert_allclose(corruptions.corrupt(black, "brightness", 4, 0).ravel(), 0.2)


def test_contrast_shrinks_about_the_mean():
  image = np.float32([0.2, 0.8]).reshape(1, 1, 2, 1)
  np.testing.assert_allclose(
    corruptions.corrupt(image, "contrast", 2, 0).ravel(), [0.35, 0.65], rtol=1e-6
  )


def test_blur_grows_with_the_side_of_large_images_and_pixelation_keeps_a_share():
  peaks = [
    corruptions.corrupt(np.eye(side, dtype=np.float32)[None, :, :, None], "blur", 5, 0)[
      0, side // 2, side // 2, 0
    ]
    for side in (8, 32, 64)
  ]
  for peak, std in zip(peaks, (1, 1, 2), strict=True):  # a ridge along the diagonal
    assert peak == pytest.approx(1 / np.sqrt(4 * np.pi) / std, abs=0.02)
  blocks = np.kron(np.eye(4), np.ones((8, 8)))[None, :, :, None]
  assert np.abs(corruptions.corrupt(blocks, "pixelation", 4, 0) - blocks).max() < 1e-6  # 24 pixels


@pytest.mark.parametrize(
  "kind,severity,message", [("jpg", 1, "Did you mean 'jpeg'"), ("jpeg", 6, "severity=6")]
)
def test_refuses(kind, severity, message):
  with pytest.raises(ValueError, match=message):
    corruptions.corrupt(_GREY, kind, severity, 0)
