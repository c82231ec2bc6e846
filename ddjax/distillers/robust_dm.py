r"""Robust DM: synthetic images that match the features of attacked real ones.

Our form of DM (Zhao, Bilen 2023, arXiv 2110.04181, eq. 4) for adversarial robustness: at each step
real images are attacked against the step's network before their features are averaged. A random
network has no output to be fooled, but the step itself makes a classifier of its features: the
nearest class mean. So the adversary of an image x of class c climbs the margin

  || f(A(x)) - mu_c ||^2 - min over j != c of || f(A(x)) - mu_j ||^2,

with mu_j the mean feature of the batch's clean images of class j. This moves a class's features
towards the classes that it can be mistaken for, which is what attacks on trained networks do, and
what a set must hold against. Merely going away from the clean feature needs no label, but leads
each image elsewhere: the mean over a class, which is all that DM sees, then hardly moves.

Where we differ from DM: one siamese augmentation A is drawn a step for all classes (each class's
loss keeps its mean over draws), so that the means of all classes are of one space, and the
adversary sees through it.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.augment import siamese
from ddjax.distillers.adversaries import read_adversary
from ddjax.distillers.class_batches import ClassBatch
from ddjax.distillers.dm import MoveFn, make_dm
from ddjax.distillers.matching import Matcher
from ddjax.models.build import features_of
from ddjax.models.pieces import map_pieces
from ddjax.training.parallel import mean_across, num_shards, own_rows
from ddjax.types import Array, DatasetInfo, Distiller

_TINY = 1e-30


def make_robust_dm(
  config: ConfigDict, info: DatasetInfo, axis_name: str | None = None
) -> Distiller:
  """Builds robust DM from its config; see `configs/robust_dm.py` for the fields.

  Raises:
    ValueError: for an impossible adversary, and for what DM refuses.
  """
  adversary = read_adversary(config, info)
  num_classes = info.num_classes
  identity = jnp.eye(num_classes, dtype=jnp.float32)

  def make_move(matcher: Matcher) -> MoveFn:
    def move(rng, variables, data, batch: ClassBatch, draws):
      draw = jax.tree.map(lambda leaf: leaf[0], draws)
      size = batch.index.shape[1]
      classes = jnp.repeat(jnp.arange(num_classes), size)
      pixels = adversary.pixels(data, batch.index.reshape(-1))
      at_once = min(matcher.images_at_once or len(pixels), matcher.classes_at_once * size)

      def embed(pixels):
        images = siamese.apply(adversary.to_network(pixels, data), draw, matcher.augmentation)
        features = features_of(matcher.network, variables, images)
        return features.reshape(len(images), -1).astype(jnp.float32)

      clean = map_pieces(embed, pixels, at_once)
      members = identity[classes] * batch.weights.reshape(-1, 1)
      total = jnp.einsum("bk,bd->kd", members, clean, precision="highest")
      total, count = mean_across((total, members.sum(axis=0)), matcher.axis_name)
      means = total / jnp.maximum(count, _TINY)[:, None]

      def of_rows(rows):
        def losses(pixels):
          return margins(embed(pixels), classes[rows], means, count > 0)

        return adversary.attack(rng, own_numbers(size)[rows], pixels[rows], losses)

      moved = map_pieces(of_rows, jnp.arange(len(pixels)), at_once)
      images = adversary.to_network(moved, data)
      channels = jnp.ones_like(data.mean)
      seen = data.replace(images=images, mean=0 * channels, std=channels)
      places = jnp.arange(len(images), dtype=jnp.int32).reshape(num_classes, size)
      return seen, batch.replace(index=places)

    def own_numbers(size):
      """The numbers of this device's images among those of all: by class, then by row."""
      rows = jnp.arange(size * num_shards(axis_name), dtype=jnp.int32)
      own = own_rows(rows, axis_name)
      return (jnp.arange(num_classes, dtype=jnp.int32)[:, None] * len(rows) + own[None]).reshape(-1)

    return move

  distiller = make_dm(config, info, axis_name, make_move=make_move)
  attacked = distiller.forward_passes * (1 + 3 * adversary.num_steps)
  return distiller._replace(
    needs_pixels=True,
    image_passes=distiller.image_passes + attacked,
    passes_in_a_row=distiller.passes_in_a_row + 3 * adversary.num_steps,
  )


def margins(features: Array, classes: Array, means: Array, is_known: Array) -> Array:
  """How much nearer features lie to another class's mean than to their own, as squared distances.

  Args:
    features: f32[b d].
    classes: i32[b], their own.
    means: f32[k d], of the classes.
    is_known: bool[k], whose mean there is; others are nobody's nearest.
  Returns:
    f32[b], up to what does not depend on the class.
  """
  inner = jnp.einsum("bd,kd->bk", features, means, precision="highest")
  distances = jnp.sum(means**2, axis=1)[None] - 2 * inner  # without the feature's own square
  is_own = classes[:, None] == jnp.arange(len(means))[None]
  own = jnp.sum(jnp.where(is_own, distances, 0.0), axis=1)
  others = jnp.where(is_own | ~is_known[None], jnp.inf, distances).min(axis=1)
  return own - jnp.where(jnp.isfinite(others), others, 0.0)
