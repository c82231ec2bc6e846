"""The operations in SciPy and NumPy, for one image [h w c]."""

import numpy as np
import scipy.ndimage


def _sampled(image, source_y, source_x):
  """SciPy's bilinear samples, zero outside; sources between the edges at -1 and 1."""
  height, width, channels = image.shape
  places = [((source_y + 1) * height - 1) / 2, ((source_x + 1) * width - 1) / 2]
  planes = [
    scipy.ndimage.map_coordinates(image[..., c], places, order=1, mode="grid-constant", cval=0.0)
    for c in range(channels)
  ]
  return np.stack(planes, axis=-1)


def _places(image):
  """y and x of every pixel, from -1 to 1 between the edges."""
  height, width, _ = image.shape
  y = (2 * np.arange(height) + 1) / height - 1
  x = (2 * np.arange(width) + 1) / width - 1
  return np.meshgrid(y, x, indexing="ij")


def scale(image, factors):
  y, x = _places(image)
  return _sampled(np.float64(image), factors[0] * y, factors[1] * x)


def rotate(image, angle):
  y, x = _places(image)
  turned_y = np.sin(angle) * x + np.cos(angle) * y
  turned_x = np.cos(angle) * x - np.sin(angle) * y
  return _sampled(np.float64(image), turned_y, turned_x)


def shift(image, shift):
  return scipy.ndimage.shift(image, (-shift[0], -shift[1], 0), order=0, cval=0.0)


def cutout(image, centre):
  sides = [(size + 1) // 2 for size in image.shape[:2]]
  top, left = (middle - side // 2 for middle, side in zip(centre, sides))
  image = image.copy()
  image[max(top, 0) : max(top + sides[0], 0), max(left, 0) : max(left + sides[1], 0)] = 0
  return image


def color(image, offset, saturation, contrast):
  image = image + offset
  if image.shape[-1] > 1:
    mean = image.mean(axis=-1, keepdims=True)
    image = (image - mean) * saturation + mean
  return (image - image.mean()) * contrast + image.mean()
