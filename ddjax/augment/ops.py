"""The operations of differentiable siamese augmentation, each for one image and its parameters.

Zhao, Bilen 2021, "Dataset Condensation with Differentiable Siamese Augmentation" (arXiv
2102.08259), and its released settings. All are linear or affine in the image, so they
differentiate to any order and no pixel value makes a NaN. Parameters are arrays, drawn elsewhere
(`ddjax.augment.siamese`), and every operation has a setting that returns the image bit for bit:
that lets a batch apply all operations where each of its images drew only one.

Flip, scale and shift move rows and columns apart from each other, so they are products with two
small interpolation matrices: exact for whole pixels, and matrix products are what runs fast inside
compiled loops. Only rotation gathers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from ddjax.types import Array

CUTOUT = 0.5  # side of the square, as a share of the image's


class Axis(NamedTuple):
  """Where the pixels of one axis come from: `source = slope * output + offset`, f32[] both.

  In pixels from the image's centre, so that `slope` -1 mirrors and slope 1 offset 0 does nothing.
  """

  slope: Array | float
  offset: Array | float

  def then(self, other: "Axis") -> "Axis":
    """This map first, `other` on its result. Exact where one of the two loses no pixel."""
    return Axis(self.slope * other.slope, self.slope * other.offset + self.offset)


UNMOVED = Axis(1.0, 0.0)


def resample(image: Float[Array, "h w c"], rows: Axis, columns: Axis) -> Float[Array, "h w c"]:
  """Moves rows and columns; linear between pixels, zero outside.

  Args:
    image: f32[h w c].
    rows: where each row of the result lies in `image`.
    columns: likewise.
  """
  height, width, _ = image.shape
  if rows is not UNMOVED:
    weights = _weights(height, rows, image.dtype)
    image = jnp.einsum("ij,jwc->iwc", weights, image, precision="highest")
  if columns is not UNMOVED:
    weights = _weights(width, columns, image.dtype)
    image = jnp.einsum("vw,hwc->hvc", weights, image, precision="highest")
  return image


def _weights(size: int, axis: Axis, dtype) -> Array:
  """Bilinear weights [size size] of every source pixel in every output pixel."""
  pixels = jnp.arange(size, dtype=dtype)
  centre = (size - 1) / 2
  source = axis.slope * (pixels - centre) + axis.offset + centre
  return _hat(source[:, None] - pixels[None]).astype(dtype)


def _hat(distance: Array) -> Array:
  """Weight of a pixel at this distance along one axis."""
  return jnp.maximum(0.0, 1.0 - jnp.abs(distance))


def flip_axis(is_flipped: Bool[Array, ""]) -> Axis:
  """The columns of a flip."""
  return Axis(jnp.where(is_flipped, -1.0, 1.0), 0.0)


def flip(image: Float[Array, "h w c"], is_flipped: Bool[Array, ""]) -> Float[Array, "h w c"]:
  """Mirrors left to right where `is_flipped`."""
  return resample(image, UNMOVED, flip_axis(is_flipped))


def scale_axes(factors: Float[Array, " 2"]) -> tuple[Axis, Axis]:
  """Rows and columns of a scaling."""
  return Axis(factors[0], 0.0), Axis(factors[1], 0.0)


def scale(image: Float[Array, "h w c"], factors: Float[Array, " 2"]) -> Float[Array, "h w c"]:
  """Scales about the centre; bilinear, zero outside.

  Args:
    image: f32[h w c].
    factors: f32[2] for rows and columns, from output to source: above 1 shrinks the picture.
  """
  return resample(image, *scale_axes(factors))


def shift_axes(shift: Integer[Array, " 2"]) -> tuple[Axis, Axis]:
  """Rows and columns of a shift."""
  return Axis(1.0, shift[0].astype(jnp.float32)), Axis(1.0, shift[1].astype(jnp.float32))


def crop(image: Float[Array, "h w c"], shift: Integer[Array, " 2"]) -> Float[Array, "h w c"]:
  """Cuts a window of the image's own size, `shift` (rows, columns) from its place; zero outside."""
  return resample(image, *shift_axes(shift))


def translate(image: Float[Array, "h w c"], shift: Integer[Array, " 2"]) -> Float[Array, "h w c"]:
  """`crop` under the name by which FRePo (Zhou et al. 2022) lists it a second time.

  The two are drawn apart, so a strategy with both may shift twice; here with the same limit.
  """
  return crop(image, shift)


def rotate(image: Float[Array, "h w c"], angle: Float[Array, ""]) -> Float[Array, "h w c"]:
  """Rotates about the centre; bilinear, zero outside.

  Output (x right, y down) takes its value at [[cos, -sin], [sin, cos]] (x, y), in coordinates that
  reach from -1 to 1 between the image's *edges* (corners not aligned). On images that are not
  square this shears, as the original does.

  Args:
    image: f32[h w c].
    angle: radians. It is data: no gradient flows to it.
  """

  def forward(_, image):
    return _rotated(image, angle)

  def backward(_, cotangent):
    return _rotated_transposed(cotangent, angle)

  # The transpose of a gather is a scatter: scalar code on CPUs, summed in any order on GPUs. Ours
  # gathers too. Of JAX's ways to name a transpose, this one also maps and differentiates forward.
  return jax.lax.custom_linear_solve(lambda x: x, image, forward, backward)


def _source(rows: Array, columns: Array, angle: Array, shape: tuple[int, ...]):
  """Where output pixels (rows, columns) of a rotation lie in the source."""
  height, width, _ = shape
  y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  source_y = sin * (height / width) * x + cos * y + (height - 1) / 2
  source_x = cos * x - sin * (width / height) * y + (width - 1) / 2
  return source_y, source_x


def _pixels(shape: tuple[int, ...]) -> tuple[Array, Array]:
  """Row and column numbers i32[h w] of every pixel."""
  rows, columns = (jax.lax.broadcasted_iota(jnp.int32, shape[:2], axis) for axis in (0, 1))
  return rows, columns


def _weighted_taken(image: Array, rows: Array, columns: Array, weights: Array) -> Array:
  """`weights * image[rows, columns]`, and zero outside the image."""
  height, width, channels = image.shape
  is_inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  index = jnp.clip(rows, 0, height - 1) * width + jnp.clip(columns, 0, width - 1)
  taken = image.reshape(-1, channels).at[index].get(mode="promise_in_bounds")
  return jnp.where(is_inside, weights, 0.0)[..., None].astype(image.dtype) * taken


def _rotated(image: Array, angle: Array) -> Array:
  """Each output pixel from the four source pixels around its place."""
  source_y, source_x = _source(*_pixels(image.shape), angle, image.shape)
  top, left = jnp.floor(source_y), jnp.floor(source_x)
  result = jnp.zeros_like(image)
  for row in (top, top + 1):
    for column in (left, left + 1):
      weights = _hat(source_y - row) * _hat(source_x - column)
      result += _weighted_taken(image, row.astype(jnp.int32), column.astype(jnp.int32), weights)
  return result


def _rotated_transposed(cotangent: Array, angle: Array) -> Array:
  """Each source pixel from all output pixels that it has a weight in."""
  shape = cotangent.shape
  rows, columns = _pixels(shape)
  centre_y, centre_x = _source(rows, columns, -angle, shape)  # the inverse, also when it shears
  nearest_row, nearest_column = (jnp.round(x).astype(jnp.int32) for x in (centre_y, centre_x))
  # A source pixel reaches less than one pixel along both axes; carried back by the inverse that is
  # less than cos + sin * aspect <= sqrt(1 + aspect^2), and rounding adds half a pixel.
  aspect = max(shape[0] / shape[1], shape[1] / shape[0])
  reach = int((1 + aspect**2) ** 0.5 + 0.5)
  result = jnp.zeros_like(cotangent)
  for down in range(-reach, reach + 1):
    for right in range(-reach, reach + 1):
      row, column = nearest_row + down, nearest_column + right
      source_y, source_x = _source(row, column, angle, shape)
      weights = _hat(source_y - rows) * _hat(source_x - columns)
      result += _weighted_taken(cotangent, row, column, weights)
  return result


def cutout_side(size: int) -> int:
  """Pixels that cutout covers along an axis of `size` pixels, before clipping."""
  return int(size * CUTOUT + 0.5)


def cutout(image: Float[Array, "h w c"], centre: Integer[Array, " 2"]) -> Float[Array, "h w c"]:
  """Sets a square to zero.

  Args:
    image: f32[h w c].
    centre: i32[2]. Rows `centre[0] - side // 2` to `centre[0] - side // 2 + side - 1` are cut, as
      far as they exist, and columns likewise; a square outside the image cuts nothing.
  """
  is_cut = [
    (pixel >= middle - cutout_side(size) // 2)
    & (pixel < middle - cutout_side(size) // 2 + cutout_side(size))
    for pixel, middle, size in zip(_pixels(image.shape), centre, image.shape[:2])
  ]
  return jnp.where((is_cut[0] & is_cut[1])[..., None], 0.0, image)


def brightness(image: Float[Array, "h w c"], offset: Float[Array, ""]) -> Float[Array, "h w c"]:
  """Adds `offset`, in the units of the image."""
  return image + offset.astype(image.dtype)


def saturation(image: Float[Array, "h w c"], factor: Float[Array, ""]) -> Float[Array, "h w c"]:
  """Stretches each pixel about the mean of its channels; grey images [h w 1] stay as they are."""
  if image.shape[-1] == 1:
    return image
  return _stretched(image, jnp.mean(image, axis=-1, keepdims=True), factor)


def contrast(image: Float[Array, "h w c"], factor: Float[Array, ""]) -> Float[Array, "h w c"]:
  """Stretches the image about its mean over pixels and channels."""
  return _stretched(image, jnp.mean(image, keepdims=True), factor)


def _stretched(image: Array, mean: Array, factor: Array) -> Array:
  """`(image - mean) * factor + mean`, arranged so that factor 1 leaves every bit."""
  factor = factor.astype(image.dtype)
  return factor * image + (1 - factor) * mean


def color(
  image: Float[Array, "h w c"],
  offset: Float[Array, ""],
  saturation_factor: Float[Array, ""],
  contrast_factor: Float[Array, ""],
) -> Float[Array, "h w c"]:
  """Brightness, saturation and contrast, in this order."""
  image = saturation(brightness(image, offset), saturation_factor)
  return contrast(image, contrast_factor)
