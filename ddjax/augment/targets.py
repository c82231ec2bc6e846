"""Augmentation of KIP's target batches: a fraction of the examples, each with its own draw.

Nguyen, Novak, Xiao, Lee 2021 (arXiv 2107.13034) augment targets by rotation, shift, flip and
channel shift; which fraction and how much is the config's choice.
"""

from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp

from ddjax.data.batches import standardise, take
from ddjax.types import Array, DataSplit


class TargetAugmentation(NamedTuple):
  """What may be drawn.

  Attributes:
    fraction: of the examples that are augmented, in [0, 1].
    flip: whether half of those are mirrored left to right.
    max_shift: pixels, each way and along each axis; zero fill.
    max_rotation: degrees each way; bilinear, zero fill.
    channel_shift: largest constant added to a channel, in network units.
  """

  fraction: float = 0.0
  flip: bool = False
  max_shift: int = 0
  max_rotation: float = 0.0
  channel_shift: float = 0.0

  @property
  def is_active(self) -> bool:
    return self.fraction > 0 and any(self[1:])


@struct.dataclass
class Draws:
  """One draw per example: shift i32[b 2] (rows, columns), flip bool[b], angle f32[b] (radians),
  channel f32[b c]; all zero for an example that is left as it is."""

  shift: Array
  flip: Array
  angle: Array
  channel: Array


def check_augmentation(options: TargetAugmentation, image_shape: tuple[int, int, int]) -> None:
  """Raises ValueError for a fraction outside [0, 1], a negative amount, or too far a shift."""
  if not 0 <= options.fraction <= 1:
    raise ValueError(f"augment.fraction={options.fraction} must lie in [0, 1].")
  if min(options[2:]) < 0:
    raise ValueError(f"Amounts of augmentation must not be negative: {options}.")
  if options.max_shift >= min(image_shape[:2]):
    raise ValueError(f"augment.max_shift={options.max_shift} leaves nothing of {image_shape}.")


def draw(rng: Array, num: int, num_channels: int, options: TargetAugmentation) -> Draws:
  """Draws for `num` examples; the same on every device that holds the same key."""
  on_rng, shift_rng, flip_rng, angle_rng, channel_rng = jax.random.split(rng, 5)
  order = jax.random.uniform(on_rng, (num,), jnp.float32)
  is_on = order <= jnp.sort(order)[max(round(options.fraction * num) - 1, 0)]
  is_on &= options.fraction > 0
  limit = options.max_shift
  shift = jax.random.randint(shift_rng, (num, 2), -limit, limit + 1, jnp.int32)
  flip = jax.random.bernoulli(flip_rng, 0.5 * options.flip, (num,))
  angle = jax.random.uniform(angle_rng, (num,), jnp.float32, -1.0, 1.0)
  channel = jax.random.uniform(channel_rng, (num, num_channels), jnp.float32, -1.0, 1.0)
  return Draws(
    shift=shift * is_on[:, None],
    flip=flip & is_on,
    angle=angle * is_on * jnp.deg2rad(options.max_rotation).astype(jnp.float32),
    channel=channel * is_on[:, None] * options.channel_shift,
  )


def take_augmented(
  data: DataSplit, index: Array, draws: Draws | None, options: TargetAugmentation
) -> Array:
  """Real examples, standardised and augmented.

  Args:
    data: the real set.
    index: i32[b], rows of it.
    draws: one per example; None where `options` change nothing.
    options: what may have been drawn; the rest costs nothing.
  Returns:
    f32[b h w c] in network units; zero where a shift or rotation uncovers.
  """
  # Mirrored and padded sets do not change from step to step: the compiler makes them once per call,
  # and a step gathers from them, which is far cheaper than mirroring and padding its own batch.
  pool = data.images
  if draws is None:
    return standardise(pool[index], data)
  if options.flip:
    pool = jnp.concatenate([pool, pool[:, :, ::-1]])
    index = index + draws.flip * data.images.shape[0]
  if options.max_shift:
    images, is_covered = _shifted(pool, index, draws.shift, options.max_shift)
    images = jnp.where(is_covered, standardise(images, data), 0.0)
  else:
    images = take(data.replace(images=pool), index)
  return _turned_and_shifted(images, draws, options)


def augment(images: Array, draws: Draws, options: TargetAugmentation) -> Array:
  """What `take_augmented` does to images f[b h w c] in network units that are at hand already.

  Differentiable in the images.
  """
  if options.flip:
    images = jnp.where(draws.flip[:, None, None, None], images[:, :, ::-1], images)
  if options.max_shift:
    rows = jnp.arange(len(images), dtype=jnp.int32)
    images, is_covered = _shifted(images, rows, draws.shift, options.max_shift)
    images = jnp.where(is_covered, images, 0.0)
  return _turned_and_shifted(images, draws, options)


def _turned_and_shifted(images: Array, draws: Draws, options: TargetAugmentation) -> Array:
  """The operations that come last: rotation, and constants added to channels."""
  if options.max_rotation:
    images = jax.vmap(_rotated)(images, draws.angle)
  if options.channel_shift:
    images = images + draws.channel[:, None, None]
  return images


def _shifted(images: Array, index: Array, shift: Array, limit: int) -> tuple[Array, Array]:
  """Rows `index` of `images`, moved by `shift`: `[b h w c]`, and where they lie, `[b h w 1]`."""
  _, height, width, channels = images.shape
  padded = jnp.pad(images, ((0, 0), (limit, limit), (limit, limit), (0, 0)))
  starts = jnp.concatenate([index[:, None], limit - shift, jnp.zeros_like(index)[:, None]], axis=1)
  windows = jax.lax.gather(
    padded,
    starts,
    jax.lax.GatherDimensionNumbers(
      offset_dims=(1, 2, 3), collapsed_slice_dims=(0,), start_index_map=(0, 1, 2, 3)
    ),
    slice_sizes=(1, height, width, channels),
    mode="clip",
  )
  rows = jnp.arange(height)[None, :] - shift[:, :1]
  columns = jnp.arange(width)[None, :] - shift[:, 1:]
  is_row = (rows >= 0) & (rows < height)
  is_column = (columns >= 0) & (columns < width)
  return windows, is_row[:, :, None, None] & is_column[:, None, :, None]


def _rotated(image: Array, angle: Array) -> Array:
  """One image f32[h w c] turned about its centre; bilinear, zero outside."""
  height, width, _ = image.shape
  centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
  rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
  y, x = rows - centre_row, columns - centre_column
  source_y = jnp.cos(angle) * y + jnp.sin(angle) * x + centre_row
  source_x = jnp.cos(angle) * x - jnp.sin(angle) * y + centre_column

  def channel(plane):
    return jax.scipy.ndimage.map_coordinates(plane, [source_y, source_x], order=1, mode="constant")

  return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)
