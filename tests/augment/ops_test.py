"""Each operation against SciPy or NumPy, and its gradient against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from ddjax.augment import ops

SHAPES = [(8, 8, 1), (9, 7, 3)]
WIDE = (5, 16, 2)


def _image(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _sampled(image, source_y, source_x):
  """SciPy's bilinear samples, zero outside."""
  places = [source_y, source_x]
  planes = [
    scipy.ndimage.map_coordinates(plane, places, order=1, mode="grid-constant", cval=0.0)
    for plane in np.moveaxis(image.astype(np.float64), -1, 0)
  ]
  return np.stack(planes, axis=-1)


def _normalised(shape):
  """Coordinates in [-1, 1] between the edges: y, x of every pixel."""
  height, width, _ = shape
  y = (2 * np.arange(height) + 1) / height - 1
  x = (2 * np.arange(width) + 1) / width - 1
  return np.meshgrid(y, x, indexing="ij")


def _to_pixels(y, x, shape):
  return ((y + 1) * shape[0] - 1) / 2, ((x + 1) * shape[1] - 1) / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_columns_to_the_bit(shape):
  image = _image(shape)
  np.testing.assert_array_equal(jax.jit(ops.flip)(image, jnp.array(True)), image[:, ::-1])
  np.testing.assert_array_equal(jax.jit(ops.flip)(image, jnp.array(False)), image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factors", [(1.2, 1 / 1.2), (0.87, 1.13)])
def test_scale_is_scipys(shape, factors):
  image = _image(shape)
  y, x = _normalised(shape)
  expected = _sampled(image, *_to_pixels(factors[0] * y, factors[1] * x, shape))
  actual = jax.jit(ops.scale)(image, jnp.array(factors, jnp.float32))
  np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
@pytest.mark.parametrize("degrees", [-15.0, 7.3, 80.0])
def test_rotation_is_scipys(shape, degrees):
  image = _image(shape)
  y, x = _normalised(shape)
  angle = np.deg2rad(degrees)
  turned_x = np.cos(angle) * x - np.sin(angle) * y
  turned_y = np.sin(angle) * x + np.cos(angle) * y
  expected = _sampled(image, *_to_pixels(turned_y, turned_x, shape))
  actual = jax.jit(ops.rotate)(image, jnp.float32(angle))
  np.testing.assert_allclose(actual, expected, atol=5e-5)


def test_rotation_turns_a_square_image_as_scipy_rotates():
  image = _image((17, 17, 1))
  expected = scipy.ndimage.rotate(
    image, 10.0, axes=(1, 0), reshape=False, order=1, mode="grid-constant"
  )
  actual = jax.jit(ops.rotate)(image, jnp.float32(np.deg2rad(10.0)))
  np.testing.assert_allclose(actual, expected, atol=5e-5)


@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_transpose_of_rotation_is_that_of_its_matrix(shape):
  shape = (*shape[:2], 1)
  cotangent = _image(shape)
  basis = np.eye(cotangent.size, dtype=np.float32).reshape(-1, *shape)

  @jax.jit
  def both(angle):
    columns = jax.vmap(lambda image: ops.rotate(image, angle))(basis)
    return columns, jax.vjp(lambda image: ops.rotate(image, angle), basis[0])[1](cotangent)[0]

  for degrees in (-15.0, 7.3, 80.0, 180.0):
    columns, actual = both(jnp.float32(np.deg2rad(degrees)))
    expected = np.tensordot(columns, cotangent, axes=3).reshape(shape)
    np.testing.assert_allclose(actual, expected, atol=5e-5)


@pytest.mark.parametrize("op", [ops.crop, ops.translate])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [(4, -3), (-1, 2), (0, 0)])
def test_shift_moves_whole_pixels_to_the_bit(op, shape, shift):
  image = _image(shape)
  expected = scipy.ndimage.shift(image, (-shift[0], -shift[1], 0), order=0, cval=0.0)
  np.testing.assert_array_equal(jax.jit(op)(image, jnp.array(shift)), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_cutout_clips_at_the_border(shape):
  image = _image(shape) + 10
  height, width, _ = shape
  sides = [(size + 1) // 2 for size in (height, width)]
  cutout = jax.jit(ops.cutout)
  for row in (0, height // 3, height - 1):
    for column in (0, width // 2, width - 1):
      expected = image.copy()
      top, left = row - sides[0] // 2, column - sides[1] // 2
      expected[max(top, 0) : top + sides[0], max(left, 0) : left + sides[1]] = 0
      np.testing.assert_array_equal(cutout(image, jnp.array([row, column])), expected)


def test_cutout_of_32_pixels_spans_a_quarter_each_way():
  cut = np.asarray(ops.cutout(jnp.ones((32, 32, 1)), jnp.array([16, 32])))[..., 0] == 0
  assert np.flatnonzero(cut.any(axis=1)).tolist() == list(range(8, 24))
  assert np.flatnonzero(cut.any(axis=0)).tolist() == list(range(24, 32))


@pytest.mark.parametrize("shape", SHAPES)
def test_color_is_numpys(shape):
  image = _image(shape) * 3 + 1
  offset, saturation, contrast = (jnp.float32(x) for x in (0.3, 1.7, 0.6))
  brighter = image + np.float32(0.3)
  np.testing.assert_allclose(ops.brightness(image, offset), brighter, atol=1e-5)
  mean = brighter.mean(axis=-1, keepdims=True)
  saturated = (brighter - mean) * 1.7 + mean
  np.testing.assert_allclose(ops.saturation(brighter, saturation), saturated, atol=1e-5)
  contrasted = (saturated - saturated.mean()) * 0.6 + saturated.mean()
  np.testing.assert_allclose(ops.contrast(saturated, contrast), contrasted, atol=1e-5)
  actual = jax.jit(ops.color)(image, offset, saturation, contrast)
  np.testing.assert_allclose(actual, contrasted, atol=2e-5)


def test_grey_images_have_no_saturation():
  image = _image((8, 8, 1))
  np.testing.assert_array_equal(ops.saturation(image, jnp.float32(0.1)), image)


UNCHANGED = {
  ops.flip: jnp.array(False),
  ops.scale: jnp.ones(2),
  ops.rotate: jnp.float32(0.0),
  ops.crop: jnp.zeros(2, jnp.int32),
  ops.cutout: jnp.array([-32, -32]),
  ops.brightness: jnp.float32(0.0),
  ops.saturation: jnp.float32(1.0),
  ops.contrast: jnp.float32(1.0),
}


def test_the_neutral_settings_keep_every_bit():
  image = _image((9, 7, 3))
  results = jax.jit(lambda image: [op(image, neutral) for op, neutral in UNCHANGED.items()])(image)
  for op, result in zip(UNCHANGED, results, strict=True):
    np.testing.assert_array_equal(result, image, err_msg=op.__name__)


PARAMETERS = {
  ops.flip: jnp.array(True),
  ops.scale: jnp.array([1.13, 0.86]),
  ops.rotate: jnp.float32(-0.2),
  ops.crop: jnp.array([1, -1]),
  ops.cutout: jnp.array([3, 7]),
  ops.brightness: jnp.float32(0.4),
  ops.saturation: jnp.float32(1.6),
  ops.contrast: jnp.float32(0.7),
}


@pytest.mark.parametrize("op", PARAMETERS)
def test_gradients_to_second_order_are_finite_differences(op):
  weights, direction = (jnp.asarray(_image((9, 7, 3), seed)) for seed in (1, 2))

  def loss(image):
    return jnp.sum(weights * jnp.sin(op(image, PARAMETERS[op])))

  def slope(image):
    return jnp.vdot(jax.grad(loss)(image), direction)

  @jax.jit
  def curves(image):  # reverse over reverse, forward over reverse
    return jax.grad(slope)(image), jax.jvp(jax.grad(loss), (image,), (direction,))[1]

  values = jax.jit(lambda image: jnp.stack([loss(image), slope(image)]))
  step = 1e-2
  for image in (_image((9, 7, 3)), np.full((9, 7, 3), 0.5, np.float32), np.zeros((9, 7, 3))):
    image = jnp.asarray(image, jnp.float32)
    first, second = (values(image + step * direction) - values(image - step * direction)) / 2 / step
    curve, forward = curves(image)
    np.testing.assert_allclose(values(image)[1], first, rtol=2e-2, atol=2e-2)
    np.testing.assert_allclose(jnp.vdot(curve, direction), second, rtol=2e-2, atol=5e-2)
    np.testing.assert_allclose(forward, curve, atol=1e-4)
