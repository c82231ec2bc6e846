"""Networks by name, and what they have in common.

The architectures are those of DC, DSA and DM (Zhao, Mopuri, Bilen 2021; Zhao, Bilen 2021, 2023) and
their released code, which later work compares across, and a small ViT. Every one is called as

  network.apply(variables, x, is_training=False, mask=None, return_features=False)

  x: f32[b h w c], as preprocessed.
  is_training: batch norm uses, and then updates, the statistics of this batch; pass
    `mutable=["batch_stats"]`. Without batch norm it changes nothing.
  mask: bool[b], the rows that count in those statistics, so that a smaller last minibatch can be
    filled up; None = all.
  return_features: (logits, features f32[b d]) instead of logits f32[b k]; features are the
    flattened inputs of the last linear layer, the embedding that DM matches.

`network.init(rng, x)` gives {"params": ...}, and with batch norm {"batch_stats": ...} beside it.
"""

import dataclasses
from numbers import Integral
import re
from typing import Any

import flax.linen as nn

from ddjax.models.alexnet import AlexNet
from ddjax.models.convnet import ConvNet, FrepoConvNet
from ddjax.models.layers import choose
from ddjax.models.lenet import LeNet
from ddjax.models.mlp import MLP
from ddjax.models.resnet import ResNet18, ResNet18AP
from ddjax.models.vgg import VGG11
from ddjax.models.vit import ViT
from ddjax.types import Array
from ddjax.wording import nearest

MODELS: dict[str, type[nn.Module]] = {
  "alexnet": AlexNet,
  "convnet": ConvNet,
  "frepo_convnet": FrepoConvNet,
  "lenet": LeNet,
  "mlp": MLP,
  "resnet18": ResNet18,
  "resnet18_ap": ResNet18AP,
  "vgg11": VGG11,
  "vit": ViT,
}


def logits_of(network: nn.Module, variables: Any, images: Array) -> Array:
  """Logits f32[b k] of images f32[b h w c], as in evaluation."""
  logits: Any = network.apply(variables, images)  # flax cannot say what comes back
  return logits


def features_of(network: nn.Module, variables: Any, images: Array) -> Array:
  """Features f32[b d] of images f32[b h w c]: the inputs of the last linear layer, flattened."""
  both: Any = network.apply(variables, images, return_features=True)
  return both[1]


def build(
  name: str,
  *,
  num_classes: int,
  width: int | None = None,
  dtype: str | None = None,
  **options: Any,
) -> nn.Module:
  """A network f32[b h w c] -> logits f32[b k].

  Args:
    name: a name in `MODELS`, which may carry options: `convnet(depth=4,norm=none)`.
    num_classes: k.
    width: channels or units, as the network's own docstring says; None takes the published width.
      A width in the name goes before it, so that a list of names can differ in width.
    dtype: float32 or bfloat16, what its layers compute in; None takes float32. Likewise.
    **options: further fields of that network, e.g. `depth` of a ConvNet.
  Raises:
    ValueError: for an unknown name, option or value, an option given twice, or a number below 1.
  """
  kind, named = parse_name(name)
  if kind not in MODELS:
    raise ValueError(f"Unknown network {kind!r}. {nearest(kind, MODELS)}")
  for option in named.keys() & options.keys():
    raise ValueError(f"{option!r} of network {name!r} is given again as {options[option]!r}.")
  options |= named
  for option, value in {"width": width, "dtype": dtype}.items():
    if value is not None:
      options.setdefault(option, value)
  types = {field.name: field.type for field in dataclasses.fields(MODELS[kind])}
  known = types.keys() - {"num_classes", "parent", "name"}
  for option, value in options.items():
    if option not in known:
      raise ValueError(f"Unknown option {option!r} of network {kind!r}. {nearest(option, known)}")
    if types[option] is str:
      choose(option, value)
    elif value is not None:
      _check_count(option, value)
  _check_count("num_classes", num_classes)
  return MODELS[kind](num_classes=num_classes, **options)


def parse_name(text: str) -> tuple[str, dict[str, int | str]]:
  """`convnet(depth=4,norm=none)` -> ("convnet", {"depth": 4, "norm": "none"}).

  Whole numbers become int, all else stays text; neither names nor values are checked here.

  Raises:
    ValueError: if the text is not a name with `option=value` pairs, or an option stands twice.
  """
  match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
  if not match:
    raise ValueError(f"Network {text!r} is not of the form NAME or NAME(option=value,...).")
  options: dict[str, int | str] = {}
  for word in filter(None, (part.strip() for part in (match[2] or "").split(","))):
    option, _, value = (part.strip() for part in word.partition("="))
    if not option or not value:
      raise ValueError(f"{word!r} in network {text!r} is not of the form option=value.")
    if option in options:
      raise ValueError(f"{option!r} stands twice in network {text!r}.")
    options[option] = int(value) if re.fullmatch(r"[+-]?\d+", value) else value
  return match[1], options


def _check_count(name: str, value: Any) -> None:
  """Raises ValueError for what is not a whole number of at least 1."""
  if not isinstance(value, Integral) or value < 1:
    raise ValueError(f"{name}={value!r} must be a whole number of at least 1.")
