"""Initial synthetic images and labels, ipc per class: real examples, noise, and other ways."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.data.batches import standardise, unstandardise
from ddjax.types import AnyArray, Array, DatasetInfo, DataSplit, Synthetic
from ddjax.wording import nearest

INITS = ("real", "noise", "kmeans")
_SMOOTHING = 0.1  # ours: labels that are learned begin with so much of their weight spread evenly


def check_init(init: str, ipc: int, inits: tuple[str, ...] = INITS) -> None:
  """Raises ValueError for an unknown way to begin, or fewer than one image per class."""
  if init not in inits:
    raise ValueError(f"Unknown synthetic.init {init!r}. {nearest(init, inits)}")
  if ipc < 1:
    raise ValueError(f"synthetic.ipc={ipc} must be at least 1.")


def draw_members(rng: Array, data: DataSplit, ipc: int) -> Array:
  """Rows of random members, without replacement within a class: i32[k ipc].

  A class with fewer members gives all of them, then the same again; fewer than ipc of a config are
  refused before, on the host (`stages.prepare.check_ipc`).
  """
  is_real = jnp.arange(data.class_index.shape[1])[None] < data.class_counts[:, None]
  is_member = data.mask[data.class_index] & is_real
  priority = jax.random.uniform(rng, data.class_index.shape, jnp.float32)
  order = jnp.argsort(jnp.where(is_member, priority, 2.0), axis=1)  # others come last
  turn = jnp.arange(ipc)[None] % jnp.maximum(is_member.sum(axis=1, keepdims=True), 1)
  order = jnp.take_along_axis(order, turn, axis=1)
  return jnp.take_along_axis(data.class_index, order, axis=1)


def one_hot_labels(num_classes: int, ipc: int, is_centred: bool) -> Array:
  """Labels f32[k*ipc k], class by class; centred means minus 1/k, as kernel regression uses."""
  labels = jnp.repeat(jnp.eye(num_classes, dtype=jnp.float32), ipc, axis=0)
  return labels - 1.0 / num_classes if is_centred else labels


def init_images(rng: Array, data: DataSplit, info: DatasetInfo, ipc: int, init: str) -> Array:
  """Initial images f32[k*ipc h w c] in network units, class by class.

  `real` draws members; `noise` is standard normal; `kmeans` takes the centres of each class's
  members after ten rounds of Lloyd's algorithm from random members; `saved` takes `data.start`.
  """
  count = info.num_classes * ipc
  if init == "saved":
    assert data.start is not None
    return data.start
  if init == "noise":
    return jax.random.normal(rng, (count, *info.image_shape), jnp.float32)
  start = standardise(data.images[draw_members(rng, data, ipc).reshape(-1)], data)
  if init == "real":
    return start

  def centres_of(class_start, class_index, class_count):
    rows = standardise(data.images[class_index], data).reshape(class_index.shape[0], -1)
    weights = data.mask[class_index] & (jnp.arange(class_index.shape[0]) < class_count)
    return kmeans(class_start.reshape(ipc, -1), rows, weights.astype(jnp.float32))

  by_class = start.reshape(info.num_classes, ipc, *info.image_shape)
  centres = jax.lax.map(
    lambda operands: centres_of(*operands), (by_class, data.class_index, data.class_counts)
  )
  return centres.reshape(count, *info.image_shape)


def init_synthetic(
  rng: Array, data: DataSplit, info: DatasetInfo, *, ipc: int, init: str, is_centred: bool
) -> Synthetic:
  """Images and labels to start from.

  Args:
    rng: one key; used up.
    data: the real set.
    info: of it.
    ipc: images per class.
    init: as in `init_images`.
    is_centred: as in `one_hot_labels`.
  Returns:
    images f32[k*ipc h w c] in network units and labels f32[k*ipc k], class by class.
  """
  images = init_images(rng, data, info, ipc, init)
  return Synthetic(images=images, labels=one_hot_labels(info.num_classes, ipc, is_centred))


def init_grids(
  rng: Array, data: DataSplit, info: DatasetInfo, ipc: int, factor: int
) -> Float[Array, "n h w c"]:
  """Images that are grids of f x f real ones, in network units, class by class (IDC's "mix").

  Each cell is a random member of which every f-th row and column is kept.

  Args:
    rng: one key; used up.
    data: the real set.
    info: of it.
    ipc: grids per class.
    factor: f; divides both sides. 1 gives random members.
  """
  height, width, channels = info.image_shape
  rows = draw_members(rng, data, ipc * factor**2).reshape(-1)
  cells = standardise(data.images[rows][:, ::factor, ::factor], data)
  small = (height // factor, width // factor, channels)
  grids = cells.reshape(-1, factor, factor, *small).transpose(0, 1, 3, 2, 4, 5)
  return grids.reshape(-1, height, width, channels)


def as_logits(labels: Float[AnyArray, "n k"]) -> Float[Array, "n k"]:
  """Log-probabilities to learn labels from: a tenth of the weight of each is spread evenly."""
  return jnp.log((1 - _SMOOTHING) * labels + _SMOOTHING / labels.shape[-1])


def kmeans(centres: Array, rows: Array, weights: Array, num_rounds: int = 10) -> Array:
  """Lloyd's algorithm on rows f32[q d] of weights f32[q], from centres f32[n d].

  An empty cluster keeps its centre.
  """

  def one_round(_, centres):
    distances = jnp.sum(centres**2, axis=1)[None, :] - 2 * rows @ centres.T
    nearest_centre = jnp.argmin(distances, axis=1)
    member = jax.nn.one_hot(nearest_centre, centres.shape[0]) * weights[:, None]
    sizes = member.sum(axis=0)[:, None]
    return jnp.where(sizes > 0, member.T @ rows / jnp.maximum(sizes, 1.0), centres)

  return jax.lax.fori_loop(0, num_rounds, one_round, centres)


def init_pixels(
  rng: Array, data: DataSplit, info: DatasetInfo, ipc: int, init: str, factor: int
) -> Array:
  """Images to begin with as pixels in [0, 1], of methods that learn pixels: f32[k*ipc h w c].

  Args:
    rng: of the start.
    data: the train split.
    info: of the data set.
    ipc: images per class.
    init: "noise" (mean .5, deviation .25, clipped, as IDC and NCFM are released), "grid" (each of
      `factor` squared real images), or one of `init_images`.
    factor: cells a side of a grid.
  """
  if init == "noise":
    shape = (info.num_classes * ipc, *info.image_shape)
    return jnp.clip(0.25 * jax.random.normal(rng, shape, jnp.float32) + 0.5, 0.0, 1.0)
  if init == "grid":
    images = init_grids(rng, data, info, ipc, factor)
  else:
    images = init_images(rng, data, info, ipc, init)
  return unstandardise(images, data) / info.max_value
