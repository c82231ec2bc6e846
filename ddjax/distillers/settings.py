"""What the matching methods read from their configs alike, checked once."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import optax

from ddjax.augment import siamese
from ddjax.config.precision import precision_of
from ddjax.distillers import synthetic
from ddjax.distillers.matching import matched_kernels
from ddjax.distillers.updates import Optimisers
from ddjax.memory import budget_bytes
from ddjax.models import pieces
from ddjax.models.build import build
from ddjax.training.parallel import make_layout
from ddjax.types import Array, DatasetInfo

INITS = ("real", "noise", "kmeans", "saved")


class Settings(NamedTuple):
  """Settings that the matching methods share.

  Attributes:
    network: whose embeddings or gradients are matched.
    augmentation: siamese.
    optimisers: SGD with momentum on the images, and on the labels where they are learned.
    real_batch_size: real examples of each class a step, over all devices.
    classes_at_once: how many classes a kernel takes together.
    images_at_once: real images in one piece; None for all.
    image_shape: (h, w, c).
    real_passes: real images that a step passes through a network, for each class and distillation.
    remarks: what was chosen here, for the log.
  """

  network: nn.Module
  augmentation: siamese.Augmentation
  optimisers: Optimisers
  real_batch_size: int
  classes_at_once: int
  images_at_once: int | None
  image_shape: tuple[int, int, int]
  real_passes: float
  remarks: tuple[str, ...]

  def fresh_network(self, rng: Array) -> Any:
    """Variables of a network drawn anew."""
    return self.network.init(rng, jnp.zeros((1, *self.image_shape), jnp.float32))


class MethodTraits(NamedTuple):
  """In what a method differs from the others that match networks.

  Attributes:
    images_per_class: synthetic images of a class as the network sees them.
    num_networks: matched at once.
    shares_embeddings: whether replicas that draw alike pass one real batch through the network for
      all; not where it has batch norm, whose statistics are of a replica's own members.
    rate_scale: by which the images' learning rate is multiplied.
    augmentation_mode: see `siamese.Augmentation`.
    inits: the ways to begin that the method knows.
  """

  images_per_class: int
  num_networks: int = 1
  shares_embeddings: bool = False
  rate_scale: float = 1.0
  augmentation_mode: str = "single"
  inits: tuple[str, ...] = INITS


def read_settings(
  config: ConfigDict, info: DatasetInfo, axis_name: str | None, traits: MethodTraits
) -> Settings:
  """Reads and checks `synthetic`, `network`, `augmentation`, `outer` and `classes_at_once`.

  Args:
    config: the whole config; its fields stand in `ddjax.config.groups.matching`.
    info: of the data set.
    axis_name: over which real rows are split; None where each device has all of them.
    traits: of the method.
  Raises:
    ValueError: for an impossible setting, naming it.
  """
  outer, chosen = config.outer, config.synthetic
  check_init(chosen, traits.inits)
  check_positive(outer, "real_batch_size")
  network = build_network(config, info)
  is_shared = traits.shares_embeddings and config.shares_draws and not has_statistics(network, info)
  row_devices, replica_devices = _shares(config, axis_name)
  replicas = config.num_replicas // replica_devices
  real_rows = -(-outer.real_batch_size // row_devices) * (1 if is_shared else replicas)
  image_bytes = pieces.activation_bytes(network, info.image_shape)
  at_once = pieces.choose_classes_at_once(
    config.classes_at_once,
    info.num_classes,
    real_rows + traits.images_per_class * replicas,
    image_bytes * traits.num_networks,
    budget_bytes(config),
  )
  return Settings(
    network=network,
    augmentation=siamese.parse(config.augmentation, traits.augmentation_mode),
    optimisers=make_optimisers(config, traits.rate_scale),
    real_batch_size=outer.real_batch_size,
    classes_at_once=at_once,
    images_at_once=pieces.best_images_at_once(network, info.image_shape),
    image_shape=info.image_shape,
    real_passes=min(outer.real_batch_size, info.num_train / info.num_classes)
    / (config.num_replicas if is_shared else 1),
    remarks=(
      f"{at_once} of {info.num_classes} classes at once.",
      *_of_rate(outer, traits.rate_scale),
    ),
  )


def _shares(config: ConfigDict, axis_name: str | None) -> tuple[int, int]:
  """Over how many devices real rows are split, and over how many replicas are."""
  num_replicas = config.num_replicas if config.num_replicas > 1 else 0
  layout = make_layout(config.num_devices, num_replicas)
  count = len(layout.devices)
  return (count, 1) if axis_name else (1, count if layout.split == "replicas" else 1)


def _of_rate(outer: ConfigDict, rate_scale: float) -> tuple[str, ...]:
  """What to say of a learning rate that the size of the images changes."""
  if rate_scale == 1:
    return ()
  rate = outer.learning_rate
  return (f"Learning rate {rate * rate_scale:.3g}: {rate:.3g} times {rate_scale:.3g}, by size.",)


def build_network(config: ConfigDict, info: DatasetInfo) -> nn.Module:
  """The network of the group `network`; ValueError where it cannot take images of this shape."""
  width = config.network.width or None
  dtype = precision_of(config).networks
  network = build(config.network.name, num_classes=info.num_classes, width=width, dtype=dtype)
  _shapes(network, info)
  return network


def has_statistics(network: nn.Module, info: DatasetInfo) -> bool:
  """Whether the network has batch norm, whose statistics are of images."""
  return "batch_stats" in _shapes(network, info)


def _shapes(network: nn.Module, info: DatasetInfo) -> Any:
  """Shapes of the network's variables."""
  image = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
  return jax.eval_shape(network.init, jax.random.key(0), image)


def check_matched(config: ConfigDict, network: nn.Module, info: DatasetInfo) -> None:
  """Raises ValueError where the network has no gradient that would be matched."""
  if not config.matching.only_convolutions:
    return
  params = _shapes(network, info)["params"]
  if not jax.eval_shape(lambda params: matched_kernels(params, only_convolutions=True), params):
    raise ValueError(
      f"network.name={config.network.name!r} has no convolution, and matching.only_convolutions="
      "True matches nothing else."
    )


def make_optimisers(config: ConfigDict, rate_scale: float = 1.0) -> Optimisers:
  """SGD with momentum on the images, and on the labels where they are learned.

  Args:
    config: the whole config.
    rate_scale: by which the images' learning rate is multiplied.

  Raises:
    ValueError: for an impossible rate or momentum, naming it.
  """
  outer = config.outer
  check_positive(outer, "learning_rate")
  if not 0 <= outer.momentum < 1:
    raise ValueError(f"outer.momentum={outer.momentum} must lie in [0, 1).")
  of_images = optax.sgd(outer.learning_rate * rate_scale, momentum=outer.momentum)
  if not config.synthetic.learn_labels:
    return Optimisers(of_images)
  check_positive(outer, "label_learning_rate")
  return Optimisers(of_images, optax.sgd(outer.label_learning_rate, momentum=outer.momentum))


def check_init(chosen: ConfigDict, inits: tuple[str, ...] = INITS) -> None:
  """Raises ValueError for an impossible way to begin in the group `synthetic`."""
  synthetic.check_init(chosen.init, chosen.ipc, inits)
  _check_init_from(chosen)


def check_positive(group: ConfigDict, *names: str, called: str = "outer") -> None:
  """Raises ValueError for a field of a group that is not above 0, naming it.

  Args:
    group: of the config.
    *names: of its fields.
    called: the group's own name.
  """
  for name in names:
    if not group[name] > 0:
      raise ValueError(f"{called}.{name}={group[name]} must be positive.")


def _check_init_from(chosen: ConfigDict) -> None:
  """Raises ValueError where a saved set is asked for without a path, or a path without need."""
  if (chosen.init == "saved") != bool(chosen.init_from):
    raise ValueError(
      f"synthetic.init={chosen.init!r} with synthetic.init_from={chosen.init_from!r}: a path is "
      "needed for 'saved', and of use for nothing else."
    )
