"""Each operation against SciPy or NumPy, and its gradient against finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from ddjax.augment import ops
from tests.augment import by_hand

SHAPES = [(8, 8, 1), (9, 7, 3)]
WIDE = (5, 16, 2)


def _image(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_columns_to_the_bit(shape):
  image = _image(shape)
  np.testing.assert_array_equal(jax.jit(ops.flip)(image, jnp.array(True)), image[:, ::-1])
  np.testing.assert_array_equal(jax.jit(ops.flip)(image, jnp.array(False)), image)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factors", [(1.2, 1 / 1.2), (0.87, 1.13)])
def test_scale_is_scipys(shape, factors):
  image = _image(shape)
  actual = jax.jit(ops.scale)(image, np.float32(factors))
  np.testing.assert_allclose(actual, by_hand.scale(image, factors), atol=2e-5)


@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
@pytest.mark.parametrize("degrees", [-15.0, 7.3, 80.0])
def test_rotation_is_scipys(shape, degrees):
  image = _image(shape)
  angle = np.deg2rad(degrees)
  actual = jax.jit(ops.rotate)(image, np.float32(angle))
  np.testing.assert_allclose(actual, by_hand.rotate(image, angle), atol=5e-5)


def test_rotation_turns_a_square_image_as_scipy_rotates():
  image = _image((8, 8, 1))
  expected = scipy.ndimage.rotate(
    image, 10.0, axes=(1, 0), reshape=False, order=1, mode="grid-constant"
  )
  actual = jax.jit(ops.rotate)(image, jnp.float32(np.deg2rad(10.0)))
  np.testing.assert_allclose(actual, expected, atol=5e-5)


@pytest.mark.parametrize("shape", [SHAPES[1], WIDE])
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
  actual = jax.jit(op)(image, np.int32(shift))
  np.testing.assert_array_equal(actual, by_hand.shift(image, shift))


@pytest.mark.parametrize("shape", SHAPES)
def test_cutout_clips_at_the_border(shape):
  image = _image(shape) + 10
  height, width, _ = shape
  cutout = jax.jit(ops.cutout)
  for row in (0, height // 3, height - 1):
    for column in (0, width // 2, width - 1):
      actual = cutout(image, np.int32([row, column]))
      np.testing.assert_array_equal(actual, by_hand.cutout(image, (row, column)))


def test_cutout_of_32_pixels_spans_a_quarter_each_way():
  cut = np.asarray(jax.jit(ops.cutout)(np.ones((32, 32, 1)), np.int32([16, 32])))[..., 0] == 0
  assert np.flatnonzero(cut.any(axis=1)).tolist() == list(range(8, 24))
  assert np.flatnonzero(cut.any(axis=0)).tolist() == list(range(24, 32))


@pytest.mark.parametrize("shape", SHAPES)
def test_color_is_numpys(shape):
  image = _image(shape) * 3 + 1
  offset, saturation, contrast = (jnp.float32(x) for x in (0.3, 1.7, 0.6))
  expected = by_hand.color(image, 0.3, 1.7, 0.6)

  @jax.jit
  def whole_and_in_steps(image):
    in_steps = ops.saturation(ops.brightness(image, offset), saturation)
    return ops.color(image, offset, saturation, contrast), ops.contrast(in_steps, contrast)

  for actual in whole_and_in_steps(image):
    np.testing.assert_allclose(actual, expected, atol=2e-5)


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


DIRECTION = _image((9, 7, 3), 2)


@functools.cache
def _curves():
  """Image -> for every operation: loss, slope, and its gradient in both ways; compiled as one."""
  weights = _image((9, 7, 3), 1)

  def curves(op, image):
    def loss(image):
      return jnp.sum(weights * jnp.sin(op(image, PARAMETERS[op])))

    def slope(image):
      value, grads = jax.value_and_grad(loss)(image)
      return jnp.vdot(grads, DIRECTION), value

    (at_image, value), curve = jax.value_and_grad(slope, has_aux=True)(image)
    forward = jax.jvp(jax.grad(loss), (image,), (jnp.asarray(DIRECTION),))[1]
    return value, at_image, curve, forward

  return jax.jit(lambda image: {op.__name__: curves(op, image) for op in PARAMETERS})


@pytest.mark.parametrize("op", PARAMETERS)
def test_gradients_to_second_order_are_finite_differences(op):
  step = np.float32(1e-2)
  for image in (_image((9, 7, 3)), np.full((9, 7, 3), 0.5), np.zeros((9, 7, 3))):
    places = [np.float32(image) + by * step * DIRECTION for by in (0, 1, -1)]
    here, ahead, behind = (_curves()(place)[op.__name__] for place in places)
    first, second = ((ahead[order] - behind[order]) / 2 / step for order in (0, 1))
    _, slope, curve, forward = here
    np.testing.assert_allclose(slope, first, rtol=2e-2, atol=2e-2)
    np.testing.assert_allclose(np.vdot(curve, DIRECTION), second, rtol=2e-2, atol=5e-2)
    np.testing.assert_allclose(forward, curve, atol=1e-4)
