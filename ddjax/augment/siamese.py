"""Differentiable siamese augmentation: the operations drawn, and applied alike to many images.

Zhao, Bilen 2021, "Dataset Condensation with Differentiable Siamese Augmentation" (arXiv
2102.08259). Draws are arrays, made apart from their use: the same draws on a real and on a
synthetic batch are what "siamese" means.

    augmentation = parse("color_crop_cutout_flip_scale_rotate")
    draws = draw(rng, augmentation, height=32, width=32)
    real, synthetic = (apply(images, draws, augmentation) for images in (real, synthetic))
"""

from functools import partial
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.augment import ops
from ddjax.types import Array
from ddjax.wording import nearest

# The released settings of Zhao, Bilen 2021 (`ParamDiffAug`); cutout's share is `ops.CUTOUT`.
FLIP_PROBABILITY = 0.5
SCALE = 1.2  # factors in [1/1.2, 1.2]
ROTATE = 15.0  # degrees each way
CROP = 0.125  # share of the side, each way
BRIGHTNESS = 1.0  # width of the range of offsets
SATURATION = 2.0  # factors in [0, 2]
CONTRAST = 0.5  # factors in [.5, 1.5]

DSA = "color_crop_cutout_flip_scale_rotate"  # the released strategy of DSA, DM and MTT
OPS = ("flip", "color", "crop", "translate", "scale", "rotate", "cutout")
MODES = ("single", "multi", "idc", "ncfm")

_MOVES = ("flip", "scale", "crop", "translate")  # one pair of matrices
_LOSSY = ("scale", "crop", "translate")  # push pixels out of the frame
_ALWAYS = {  # of each mode; of the other operations one is drawn
  "single": (),
  "multi": OPS,
  "idc": ("flip", "color", "cutout"),
  "ncfm": ("translate", "flip", "color", "cutout"),
}


class Augmentation(NamedTuple):
  """What may be drawn.

  Attributes:
    ops: names in `OPS`, each once; empty means none.
    mode: "single", one of the operations (DSA, DM, MTT); "multi", all, in the order of `ops`; or
      "idc", flip and color, then one of the others, then cutout (Kim et al. 2022), each where it
      is among `ops`; or "ncfm", translate first and then as "idc" (Wang et al. 2025 train on
      images that are shifted before they are augmented).
  """

  ops: tuple[str, ...] = ()
  mode: str = "single"


class Draws(struct.PyTreeNode):
  """Parameters of every operation, with leading axes as drawn.

  An operation that was not drawn has the setting that changes nothing.

  Attributes:
    drawn: i32[], the one operation drawn, by its place in the augmentation's `ops`; -1 where the
      mode draws none. Without the leading axes of the others where all share it.
    is_flipped: bool[].
    scale: f32[2], rows and columns, from output to source.
    angle: f32[], radians.
    crop: i32[2], rows and columns.
    translate: i32[2], likewise.
    cutout: i32[2], row and column of the centre.
    brightness: f32[], added.
    saturation: f32[], factor.
    contrast: f32[], factor.
  """

  drawn: Array
  is_flipped: Array
  scale: Array
  angle: Array
  crop: Array
  translate: Array
  cutout: Array
  brightness: Array
  saturation: Array
  contrast: Array


def parse(strategy: str, mode: str = "single") -> Augmentation:
  """Reads a strategy as the papers write it, "color_crop_cutout_flip_scale_rotate".

  Args:
    strategy: names in `OPS` joined by "_"; "" or "none" for no augmentation.
    mode: see `Augmentation`.
  Raises:
    ValueError: for an unknown operation or mode, or an operation that stands twice.
  """
  if mode not in MODES:
    raise ValueError(f"Unknown augmentation mode {mode!r}. {nearest(mode, MODES)}")
  if strategy.lower() in ("", "none"):
    return Augmentation((), mode)
  names = tuple(strategy.lower().split("_"))
  for name in names:
    if name not in OPS:
      raise ValueError(f"Unknown operation {name!r} in strategy {strategy!r}. {nearest(name, OPS)}")
    if names.count(name) > 1:
      raise ValueError(f"{name!r} stands twice in strategy {strategy!r}.")
  return Augmentation(names, mode)


def without_flip(strategy: str) -> str:
  """The strategy for data whose mirrored image is another class (digits, letters)."""
  return "_".join(name for name in strategy.split("_") if name.lower() != "flip")


def draw(
  rng: Array,
  augmentation: Augmentation,
  shape: tuple[int, ...] = (),
  *,
  height: int,
  width: int,
  shares_op: bool = False,
) -> Draws:
  """Draws parameters.

  Args:
    rng: one key; used up.
    augmentation: what may be drawn.
    shape: () for one draw that all images share, (k,) per class, (b,) per example, and so on.
    height: of the images, pixels; crop, translate and cutout depend on it.
    width: likewise.
    shares_op: whether one operation is drawn for all of `shape`, and only its parameters apart: so
      DC, DSA, DM and MTT train networks on a batch.
  Returns:
    `Draws` with leading `shape`.
  """
  choices = _choices(augmentation)
  keys = dict(zip(("drawn", "flip", *_PARAMETERS), jax.random.split(rng, 2 + len(_PARAMETERS))))
  op_shape = () if shares_op else shape
  drawn = jnp.full(op_shape, -1, jnp.int32)
  if choices:
    index = jnp.array([augmentation.ops.index(name) for name in choices], jnp.int32)
    drawn = index[jax.random.randint(keys["drawn"], op_shape, 0, len(choices), jnp.int32)]

  def where_drawn(name, value, otherwise):
    if name not in augmentation.ops:
      return jnp.full(value.shape, otherwise, value.dtype)
    if name not in choices:
      return value
    is_on = drawn == augmentation.ops.index(name)
    is_on = jnp.broadcast_to(
      is_on.reshape(is_on.shape + (1,) * (value.ndim - is_on.ndim)), value.shape
    )
    return jnp.where(is_on, value, jnp.array(otherwise, value.dtype))

  def uniform(name, low, high, shape=shape):
    return jax.random.uniform(keys[name], shape, jnp.float32, low, high)

  def pixels(name, low, high):  # i32[... 2] in [low, high], both reached
    low, high = jnp.array(low, jnp.int32), jnp.array(high, jnp.int32) + 1
    low, high = (jnp.broadcast_to(x, (*shape, 2)) for x in (low, high))
    return jax.random.randint(keys[name], (*shape, 2), low, high, jnp.int32)

  limit = [int(size * CROP + 0.5) for size in (height, width)]
  sides = [ops.cutout_side(size) for size in (height, width)]
  # Centres from 0 to the size where the side is even, one less where odd, as the original draws.
  last_centre = [size - side % 2 for size, side in zip((height, width), sides)]
  return Draws(
    drawn=drawn,
    is_flipped=where_drawn(
      "flip", jax.random.bernoulli(keys["flip"], FLIP_PROBABILITY, shape), False
    ),
    scale=where_drawn("scale", uniform("scale", 1 / SCALE, SCALE, (*shape, 2)), 1.0),
    angle=where_drawn("rotate", jnp.deg2rad(uniform("angle", -ROTATE, ROTATE)), 0.0),
    crop=where_drawn("crop", pixels("crop", [-x for x in limit], limit), 0),
    translate=where_drawn("translate", pixels("translate", [-x for x in limit], limit), 0),
    cutout=where_drawn("cutout", pixels("cutout", [0, 0], last_centre), -max(height, width)),
    brightness=where_drawn("color", uniform("brightness", -BRIGHTNESS / 2, BRIGHTNESS / 2), 0.0),
    saturation=where_drawn("color", uniform("saturation", 0.0, SATURATION), 1.0),
    contrast=where_drawn("color", uniform("contrast", CONTRAST, CONTRAST + 1), 1.0),
  )


_PARAMETERS = (
  "scale", "angle", "crop", "translate", "cutout", "brightness", "saturation", "contrast"
)  # fmt: skip


def _choices(augmentation: Augmentation) -> tuple[str, ...]:
  """The operations of which one is drawn."""
  return tuple(name for name in augmentation.ops if name not in _ALWAYS[augmentation.mode])


def apply(
  images: Float[Array, "*batch h w c"], draws: Draws, augmentation: Augmentation
) -> Float[Array, "*batch h w c"]:
  """Applies drawn operations.

  Images f32[b h w c] with draws of shape () are all treated alike, with draws of shape (b,) each
  by its own; images f32[k b h w c] with draws of shape (k,) class by class. Where one operation was
  drawn for all, no other runs, unless the call is itself under `vmap`.

  Args:
    images: f32[*batch h w c].
    draws: made for this augmentation and image size; their leading axes are the first of `batch`.
    augmentation: what the draws were made for.
  Raises:
    ValueError: where the leading axes of the draws are not those of the images.
  """
  shape, batch = draws.angle.shape, images.shape[:-3]
  if images.ndim < 3 or batch[: len(shape)] != shape:
    raise ValueError(f"Draws of shape {shape} do not fit images of shape {images.shape}.")
  drawn = draws.drawn
  draws = draws.replace(drawn=jnp.broadcast_to(drawn, shape))
  for stage in _stages(augmentation):
    one = partial(_apply_stage, stage)
    for axis in reversed(range(len(batch))):
      one = jax.vmap(one, in_axes=(0, 0 if axis < len(shape) else None))
    if not drawn.shape and set(stage) <= set(_choices(augmentation)):
      indices = [augmentation.ops.index(name) for name in stage]
      is_drawn = jnp.any(drawn == jnp.array(indices, jnp.int32))
      images = jax.lax.cond(is_drawn, one, lambda images, _: images, images, draws)
    else:
      images = one(images, draws)
  return images


def _stages(augmentation: Augmentation) -> list[tuple[str, ...]]:
  """The operations in the order of their use, those together that one resampling can do."""
  if augmentation.mode != "multi":
    # At most one of these moves loses pixels, and flip and color commute: one resampling does.
    first = ("translate",) if augmentation.mode == "ncfm" else ()  # beside another lossy one
    moves = tuple(name for name in _MOVES if name not in first)
    order = (first, ("color",), moves, ("rotate",), ("cutout",))
    stages = [tuple(name for name in stage if name in augmentation.ops) for stage in order]
    return [stage for stage in stages if stage]
  stages = []
  for name in augmentation.ops:
    can_join = bool(stages) and name in _MOVES and stages[-1][0] in _MOVES
    if can_join and sum(move in _LOSSY for move in (*stages[-1], name)) <= 1:
      stages[-1] = (*stages[-1], name)
    else:
      stages.append((name,))
  return stages


def _apply_stage(stage: tuple[str, ...], image: Array, draws: Draws) -> Array:
  """One stage of `_stages` on one image f32[h w c], with draws of shape ()."""
  if stage == ("color",):
    return ops.color(image, draws.brightness, draws.saturation, draws.contrast)
  if stage == ("rotate",):
    return ops.rotate(image, draws.angle)
  if stage == ("cutout",):
    return ops.cutout(image, draws.cutout)
  rows = columns = ops.UNMOVED
  for name in stage:
    row, column = {
      "flip": lambda: (ops.UNMOVED, ops.flip_axis(draws.is_flipped)),
      "scale": lambda: ops.scale_axes(draws.scale),
      "crop": lambda: ops.shift_axes(draws.crop),
      "translate": lambda: ops.shift_axes(draws.translate),
    }[name]()
    rows = rows if row is ops.UNMOVED else rows.then(row)
    columns = columns.then(column)
  return ops.resample(image, rows, columns)


def augment(
  rng: Array, images: Float[Array, "b h w c"], augmentation: Augmentation, per_example: bool
) -> Float[Array, "b h w c"]:
  """Draws and applies: one draw for the batch, or one operation with parameters for each image.

  Args:
    rng: one key; used up.
    images: f32[b h w c].
    augmentation: what may be drawn.
    per_example: as networks are trained; else the whole batch alike.
  """
  shape = images.shape[:1] if per_example else ()
  height, width = images.shape[-3:-1]
  draws = draw(rng, augmentation, shape, height=height, width=width, shares_op=True)
  return apply(images, draws, augmentation)
