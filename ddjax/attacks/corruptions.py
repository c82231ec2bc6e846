"""Eight common corruptions at five severities, on the host.

The kinds and the severities of CIFAR-10-C (Hendrycks, Dietterich 2019, arXiv 1903.12261, and their
released script), which are made for 32x32 pixels. What is in pixels, the width of the blur, grows
with the side of larger images; on smaller ones it stays, as a quarter of it does nothing at 8x8.
Pixelation keeps a share
of the side, whole pixels of it, so that at 8x8 severities 1 and 2, and 3 and 4, are the same. Noise
is deterministic in the seed. The published sets are stored as bytes; here only JPEG rounds.
"""

import io
from typing import Callable

from jaxtyping import Float
import numpy as np
from PIL import Image
import scipy  # its parts, which take a second, load on first use

from ddjax.wording import nearest

SEVERITIES = (1, 2, 3, 4, 5)
_PUBLISHED_SIDE = 32
_TINY = 1e-12

_GAUSSIAN_STD = (0.04, 0.06, 0.08, 0.09, 0.10)
_PHOTONS = (500, 250, 100, 75, 50)  # counts that a white pixel has on average
_IMPULSES = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of the values that turn black or white
_BLUR_STD = (0.4, 0.6, 0.7, 0.8, 1.0)  # pixels, of images up to 32x32
_BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)  # added to the value of HSV
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
_PIXEL_SHARE = (0.95, 0.9, 0.85, 0.75, 0.65)  # of the side that is left
_JPEG_QUALITY = (80, 65, 58, 50, 40)

Images = Float[np.ndarray, "b h w c"]


def corrupt(pixels: Images, kind: str, severity: int, seed: int) -> Images:
  """Corrupted images, f32[b h w c] in [0, 1].

  Args:
    pixels: f32[b h w c] in [0, 1].
    kind: a name in `CORRUPTIONS`.
    severity: 1 to 5.
    seed: of the noise; equal arguments give equal images.
  Raises:
    ValueError: for an unknown kind or severity.
  """
  if kind not in CORRUPTIONS:
    raise ValueError(f"Unknown corruption {kind!r}. {nearest(kind, CORRUPTIONS)}")
  if severity not in SEVERITIES:
    raise ValueError(f"severity={severity} must lie between 1 and {SEVERITIES[-1]}.")
  rng = np.random.default_rng([seed, list(CORRUPTIONS).index(kind), severity])
  corrupted = CORRUPTIONS[kind](np.asarray(pixels, np.float64), severity - 1, rng)
  return np.clip(corrupted, 0.0, 1.0).astype(np.float32)


def _gaussian_noise(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  return pixels + _GAUSSIAN_STD[level] * rng.standard_normal(pixels.shape)


def _shot_noise(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  return rng.poisson(pixels * _PHOTONS[level]) / _PHOTONS[level]


def _impulse_noise(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  is_hit = rng.random(pixels.shape) < _IMPULSES[level]
  return np.where(is_hit, rng.integers(0, 2, pixels.shape), pixels)


def _blur(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  std = _BLUR_STD[level] * max(1.0, min(pixels.shape[1:3]) / _PUBLISHED_SIDE)  # less does nothing
  return scipy.ndimage.gaussian_filter(pixels, (0, std, std, 0), mode="nearest")


def _brightness(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  """Hue and saturation stay; a black pixel turns grey."""
  value = pixels.max(axis=-1, keepdims=True)
  raised = np.minimum(value + _BRIGHTNESS[level], 1.0)
  return np.where(value > _TINY, pixels * raised / np.maximum(value, _TINY), raised)


def _contrast(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  mean = pixels.mean(axis=(1, 2), keepdims=True)
  return mean + _CONTRAST[level] * (pixels - mean)


def _pixelation(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  height, width = pixels.shape[1:3]
  small = [max(1, int(side * _PIXEL_SHARE[level])) for side in (width, height)]

  def of_channel(channel):
    image = Image.fromarray(channel.astype(np.float32))
    return image.resize((small[0], small[1]), Image.Resampling.BOX).resize(
      (width, height), Image.Resampling.BOX
    )

  return _by_channel(pixels, of_channel)


def _jpeg(pixels: Images, level: int, rng: np.random.Generator) -> Images:
  """Three channels are compressed as one colour picture, others one by one."""

  def compressed(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY[level])
    return np.asarray(Image.open(buffer))

  stored = np.round(pixels * 255).astype(np.uint8)
  if pixels.shape[-1] == 3:
    return np.stack([compressed(picture) for picture in stored]) / 255
  return _by_channel(stored, compressed) / 255


def _by_channel(images: np.ndarray, of_channel: Callable) -> np.ndarray:
  """`of_channel` of every [h w], as [b h w c] again."""
  return np.stack(
    [
      np.stack([np.asarray(of_channel(image[..., c])) for c in range(images.shape[-1])], axis=-1)
      for image in images
    ]
  )


CORRUPTIONS: dict[str, Callable] = {
  "gaussian_noise": _gaussian_noise,
  "shot_noise": _shot_noise,
  "impulse_noise": _impulse_noise,
  "blur": _blur,
  "brightness": _brightness,
  "contrast": _contrast,
  "pixelation": _pixelation,
  "jpeg": _jpeg,
}
