"""What is trained on small sets, and how: a network and a protocol, by the names of a config."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.fitting import host, protocols, train
from ddjax.kernels.ridge import check_ridge
from ddjax.models.build import build
from ddjax.models.pieces import activation_bytes, best_images_at_once, passes_at_once
from ddjax.types import DatasetInfo, Device


class Recipe(NamedTuple):
  """What is trained and how: a network by name, its width, and the protocol.

  Attributes:
    network: a name that `build` takes.
    width: as in `build`; None for the published width.
    protocol: the recipe.
    num_classes: k.
    image_shape: (h, w, c).
  """

  network: str
  width: int | None
  protocol: protocols.Protocol
  num_classes: int
  image_shape: tuple[int, int, int]

  def build(self) -> nn.Module:
    return build(self.network, num_classes=self.num_classes, width=self.width)

  def at_once(self) -> tuple[int | None, int]:
    """`images_at_once` and `passes_at_once` of its models."""
    network = self.build()
    most = passes_at_once(activation_bytes(network, self.image_shape))
    return best_images_at_once(network, self.image_shape), most


def of_config(config: ConfigDict, info: DatasetInfo, use_flip: bool = True) -> dict[str, Recipe]:
  """{name: recipe} of every network of a config.

  Raises:
    ValueError: for an unknown network, protocol or augmentation, or a network twice.
  """
  protocol = protocols.configure(config, use_flip)
  if config.feature_ridge is not None:
    check_ridge(config.feature_ridge, "accuracy_evaluation.feature_ridge")
  if len(set(config.networks)) < len(config.networks):
    raise ValueError(f"accuracy_evaluation.networks={tuple(config.networks)} names one twice.")
  made = {
    name: Recipe(name, config.width or None, protocol, info.num_classes, info.image_shape)
    for name in config.networks
  }
  image = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
  for recipe in made.values():  # a network that cannot take these images says so here
    jax.eval_shape(recipe.build().init, jax.random.key(0), image)
  return made


def compile_recipe(
  recipe: Recipe, loss: str, num_examples: int, devices: tuple[Device, ...] | None = None
) -> host.Program:
  """The program that trains a recipe's network on sets of so many examples."""
  training = train.make_training(
    recipe.build(),
    recipe.protocol,
    loss=loss,
    num_examples=num_examples,
    image_shape=recipe.image_shape,
  )
  return host.compile_training(training, devices)
