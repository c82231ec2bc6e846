"""Small deterministic images that a network can learn: for tests of everything but accuracy."""

import numpy as np

from ddjax.data.source import Source


def make_fake(
  image_shape: tuple[int, int, int] = (8, 8, 1),
  num_classes: int = 4,
  num_train: int = 64,
  num_test: int = 32,
) -> Source:
  """Blobs in noise: the class decides where on a circle about the centre the blob lies.

  Args:
    image_shape: (h, w, c).
    num_classes: k; labels run 0 1 .. k-1 0 1 .., so that classes are balanced.
    num_train: train examples, at least k.
    num_test: test examples, at least k.
  Returns:
    A Source with max_value 255; the same arguments give the same bytes.
  """
  rng = np.random.RandomState(0)  # its streams are frozen, unlike those of newer generators
  height, width, channels = image_shape
  labels = np.arange(num_train + num_test, dtype=np.int32) % num_classes
  angle = 2 * np.pi * labels / num_classes
  centre = np.stack([1 + 0.6 * np.sin(angle), 1 + 0.6 * np.cos(angle)], axis=1) / 2
  centre += rng.normal(0, 0.03, centre.shape)
  rows = ((np.arange(height) + 0.5) / height - centre[:, :1]) ** 2
  columns = ((np.arange(width) + 0.5) / width - centre[:, 1:]) ** 2
  blob = np.exp(-(rows[:, :, None] + columns[:, None, :]) / (2 * 0.15**2))[..., None]
  noise = rng.uniform(0, 0.2, (len(labels), height, width, channels))
  images = np.round(255 * (0.8 * blob + noise)).astype(np.uint8)
  return Source(
    train_images=images[:num_train],
    train_labels=labels[:num_train],
    test_images=images[num_train:],
    test_labels=labels[num_train:],
    class_names=tuple(map(str, range(num_classes))),
    version="1",
  )
