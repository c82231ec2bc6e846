"""How a network is trained on a set: named protocols as data, their optimiser and their loss.

The optimisers are those of the papers' released settings: weight decay is added to the gradient,
before the momentum, and acts on every parameter, biases and norms included. AdamW decays apart.
"""

import math
from typing import Any, Callable, Mapping, NamedTuple

import jax.numpy as jnp
from ml_collections import ConfigDict
import optax
import optax.contrib

from ddjax.augment import siamese
from ddjax.fitting.sharpness import gsam
from ddjax.types import Array
from ddjax.wording import nearest


class Protocol(NamedTuple):
  """A training recipe.

  Attributes:
    num_epochs: passes over the set; None where `num_steps` counts.
    batch_size: examples a step; a smaller set is one batch.
    learning_rate: at the start; None takes the rate that came with the set, or `FALLBACK_RATE`.
    momentum: of SGD.
    weight_decay: coefficient of the parameters in the gradient; of "adamw" in the update, times the
      rate.
    drops: (fraction of the training after which, factor on the learning rate), ascending.
    extra_epochs: passes after `num_epochs`.
    drop_delay: epochs by which the drops come later than their fraction of `num_epochs` says.
    restarts_momentum: whether the momentum starts anew at a drop, as where the released code makes
      a new optimiser there.
    num_steps: ((up to so many examples, steps), ...), ascending; the last row holds for all above.
    optimizer: "sgd", "adam" or "adamw".
    schedule: "constant" (but for the drops) or "cosine" to zero.
    warmup_steps: in which a cosine rate first rises from zero in equal parts; at most half of all.
    augmentation: operations of `ddjax.augment.siamese`, parameters drawn per example; "" for none.
    augmentation_mode: how many of them apply, see there.
    mix: "", "cutmix" or "mixup".
    mix_probability: share of the batches that are mixed; mixup mixes all.
    mix_beta: both parameters of the Beta distribution of the mixing ratio.
    labels: "hard" trains on the largest label of each example; "own" on the labels as they are.
    loss: "mse", or "" for the one that suits the labels, see `LOSSES`.
    ema_decay: of an exponential average of the parameters, which is then what is tested; 0: none.
    sharpness_radius: of sharpness-aware minimisation (Foret et al. 2021): the gradient is that at
      the worst point so far away, to first order; 0: at the parameters themselves.
    sharpness_alpha: what GSAM takes off it, see `ddjax.fitting.sharpness`; 0 for plain SAM.
    sharpness_is_adaptive: whether the radius scales with the parameters.
  """

  num_epochs: int | None
  batch_size: int
  learning_rate: float | None
  momentum: float = 0.9
  weight_decay: float = 5e-4
  drops: tuple[tuple[float, float], ...] = ()
  extra_epochs: int = 0
  drop_delay: int = 0
  restarts_momentum: bool = True
  num_steps: tuple[tuple[float, int], ...] = ()
  optimizer: str = "sgd"
  schedule: str = "constant"
  warmup_steps: int = 0
  augmentation: str = ""
  augmentation_mode: str = "single"
  mix: str = ""
  mix_probability: float = 0.0
  mix_beta: float = 1.0
  labels: str = "own"
  loss: str = ""
  ema_decay: float = 0.0
  sharpness_radius: float = 0.0
  sharpness_alpha: float = 0.0
  sharpness_is_adaptive: bool = False


PROTOCOLS = {
  "quick": Protocol(  # ours; optimiser and schedule as in DC, DSA and DM, without augmentation
    num_epochs=100, batch_size=256, learning_rate=0.01, drops=((0.5, 0.1),)
  ),
  "dc": Protocol(  # DC, DSA, DM (Zhao et al. 2021, 2023)
    num_epochs=1000,
    batch_size=256,
    learning_rate=0.01,
    drops=((0.5, 0.1),),
    augmentation=siamese.DSA,
    labels="hard",
  ),
  "mtt": Protocol(  # Cazenavette et al. 2022: as `dc`, with the learned rate
    num_epochs=1000,
    batch_size=256,
    learning_rate=None,
    drops=((0.5, 0.1),),
    augmentation=siamese.DSA,
    labels="hard",
  ),
  "idc": Protocol(  # Kim et al. 2022; here the optimiser lives on through the drops
    num_epochs=1000,
    batch_size=64,
    learning_rate=0.01,
    drops=((2 / 3, 0.2), (5 / 6, 0.2)),
    restarts_momentum=False,
    augmentation="color_crop_flip_scale_rotate",
    augmentation_mode="idc",
    mix="cutmix",
    mix_probability=0.5,
    labels="hard",
  ),
  "kip": Protocol(  # Nguyen et al. 2021: 5000 steps, cosine, l2 1e-3; the rate .01 is ours
    num_epochs=None,
    batch_size=100,
    learning_rate=0.01,
    weight_decay=1e-3,
    num_steps=((math.inf, 5000),),
    schedule="cosine",
    loss="mse",
  ),
  "frepo": Protocol(  # Zhou et al. 2022, as released; steps for 10, 100 and 500 images
    num_epochs=None,
    batch_size=500,
    learning_rate=3e-4,
    weight_decay=0.0,
    num_steps=((10, 1000), (100, 2000), (math.inf, 5000)),
    optimizer="adam",
    schedule="cosine",
    warmup_steps=500,
    ema_decay=0.995,
    augmentation="flip_color_crop_rotate_translate_cutout",
    loss="mse",
  ),
  # Wang et al. 2025, as first released; later settings change rate, decay, batch and length by ipc.
  # Their random resized crop is for images larger than 64 pixels; the smaller ones are shifted.
  # The released figure is that of the best epoch on the test set; here it is that of the last.
  "ncfm": Protocol(
    num_epochs=2000,
    batch_size=128,
    learning_rate=1e-3,
    optimizer="adamw",
    drops=((0.2, 0.5), (0.4, 0.5), (0.6, 0.5), (0.8, 0.5)),
    restarts_momentum=False,
    augmentation="translate_color_crop_cutout_flip_scale_rotate",
    augmentation_mode="ncfm",
    mix="cutmix",
    mix_probability=0.5,
    labels="hard",
  ),
}

for _name in ("dc", "mtt"):
  # The loop of the released codes: N + 1 epochs, and a drop two epochs after the half.
  PROTOCOLS[f"{_name}_released"] = PROTOCOLS[_name]._replace(extra_epochs=1, drop_delay=2)

FIELDS = (
  "num_epochs",
  "batch_size",
  "learning_rate",
  "augmentation",
  "labels",
  "mix",
  "ema_decay",
)
"""What a config may set otherwise."""
MIXES = ("cutmix", "mixup")
_CUTMIX_PROBABILITY = 0.5
"""Share of the batches that are mixed where the protocol mixes none (IDC's)."""

FALLBACK_RATE = 0.01
"""The learning rate of a set without a learned one, where the protocol takes the learned one."""

LOSSES = {
  "one_hot": "cross_entropy",
  "probabilities": "cross_entropy",
  "centred": "mse",
  "logits": "mse",
}
"""The loss of each kind of labels, where the protocol does not name one."""


def find_protocol(name: str) -> Protocol:
  """The protocol of that name.

  Raises:
    ValueError: if there is none.
  """
  if name not in PROTOCOLS:
    raise ValueError(f"Unknown protocol {name!r}. {nearest(name, PROTOCOLS)}")
  return PROTOCOLS[name]


def configure(config: ConfigDict, use_flip: bool = True) -> Protocol:
  """The protocol of an evaluation, with what its config sets otherwise.

  Args:
    config: the group `accuracy_evaluation`; a None among `FIELDS` keeps the protocol's own.
    use_flip: whether a mirrored image is still an image of its class. If not, the protocol's own
      augmentation goes without flips; one that the config names is taken as it is.
  Raises:
    ValueError: for an unknown protocol or augmentation, or an impossible number, naming it.
  """
  protocol = find_protocol(config.protocol)
  if not use_flip:
    protocol = protocol._replace(augmentation=siamese.without_flip(protocol.augmentation))
  given = {name: config[name] for name in FIELDS if config[name] is not None}
  for name in ("num_epochs", "batch_size", "learning_rate"):
    if name in given and not given[name] > 0:
      raise ValueError(f"accuracy_evaluation.{name}={given[name]} must be positive.")
  if not 0 <= given.get("ema_decay", 0) < 1:
    raise ValueError(f"accuracy_evaluation.ema_decay={config.ema_decay} must lie in [0, 1).")
  if given.get("labels", "own") not in ("own", "hard"):
    raise ValueError(f"accuracy_evaluation.labels={given['labels']!r} must be 'own' or 'hard'.")
  if given.get("mix", "none") not in ("none", *MIXES):
    raise ValueError(
      f"accuracy_evaluation.mix={given['mix']!r} must be 'none' or one of {', '.join(MIXES)}."
    )
  if given.get("augmentation") == "none":
    given = {"mix": "none"} | given | {"augmentation": ""}
  if given.get("mix") == "none":
    given["mix"] = ""
  elif "mix" in given:
    share = protocol.mix_probability or _CUTMIX_PROBABILITY
    given["mix_probability"] = 1.0 if given["mix"] == "mixup" else share
  protocol = protocol._replace(**given)
  siamese.parse(protocol.augmentation, protocol.augmentation_mode)
  return protocol


def find_loss(label_kind: Any, protocol: Protocol | None = None) -> str:
  """The name of the loss for such labels, under a protocol if one is given.

  Raises:
    ValueError: for an unknown kind.
  """
  if label_kind not in LOSSES:
    raise ValueError(f"Unknown label kind {label_kind!r}. {nearest(label_kind, LOSSES)}")
  if protocol is not None and protocol.loss:
    return protocol.loss
  if protocol is not None and protocol.labels == "hard":
    return "cross_entropy"
  return LOSSES[label_kind]


class Length(NamedTuple):
  """How long a training is: its steps, the steps of an epoch, and the steps of the drops."""

  num_steps: int
  steps_per_epoch: int
  drops: dict[int, float]


def of_steps(protocol: Protocol, num_steps: int) -> Protocol:
  """The same recipe for so many steps; its drops and its warm-up lie within them.

  Raises:
    ValueError: for fewer than one step.
  """
  if num_steps < 1:
    raise ValueError(f"accuracy_evaluation.full_steps={num_steps} must be at least 1.")
  return protocol._replace(
    num_epochs=None, extra_epochs=0, drop_delay=0, num_steps=((math.inf, num_steps),)
  )


def length(protocol: Protocol, num_examples: int) -> Length:
  """The length of a training on so many examples."""
  steps_per_epoch = math.ceil(num_examples / protocol.batch_size)
  if protocol.num_epochs is not None:
    num_steps = (protocol.num_epochs + protocol.extra_epochs) * steps_per_epoch
    whole = math.floor if protocol.drop_delay else round
    drops = {
      (whole(at * protocol.num_epochs) + protocol.drop_delay) * steps_per_epoch: by
      for at, by in protocol.drops
    }
  else:
    num_steps = next(steps for up_to, steps in protocol.num_steps if num_examples <= up_to)
    drops = {round(at * num_steps): by for at, by in protocol.drops}
  return Length(num_steps, steps_per_epoch, drops)


def make_optimizer(
  protocol: Protocol, num_examples: int, learning_rate: Array | float | None = None
) -> optax.GradientTransformation:
  """The protocol's optimiser for a set of so many examples.

  Args:
    protocol: the recipe.
    num_examples: of the set, for the steps at which the rate drops.
    learning_rate: at the start, also traced; None for the protocol's.
  Returns:
    the optimiser; with a `sharpness_radius` its update needs `grad_fn`, (params, _) -> gradient.
  """
  optimizer = _plain_optimizer(protocol, num_examples, learning_rate)
  if not protocol.sharpness_radius:
    return optimizer
  if protocol.sharpness_alpha or protocol.sharpness_is_adaptive:
    options = protocol.sharpness_alpha, protocol.sharpness_is_adaptive
    return gsam(optimizer, protocol.sharpness_radius, *options)
  ascent = optax.normalize_by_update_norm(scale_factor=-protocol.sharpness_radius)
  return optax.contrib.sam(optimizer, ascent, opaque_mode=True)


def _plain_optimizer(
  protocol: Protocol, num_examples: int, learning_rate: Array | float | None
) -> optax.GradientTransformation:
  """`make_optimizer` without regard to sharpness."""
  num_steps, _, drops = length(protocol, num_examples)
  rate: Any = protocol.learning_rate if learning_rate is None else learning_rate
  if protocol.schedule == "cosine":
    warmup = min(protocol.warmup_steps, num_steps // 2)
    cosine = optax.cosine_decay_schedule(1.0, num_steps - warmup)
    rise = optax.linear_schedule(0.0, 1.0, warmup)
    factor = optax.join_schedules([rise, cosine], [warmup]) if warmup else cosine
  else:
    factor = optax.piecewise_constant_schedule(1.0, drops)

  def schedule(step: Any) -> Any:
    return rate * factor(step)

  def momentum(step: Array) -> Array:
    restarts = list(drops) if protocol.restarts_momentum else []
    return jnp.where(jnp.isin(step, jnp.array(restarts, int)), 0.0, protocol.momentum)

  if protocol.optimizer == "adamw":
    return optax.adamw(schedule, weight_decay=protocol.weight_decay)
  decay = optax.add_decayed_weights(protocol.weight_decay)
  if protocol.optimizer == "adam":
    return optax.chain(decay, optax.adam(schedule))
  sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule, momentum=momentum)
  return optax.chain(decay, sgd)


def make_loss(name: str) -> Callable[[Array, Array], Array]:
  """Per-example loss (logits f32[b k], labels f32[b k]) -> f32[b].

  cross_entropy is -sum_k label log softmax; mse is half the squared error summed over classes.
  """

  def mse(logits: Array, labels: Array) -> Array:
    return optax.l2_loss(logits, labels).sum(-1)

  return {"cross_entropy": optax.softmax_cross_entropy, "mse": mse}[name]


def describe(protocol: Protocol) -> Mapping[str, object]:
  """The recipe for a report: JSON-safe, without what it does not use."""
  is_used = {
    "momentum": protocol.optimizer == "sgd",
    "restarts_momentum": bool(protocol.drops) and protocol.optimizer == "sgd",
    "augmentation_mode": bool(protocol.augmentation),
    "mix_probability": bool(protocol.mix),
    "mix_beta": bool(protocol.mix),
  }
  fields = {
    name: value
    for name, value in protocol._asdict().items()
    if is_used.get(name, value not in ("", (), 0.0))
  }
  if protocol.num_steps:
    fields["num_steps"] = [
      [None if up_to == math.inf else up_to, steps] for up_to, steps in protocol.num_steps
    ]
  return fields
