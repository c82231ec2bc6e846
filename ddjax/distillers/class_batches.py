"""Real batches class by class, as the matching methods draw them, and siamese draws for each class.

DC, DSA, DM and IDC compare each class of the synthetic set with a batch of real examples of that
class, and draw one augmentation for both (Zhao, Mopuri, Bilen 2021; Zhao, Bilen 2021, 2023; Kim et
al. 2022).
"""

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.augment import siamese
from ddjax.data.batches import draw_class_balanced
from ddjax.training.parallel import num_shards, own_rows
from ddjax.types import Array, DataSplit


class ClassBatch(struct.PyTreeNode):
  """This device's rows of a real batch of every class.

  Attributes:
    index: i32[k b], rows of the real set.
    weights: f32[k b], 1 for a member, 0 for what only fills up; by group f32[k b g], zero but for
      the column of the example's own group.
  """

  index: Array
  weights: Array


def draw_class_batches(
  rng: Array, data: DataSplit, size: int, axis_name: str | None = None, num_groups: int = 0
) -> ClassBatch:
  """Draws up to `size` examples of each class without replacement; a smaller class gives all.

  Args:
    rng: one key; used up.
    data: the real set.
    size: global size of a class's batch; the devices divide it.
    axis_name: of the devices, each of which gets its own rows.
    num_groups: g, where weights are wanted by group; 0 for one weight an example.
  """
  shards = num_shards(axis_name)
  largest = -(-data.class_index.shape[1] // shards) * shards
  size = min(size, largest)
  index = draw_class_balanced(rng, data, size)
  is_new = jnp.arange(size)[None] < data.class_counts[:, None]
  weights = (data.mask[index] & is_new).astype(jnp.float32)
  own = own_rows((index.T, weights.T), axis_name)
  batch = ClassBatch(*(leaf.T for leaf in own))
  if not num_groups:
    return batch
  assert data.groups is not None, "a method that asks for groups refuses data without any"
  group = jax.nn.one_hot(data.groups[batch.index], num_groups, dtype=jnp.float32)
  return batch.replace(weights=batch.weights[..., None] * group)


def draw_siamese(
  rng: Array, augmentation: siamese.Augmentation, num_classes: int, image_shape: tuple[int, ...]
) -> siamese.Draws:
  """One draw for each class: `Draws` with a leading [k]."""
  height, width, _ = image_shape
  return siamese.draw(rng, augmentation, (num_classes,), height=height, width=width)


def augment_classes(
  images: Float[Array, "q b h w c"], draws: siamese.Draws, augmentation: siamese.Augmentation
) -> Float[Array, "q b h w c"]:
  """Applies its own draw to each class; one class after another, so that only what was drawn runs.

  Args:
    images: f32[q b h w c].
    draws: with a leading [q].
    augmentation: what the draws were made for.
  """
  if not augmentation.ops:
    return images
  if len(images) == 1:
    draw = jax.tree.map(lambda leaf: leaf[0], draws)
    return siamese.apply(images[0], draw, augmentation)[None]
  return jax.lax.map(lambda pair: siamese.apply(pair[0], pair[1], augmentation), (images, draws))
