"""What real and synthetic images of a class do to a network, matched: gradients, or mean features.

Gradients: Zhao, Mopuri, Bilen 2021, "Dataset Condensation with Gradient Matching" (arXiv
2006.05929), eqs. 9 and 10; Kim et al. 2022, "Dataset Condensation via Efficient Synthetic-Data
Parameterization" (arXiv 2205.14959). Features: Zhao, Bilen 2023, "Dataset Condensation with
Distribution Matching" (arXiv 2110.04181), eq. 4. Class by class, what real examples give is the
target of what synthetic ones give, under one siamese augmentation.

With weights by group (`ClassBatch`) every group of a class gives a target of its own, and the
distance of the class is the sum over groups, each with weight one: FairDD (Zhou et al. 2025). A
group without an example in the batch is left out.
"""

import math
from typing import Any, Callable, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float
import optax

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers.class_batches import ClassBatch, augment_classes, draw_class_batches
from ddjax.models.build import features_of, logits_of
from ddjax.models.layers import BatchNorm
from ddjax.models.pieces import map_each, over_classes, sum_over_pieces
from ddjax.training.parallel import mean_across
from ddjax.types import Array, DataSplit, Synthetic
from ddjax.wording import nearest

_EPSILON = 1e-6  # of the cosine's denominator
_STATISTICS_PER_CLASS = 16  # real images of a class for batch norm, as released
_TINY = 1e-30  # below it a row counts as dead: its norm has no gradient, where it would be NaN


def row_cosine_distance(a: Float[Array, "d o"], b: Float[Array, "d o"]) -> Float[Array, ""]:
  """Sum over output units of one minus the cosine between their rows of weights (DC, eq. 10).

  Args:
    a: f32[d o], a column for each output unit, as flax lays kernels out.
    b: likewise.
  """

  def norm(x):
    square = jnp.sum(x * x, axis=0)  # the gradient of `maximum` hangs on an equality of floats
    return jnp.sqrt(jnp.where(square < _TINY, _TINY, square))

  return jnp.sum(1 - jnp.sum(a * b, axis=0) / (norm(a) * norm(b) + _EPSILON))


def squared_distance(a: Array, b: Array) -> Float[Array, ""]:
  """Sum of squared differences."""
  return jnp.sum((a - b) ** 2)


def absolute_distance(a: Array, b: Array) -> Float[Array, ""]:
  """Sum of absolute differences."""
  return jnp.sum(jnp.abs(a - b))


DISTANCES = {
  "cosine": row_cosine_distance,
  "squared": squared_distance,
  "absolute": absolute_distance,
}


def find_distance(name: str) -> Callable[[Array, Array], Array]:
  """The distance (f32[d o], f32[d o]) -> f32[] of that name.

  Raises:
    ValueError: for an unknown name, with the nearest known one.
  """
  if name not in DISTANCES:
    raise ValueError(f"Unknown matching.distance {name!r}. {nearest(name, DISTANCES)}")
  return DISTANCES[name]


def matched_kernels(gradients: Any, only_convolutions: bool = False) -> list[Float[Array, "d o"]]:
  """The gradients that are matched: of every kernel, as [d o]; biases and norms count nothing.

  Args:
    gradients: of a network's parameters.
    only_convolutions: whether linear layers are left out too, as in IDC.
  """
  leaves = jax.tree_util.tree_leaves_with_path(gradients)
  chosen = [leaf for path, leaf in leaves if getattr(path[-1], "key", None) == "kernel"]
  if only_convolutions:
    chosen = [leaf for leaf in chosen if leaf.ndim == 4]
  return [leaf.reshape(-1, leaf.shape[-1]) for leaf in chosen]


class Matcher(NamedTuple):
  """What is matched, and how.

  Attributes:
    network: flax module.
    augmentation: siamese, drawn for each class.
    classes_at_once: of the k.
    images_at_once: real images in one piece; None for all.
    axis_name: of the devices.
    distance: of two kernels' gradients f32[d o].
    only_convolutions: see `matched_kernels`.
    view: (images, labels) of one class, as learned -> as a network sees them: decoded, normalised,
      labels as probabilities. Of gradients; features are of images as they are.
  """

  network: nn.Module
  augmentation: siamese.Augmentation
  classes_at_once: int
  images_at_once: int | None
  axis_name: str | None
  distance: Callable[[Array, Array], Array] = row_cosine_distance
  only_convolutions: bool = False
  view: Callable[[Array, Array], tuple[Array, Array]] = lambda images, labels: (images, labels)

  def num_pieces(self, index: Array) -> int:
    """In how many pieces to take the real images i32[q b] of a group of classes."""
    wanted = math.ceil(index.size / (self.images_at_once or index.size))
    return min(wanted, index.shape[1])

  def real_images(self, index: Array, data: DataSplit, draws: siamese.Draws) -> Array:
    """Augmented real images f32[q b h w c] of rows i32[q b]."""
    images = standardise(data.images[index], data)
    return augment_classes(images, draws, self.augmentation)


def match_means(
  matcher: Matcher,
  variables: Any,
  data: DataSplit,
  batch: ClassBatch,
  draws: siamese.Draws,
  images: Float[Array, "k n h w c"],
) -> tuple[Float[Array, " k"], Float[Array, "k n h w c"]]:
  """Squared distances between the mean features of real and of synthetic images (DM, eq. 4).

  Means over real examples are averaged across devices before the distance, which is not linear.
  With weights by group the distance is the sum of those from the means of the groups.

  Args:
    matcher: what to match.
    variables: of the network; batch norm uses its statistics as they are.
    data: the real set.
    batch: this device's real examples.
    draws: siamese draws with a leading [k].
    images: f32[k n h w c].
  Returns:
    squared distances f32[k], summed over features; the gradient of their sum.
  """

  def embed(images):  # [q b h w c] -> [q b d]
    rows = images.reshape(-1, *images.shape[2:])
    features = features_of(matcher.network, variables, rows)
    return features.reshape(*images.shape[:2], -1)

  def of_group(index, weights, draws, images):
    def of_piece(index, weights):  # [b q], or weights [b q g]
      features = embed(matcher.real_images(index.T, data, draws))
      return jnp.einsum("bq...,qbd->q...d", weights, features, precision="highest")

    rows = index.T, weights.swapaxes(0, 1)
    total = sum_over_pieces(of_piece, rows, matcher.num_pieces(index))
    total, count = mean_across((total, weights.sum(axis=1)), matcher.axis_name)
    target = total / jnp.maximum(count, _TINY)[..., None]
    has_real = (count > 0).astype(jnp.float32)
    has_groups = weights.ndim == 3

    def distances(images):
      features = embed(augment_classes(images, draws, matcher.augmentation)).mean(axis=1)
      features = features[:, None] if has_groups else features
      squared = has_real * jnp.sum((features - target) ** 2, axis=-1)
      squared = squared.sum(axis=1) if has_groups else squared
      return squared.sum(), squared

    (_, squared), gradient = jax.value_and_grad(distances, has_aux=True)(images)
    return squared, gradient

  operands = batch.index, batch.weights, draws, images
  return over_classes(of_group, operands, matcher.classes_at_once)


def match_gradients(
  matcher: Matcher,
  variables: Any,
  data: DataSplit,
  batch: ClassBatch,
  draws: siamese.Draws,
  learned: Synthetic,
) -> tuple[Float[Array, " k"], tuple[Array, Array]]:
  """Distances of all classes, and their gradients.

  The target is the gradient of the mean loss on the real examples of all devices: their sum is
  averaged across devices before the distance is taken. With weights by group there is a target for
  each group, at the cost of a backward pass each, and their distances are added up.

  Args:
    matcher: what to match.
    variables: of the network; batch norm uses its statistics as they are.
    data: the real set.
    batch: this device's real examples.
    draws: siamese draws with a leading [k].
    learned: images f32[k n h w c] and labels f32[k n q], by class.
  Returns:
    distances f32[k], gradients of their sum with respect to (images, labels).
  """
  images, labels = learned.images, learned.labels
  network, num_classes = matcher.network, len(images)
  params = variables["params"]
  statistics = {name: leaf for name, leaf in variables.items() if name != "params"}
  identity = jnp.eye(num_classes, dtype=jnp.float32)

  def total_loss(params, images, labels, weights):
    logits = logits_of(network, {"params": params, **statistics}, images)
    return jnp.sum(weights * optax.softmax_cross_entropy(logits, labels))

  def total_gradients(params, images, labels, weights):
    """Of the summed loss of each of q classes [q b ...]."""
    return map_each(
      lambda *of_class: jax.grad(total_loss)(params, *of_class), images, labels, weights
    )

  def gradients_by_group(params, images, labels, weights):
    """The same, of each of g groups [q g ...], with weights [q b g]: one pass forward for all."""

    def of_class(images, labels, weights):
      def each_loss(params):
        logits = logits_of(network, {"params": params, **statistics}, images)
        return optax.softmax_cross_entropy(logits, labels)

      _, back = jax.vjp(each_loss, params)
      return jax.lax.map(lambda of_group: back(of_group)[0], weights.T)

    return map_each(of_class, images, labels, weights)

  def matched(gradients):
    return matched_kernels(gradients, matcher.only_convolutions)

  def of_group(classes, index, weights, draws, images, labels):
    has_groups = weights.ndim == 3
    real_gradients = gradients_by_group if has_groups else total_gradients

    def of_piece(index, weights):  # [b q], or weights [b q g]
      real = matcher.real_images(index.T, data, draws)
      hard = jnp.broadcast_to(identity[classes][:, None], (*index.T.shape, num_classes))
      return real_gradients(params, real, hard, weights.swapaxes(0, 1))

    rows = index.T, weights.swapaxes(0, 1)
    total = sum_over_pieces(of_piece, rows, matcher.num_pieces(index))
    total, count = mean_across((total, weights.sum(axis=1)), matcher.axis_name)
    has_real = (count > 0).astype(jnp.float32)
    count = jnp.maximum(count, _TINY)

    def distances(images, labels):
      seen, seen_labels = jax.vmap(matcher.view)(images, labels)
      seen = augment_classes(seen, draws, matcher.augmentation)
      ones = jnp.full(seen.shape[:2], 1 / seen.shape[1], jnp.float32)
      gradients = total_gradients(params, seen, seen_labels, ones)

      def of_class(gradients, total, count):
        pairs = zip(matched(gradients), matched(total), strict=True)
        return sum(matcher.distance(a, b / count) for a, b in pairs)

      if has_groups:
        of_groups = jax.vmap(of_class, in_axes=(None, 0, 0))
        each_distance = has_real * jax.vmap(of_groups)(gradients, total, count)
        each_distance = each_distance.sum(axis=1)
      else:
        each_distance = has_real * jax.vmap(of_class)(gradients, total, count)
      return each_distance.sum(), each_distance

    (_, each_distance), gradients = jax.value_and_grad(distances, (0, 1), has_aux=True)(
      images, labels
    )
    return each_distance, gradients

  operands = jnp.arange(num_classes), batch.index, batch.weights, draws, images, labels
  return over_classes(of_group, operands, matcher.classes_at_once)


def passes_of_gradients(num_groups: int) -> int:
  """Forward passes that a real image costs in `match_gradients`: forward, and back by group."""
  return 1 + 2 * max(num_groups, 1)


def freeze_statistics(rng: Array, network: nn.Module, variables: Any, data: DataSplit) -> Any:
  """Variables whose batch norm normalises by the statistics of real images of all classes.

  The few synthetic images of a class have no statistics to speak of, so those of 16 real images of
  each class are frozen for matching (released code of DC; it keeps a tenth of them, the rest being
  the values at the start). Networks without batch norm come back as they are.

  Args:
    rng: one key; used up.
    network: flax module.
    variables: of it.
    data: the real set; every device draws the same images.
  """
  if "batch_stats" not in variables:
    return variables
  batch = draw_class_batches(rng, data, _STATISTICS_PER_CLASS)
  images = standardise(data.images[batch.index.reshape(-1)], data)
  is_counted = batch.weights.reshape(-1) > 0
  _, updated = network.apply(
    variables, images, is_training=True, mask=is_counted, mutable=["batch_stats"]
  )
  # The running values took `momentum` of the batch's, which so can be told. Where no member was
  # drawn there are none.
  has_member = is_counted.any()
  statistics = jax.tree.map(
    lambda old, new: jnp.where(has_member, old + (new - old) / BatchNorm.momentum, old),
    variables["batch_stats"],
    updated["batch_stats"],
  )
  return variables | {"batch_stats": statistics}


def split_classes(tree: Any, num_classes: int) -> Any:
  """Leaves [k*n ...] as [k n ...]."""
  return jax.tree.map(lambda leaf: leaf.reshape(num_classes, -1, *leaf.shape[1:]), tree)


def merge_classes(tree: Any) -> Any:
  """The inverse of `split_classes`."""
  return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
