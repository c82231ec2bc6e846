"""Decoding against SciPy's bilinear samples, cell by cell."""

import jax
import numpy as np
import pytest
import scipy.ndimage

from ddjax.augment import multiformation


def _enlarged(cell, factor):
  """Bilinear samples at pixel centres, edges repeated; one channel [h w]."""
  places = [(np.arange(size * factor) + 0.5) / factor - 0.5 for size in cell.shape]
  return scipy.ndimage.map_coordinates(
    cell, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"
  )


@pytest.mark.parametrize("factor,shape", [(2, (3, 4, 6, 2)), (3, (2, 6, 9, 1))])
def test_cells_are_enlarged_in_reading_order_the_images_of_each(factor, shape):
  images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  count, height, width, channels = shape
  cell = height // factor, width // factor
  expected = [
    np.stack(
      [
        _enlarged(
          np.float64(
            image[row * cell[0] : (row + 1) * cell[0], column * cell[1] : (column + 1) * cell[1], c]
          ),
          factor,
        )
        for c in range(channels)
      ],
      axis=-1,
    )
    for row in range(factor)
    for column in range(factor)
    for image in images
  ]
  decoded = jax.jit(multiformation.decode, static_argnums=1)(images, factor)
  assert decoded.shape == (factor**2 * count, height, width, channels)
  np.testing.assert_allclose(decoded, np.stack(expected), atol=1e-5)


def test_labels_follow_their_images():
  labels = np.float32([[1, 0], [0.25, 0.75], [0, 1]])
  decoded = np.asarray(multiformation.decode_labels(labels, 2))
  assert decoded.shape == (12, 2)
  for number, label in enumerate(decoded):
    np.testing.assert_array_equal(label, labels[number % 3])


def test_factor_one_changes_nothing():
  images, labels = np.ones((2, 5, 3, 1), np.float32), np.eye(2, dtype=np.float32)
  assert multiformation.decode(images, 1) is images
  np.testing.assert_array_equal(multiformation.decode_labels(labels, 1), labels)


@pytest.mark.parametrize("factor,shape", [(3, (8, 9)), (2, (8, 9)), (0, (8, 8)), (-2, (8, 8))])
def test_a_factor_that_does_not_fit_is_named(factor, shape):
  message = f"decode factor {factor} .*{shape[0]} x {shape[1]}"
  with pytest.raises(ValueError, match=message):
    multiformation.decode(np.zeros((1, *shape, 1), np.float32), factor)
