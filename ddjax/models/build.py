"""Networks by name."""

import flax.linen as nn

from ddjax.config.arguments import nearest
from ddjax.models.convnet import ConvNet
from ddjax.models.mlp import MLP

MODELS = {"convnet": ConvNet, "mlp": MLP}


def build(name: str, *, num_classes: int, width: int, **options) -> nn.Module:
  """A network f32[b h w c] -> logits f32[b k].

  Args:
    name: a name in `MODELS`.
    num_classes: k.
    width: channels or units, as the network's own docstring says.
    **options: further fields of that network, e.g. `depth` of a ConvNet.
  Raises:
    ValueError: for an unknown name, or a width or class count below 1.
  """
  if name not in MODELS:
    raise ValueError(f"Unknown network {name!r}. {nearest(name, MODELS)}")
  if num_classes < 1 or width < 1:
    raise ValueError(f"num_classes={num_classes} and width={width} must be at least 1.")
  return MODELS[name](num_classes=num_classes, width=width, **options)
