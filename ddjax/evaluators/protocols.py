"""How a network is trained on a small set: named protocols as data, their optimiser and their loss.

The optimisers are those of the papers' released settings: weight decay is added to the gradient,
before the momentum, and acts on every parameter, biases and norms included.
"""

from typing import Callable, NamedTuple

import jax.numpy as jnp
import optax

from ddjax.config.arguments import nearest
from ddjax.types import Array


class Protocol(NamedTuple):
  """A training recipe.

  Attributes:
    num_epochs: passes over the set.
    batch_size: examples a step; a smaller set is one batch.
    learning_rate: of SGD, at the start.
    momentum: of SGD.
    weight_decay: coefficient of the parameters in the gradient.
    drops: (fraction of the epochs after which, factor on the learning rate), ascending. The
      momentum starts anew at each, because the released code makes a new optimiser there.
  """

  num_epochs: int
  batch_size: int
  learning_rate: float
  momentum: float
  weight_decay: float
  drops: tuple[tuple[float, float], ...]


PROTOCOLS = {
  "quick": Protocol(
    num_epochs=100,  # ours; all else as in DC, DSA and DM, without augmentation
    batch_size=256,
    learning_rate=0.01,
    momentum=0.9,
    weight_decay=5e-4,
    drops=((0.5, 0.1),),
  )
}

LOSSES = {
  "one_hot": "cross_entropy",
  "probabilities": "cross_entropy",
  "centred": "mse",
  "logits": "mse",
}
"""The loss of each kind of labels."""


def find_protocol(name: str) -> Protocol:
  """The protocol of that name.

  Raises:
    ValueError: if there is none.
  """
  if name not in PROTOCOLS:
    raise ValueError(f"Unknown protocol {name!r}. {nearest(name, PROTOCOLS)}")
  return PROTOCOLS[name]


def find_loss(label_kind: str) -> str:
  """The name of the loss for such labels.

  Raises:
    ValueError: for an unknown kind.
  """
  if label_kind not in LOSSES:
    raise ValueError(f"Unknown label kind {label_kind!r}. {nearest(label_kind, LOSSES)}")
  return LOSSES[label_kind]


def make_optimizer(protocol: Protocol, steps_per_epoch: int) -> optax.GradientTransformation:
  """SGD with the protocol's momentum, weight decay and learning rate drops."""
  drops = {round(at * protocol.num_epochs) * steps_per_epoch: by for at, by in protocol.drops}

  def momentum(step: Array) -> Array:
    return jnp.where(jnp.isin(step, jnp.array(list(drops), int)), 0.0, protocol.momentum)

  return optax.chain(
    optax.add_decayed_weights(protocol.weight_decay),
    optax.inject_hyperparams(optax.sgd)(
      learning_rate=optax.piecewise_constant_schedule(protocol.learning_rate, drops),
      momentum=momentum,
    ),
  )


def make_loss(name: str) -> Callable[[Array, Array], Array]:
  """Per-example loss (logits f32[b k], labels f32[b k]) -> f32[b].

  cross_entropy is -sum_k label log softmax; mse is half the squared error summed over classes.
  """

  def mse(logits: Array, labels: Array) -> Array:
    return optax.l2_loss(logits, labels).sum(-1)

  return {"cross_entropy": optax.softmax_cross_entropy, "mse": mse}[name]
