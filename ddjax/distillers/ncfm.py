"""NCFM: matching the characteristic functions of features, by networks on the way to trained ones.

Wang, Yang, Liu, Sun, Hu, He, Zhang 2025, "Dataset Distillation with Neural Characteristic Function:
A Minmax Perspective" (arXiv 2502.20653), and its released settings. Images are pixels in [0, 1],
each decoded to f x f full-size ones as in IDC (`ddjax.augment.multiformation`). A step mixes the
initial and the trained parameters of one network in a random share, and then goes through the
classes twice: first each class's characteristic function is matched, then each class is calibrated
by the cross-entropy of the trained network. Every class makes an AdamW step of its own, which
moves the images of all classes: theirs by momentum and decay.

Frequencies are drawn from N(0, I). The sampling network of the paper, which learns them, is not
here; the released settings leave it out too.
"""

import math
from typing import Any

from flax import struct
import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict
import numpy as np
import optax
import optax.contrib

from ddjax.augment import siamese
from ddjax.augment.multiformation import check_factor, decode
from ddjax.data.batches import standardise
from ddjax.distillers import settings, synthetic
from ddjax.distillers.class_batches import draw_class_batches, draw_siamese
from ddjax.distillers.matching import freeze_statistics, split_classes
from ddjax.models.build import features_of, logits_of
from ddjax.models.pieces import best_images_at_once, sum_over_pieces
from ddjax.training.parallel import make_layout, mean_across
from ddjax.types import (
  Array,
  DatasetInfo,
  DistilledSet,
  Distiller,
  DistillState,
  ExpertNeeds,
  Synthetic,
  Trajectories,
)

INITS = ("grid", "real", "noise", "saved")
_PREPROCESSING = ("standardise", "published", "none")  # affine in each pixel
_LEAST_PHASE = 1e-12  # released: the phase term does not fall below it
_TINY = 1e-30  # below it a root has no gradient, where it would be NaN


@struct.dataclass
class NCFMState:
  """What NCFM keeps beside the images.

  Attributes:
    plateau: of the rate: its present share, the best loss, and the steps since.
    mean: f32[c], of the map from stored units to network space.
    std: f32[c], likewise.
  """

  plateau: Any
  mean: Array
  std: Array


def characteristic_sum(
  features: Float[Array, "b d"], weights: Float[Array, " b"], frequencies: Float[Array, "t d"]
) -> Float[Array, "2 t"]:
  """Weighted sum of `exp(i <t, f>)` over examples: real parts, then imaginary parts.

  Args:
    features: f32[b d].
    weights: f32[b]; 1 / b for the empirical characteristic function.
    frequencies: f32[t d].
  """
  angles = jnp.matmul(features, frequencies.T, precision="highest")
  parts = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
  return jnp.einsum("b,pbt->pt", weights, parts, precision="highest")


def characteristic_distance(
  a: Float[Array, "2 t"], b: Float[Array, "2 t"], amplitude_weight: float, phase_weight: float
) -> Float[Array, ""]:
  """Distance of two characteristic functions: amplitude and phase (Wang et al. 2025, section 3).

  The mean over frequencies of sqrt(alpha (|a| - |b|)^2 + beta 2 (|a| |b| - Re a Re b - Im a Im b)).
  The second term is written |a - b|^2 - (|a| - |b|)^2, which is the same and loses fewer digits;
  as released it does not fall below 1e-12.

  Args:
    a: f32[2 t], real parts and imaginary parts.
    b: likewise.
    amplitude_weight: alpha.
    phase_weight: beta.
  """
  amplitude = (_size(a) - _size(b)) ** 2
  phase = jnp.maximum(jnp.sum((a - b) ** 2, axis=0) - amplitude, _LEAST_PHASE)
  return jnp.mean(_root(amplitude_weight * amplitude + phase_weight * phase))


def _size(a: Array) -> Array:
  """Absolute values f32[t] of complex numbers f32[2 t]."""
  return _root(jnp.sum(a * a, axis=0))


def _root(x: Array) -> Array:
  """Square root whose gradient is zero next to zero."""
  return jnp.sqrt(jnp.where(x < _TINY, _TINY, x))


def _unit(features: Float[Array, "b d"]) -> Float[Array, "b d"]:
  """Every example's features over their norm."""
  return features / _root(jnp.sum(features**2, axis=1, keepdims=True))


def make_ncfm(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds NCFM from its config; see `configs/ncfm.py` for the fields.

  The parameters of a step's network come from the host, once for every device.

  Raises:
    ValueError: for impossible settings, naming them.
  """
  outer, ipc, num_classes = config.outer, config.synthetic.ipc, info.num_classes
  factor = config.synthetic.factor
  needs = _check(config, info)
  network = settings.build_network(config, info)
  augmentation = siamese.parse(config.augmentation, "idc")
  num_decoded = factor**2 * ipc
  like, num_features = _shapes_of(network, info)
  _, unravel = ravel_pytree(like["params"])
  images_at_once = best_images_at_once(network, info.image_shape) or outer.real_batch_size
  optimiser = optax.adamw(outer.learning_rate, weight_decay=outer.weight_decay)
  # PyTorch's rule, which the released code uses: the rate falls when the count exceeds `patience`.
  plateau = optax.contrib.reduce_on_plateau(outer.rate_factor, outer.patience + 1, rtol=1e-4)
  num_rows = len(make_layout(config.num_devices).devices) if axis_name else 1

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    pixels = synthetic.init_pixels(init_rng, data, info, ipc, config.synthetic.init, factor)
    labels = synthetic.one_hot_labels(num_classes, ipc, is_centred=False)
    extra = NCFMState(plateau.init(pixels), data.mean, data.std)
    return DistillState(
      jnp.int32(0), step_rng, Synthetic(pixels, labels), optimiser.init(pixels), extra
    )

  def to_network(pixels, extra):
    return standardise(pixels * info.max_value, extra)

  def step(state: DistillState, data, shard):
    rng = jax.random.fold_in(state.rng, state.step)
    share_rng, batch_rng, frequency_rng, match_rng, calibrate_rng, *statistics_rngs = (
      jax.random.split(rng, 7)
    )
    start, trained = (unravel(shard[name][0]) for name in ("initial", "trained"))
    share = jax.random.uniform(share_rng, (), jnp.float32)
    mixed = jax.tree.map(lambda a, b: share * a + (1 - share) * b, start, trained)
    mixed, trained = (
      freeze_statistics(key, network, like | {"params": params}, data)
      for key, params in zip(statistics_rngs, (mixed, trained), strict=True)
    )
    batch = draw_class_batches(batch_rng, data, outer.real_batch_size, axis_name)
    num_pieces = min(math.ceil(batch.index.shape[1] / images_at_once), batch.index.shape[1])
    match_draws, calibrate_draws = (
      draw_siamese(key, augmentation, num_classes, info.image_shape)
      for key in (match_rng, calibrate_rng)
    )
    classes = jnp.arange(num_classes)

    def see(pixels, draws):  # augmented as pixels, then normalised
      return to_network(siamese.apply(pixels, draws, augmentation), state.extra)

    def own_images(pixels, label):
      return split_classes(pixels, num_classes)[label]

    def move(carry, label, gradient):
      """An AdamW step by the gradient f32[ipc h w c] of one class's images."""
      pixels, opt_state = carry
      whole = jnp.zeros((num_classes, *gradient.shape), jnp.float32).at[label].set(gradient)
      updates, opt_state = optimiser.update(whole.reshape(pixels.shape), opt_state, pixels)
      return pixels + state.extra.plateau.scale * updates, opt_state

    def embed(images):
      return _unit(features_of(network, mixed, images).astype(jnp.float32))

    def match(carry, of_class):
      label, index, weights, draws = of_class
      own_rng = jax.random.fold_in(frequency_rng, label)
      shape = outer.num_frequencies, num_features
      frequencies = jax.random.normal(own_rng, shape, jnp.float32)

      def of_piece(index, weights):
        pixels = data.images[index].astype(jnp.float32) / info.max_value
        return characteristic_sum(embed(see(pixels, draws)), weights, frequencies)

      total = sum_over_pieces(of_piece, (index, weights), num_pieces)
      total, count = mean_across((total, weights.sum()), axis_name)
      target = total / jnp.maximum(count, _TINY)
      weight = outer.loss_scale * (count > 0)  # without members there is nothing to match

      def loss(pixels):
        features = embed(see(decode(pixels, factor), draws))
        even = jnp.full(num_decoded, 1 / num_decoded, jnp.float32)
        found = characteristic_sum(features, even, frequencies)
        return weight * characteristic_distance(
          target, found, outer.amplitude_weight, outer.phase_weight
        )

      value, gradient = jax.value_and_grad(loss)(own_images(carry[0], label))
      return move(carry, label, gradient), (value, jnp.sum(gradient**2))

    def calibrate(carry, of_class):
      label, draws = of_class

      def loss(pixels):
        logits = logits_of(network, trained, see(decode(pixels, factor), draws))
        log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
        return -outer.calibration_weight * log_probabilities[:, label].mean()

      value, gradient = jax.value_and_grad(loss)(own_images(carry[0], label))
      return move(carry, label, gradient), value

    before = jnp.clip(state.synthetic.images, 0.0, 1.0)
    carry = before, state.opt_state
    operands = classes, batch.index, batch.weights, match_draws
    carry, (losses, squares) = jax.lax.scan(match, carry, operands)
    calibration = jnp.zeros(num_classes, jnp.float32)
    if outer.calibration_weight:
      carry, calibration = jax.lax.scan(calibrate, carry, (classes, calibrate_draws))
    pixels, opt_state = carry
    metrics = {
      "loss": losses.mean(),
      "calibration_loss": calibration.mean(),
      "learning_rate": outer.learning_rate * state.extra.plateau.scale,
      "gradient_norm": jnp.sqrt(squares.sum()),
      "image_change": optax.tree.norm(pixels - before),
    }
    value = metrics["loss"] + metrics["calibration_loss"]
    _, after = plateau.update((), state.extra.plateau, value=value)
    state = state.replace(
      step=state.step + 1,
      synthetic=state.synthetic.replace(images=pixels),
      opt_state=opt_state,
      extra=state.extra.replace(plateau=after),
    )
    return state, metrics

  def extract(state: DistillState) -> DistilledSet:
    pixels = jnp.clip(state.synthetic.images, 0.0, 1.0)
    return DistilledSet(to_network(pixels, state.extra), state.synthetic.labels)

  def batch_at(trajectories: Trajectories, seed: np.ndarray, step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([*seed.tolist(), step])
    number = int(rng.integers(0, needs.num_experts))
    ends = {"initial": 0, "trained": outer.network_epochs}
    read = {name: trajectories.read(number, epoch) for name, epoch in ends.items()}
    return {name: np.broadcast_to(flat, (num_rows, flat.size)) for name, flat in read.items()}

  real_passes = min(outer.real_batch_size, info.num_train / num_classes)
  num_calls = math.ceil(real_passes / images_at_once) + 3 * (2 if outer.calibration_weight else 1)
  own_passes = (6 if outer.calibration_weight else 3) * num_decoded
  return Distiller(
    init,
    step,
    extract,
    batch_at=batch_at,
    experts=needs,
    batch_sizes={"outer.real_batch_size": outer.real_batch_size},
    decode_factor=factor,
    image_passes=num_classes * (real_passes + own_passes),
    forward_passes=num_classes * real_passes,
    passes_in_a_row=num_classes * num_calls,
    remarks=(
      f"{num_classes * num_decoded} images after decoding.",
      f"{needs.num_experts} networks, initial and after {outer.network_epochs} epochs.",
    ),
  )


def _shapes_of(network, info: DatasetInfo) -> tuple[dict[str, Any], int]:
  """(variables of the network, all zero; how many features it has)."""
  image = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)

  def run(rng, image):
    variables = network.init(rng, image)
    return variables, network.apply(variables, image, return_features=True)[1]

  shapes, features = jax.eval_shape(run, jax.random.key(0), image)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(shapes))
  return zeros, features.shape[1]


def _check(config: ConfigDict, info: DatasetInfo) -> ExpertNeeds:
  """Which trained networks a config reads; ValueError for impossible settings, naming them."""
  outer, experts = config.outer, config.experts
  settings.check_init(config.synthetic, INITS)
  check_factor(config.synthetic.factor, *info.image_shape[:2])
  if config.data.preprocessing not in _PREPROCESSING:
    raise ValueError(
      f"data.preprocessing={config.data.preprocessing!r}: NCFM learns pixels, and needs one of "
      f"{', '.join(_PREPROCESSING)}."
    )
  positive = "learning_rate", "real_batch_size", "num_frequencies", "loss_scale", "network_epochs"
  settings.check_positive(outer, *positive)
  for name in ("weight_decay", "calibration_weight", "patience"):
    if not outer[name] >= 0:
      raise ValueError(f"outer.{name}={outer[name]} must not be negative.")
  if not 0 < outer.rate_factor < 1:
    raise ValueError(f"outer.rate_factor={outer.rate_factor} must lie between 0 and 1.")
  for name in ("amplitude_weight", "phase_weight"):
    if not 0 <= outer[name] <= 1:
      raise ValueError(f"outer.{name}={outer[name]} must lie in [0, 1].")
  if outer.amplitude_weight + outer.phase_weight == 0:
    raise ValueError("outer.amplitude_weight=0.0 and outer.phase_weight=0.0: one must be above 0.")
  if experts.num_experts < 1:
    raise ValueError(f"experts.num_experts={experts.num_experts} must be at least 1.")
  if experts.num_epochs and experts.num_epochs < outer.network_epochs:
    raise ValueError(
      f"experts.num_epochs={experts.num_epochs}, but outer.network_epochs={outer.network_epochs} "
      "epochs are needed."
    )
  return ExpertNeeds(experts.num_experts, experts.num_epochs or outer.network_epochs)
