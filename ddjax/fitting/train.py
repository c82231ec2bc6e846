"""Training of many networks as pure functions: what `fit`, the full-set baseline and experts share.

A training is (init, advance, finish). `advance` takes any number of steps in one compiled call, so
the host may look in between, show progress and save; how the steps are dealt out to calls changes
no bit. Networks of a call are vmapped, or taken one after another where one alone fills the
machine; a batch is taken in pieces that stay in the cache where that is faster. The gradient is the
same to rounding.
"""

import math
from typing import Any, Callable, NamedTuple

from flax import struct
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ddjax.attacks.gradient import ascend_signs
from ddjax.augment import mix, siamese
from ddjax.backend import traits
from ddjax.fitting import protocols
from ddjax.models.pieces import (
  activation_bytes,
  best_images_at_once,
  map_pieces,
  passes_at_once,
  sum_over_pieces,
)
from ddjax.types import AnyArray, Array

_AUGMENT_STREAM = 0x617567
_ATTACK_STREAM = 0x61747461


class Adversary(NamedTuple):
  """Adversarial training (Madry et al. 2018): images are first moved to where the loss is high.

  Attributes:
    epsilon: radius of the l_inf ball, in pixels from 0 to 1.
    num_steps: of signed gradient, each a quarter of the radius, from a random point of the ball.
  """

  epsilon: float
  num_steps: int


class Source(struct.PyTreeNode):
  """Sets to learn from, all of one size, as they lie on the devices.

  Attributes:
    images: u8[s n h w c], seen as `(images - mean) / std`, or f32 as the networks see them.
    labels: f32[s n k].
    mean: f32[c], in units of u8 images.
    std: f32[c], likewise.
    weights: f32[s n] of each example's loss, or None for one each.
    max_value: f32[], the stored value of a white pixel; None where nobody asks. For u8 images only,
      as is the next one.
    whitening: a `ddjax.data.preprocess.Preprocessing` that pixels `(images - mean) / std` pass
      through before the networks; None without.
  """

  images: Array
  labels: Array
  mean: Array
  std: Array
  weights: Array | None = None
  max_value: Array | None = None
  whitening: Any = None


@struct.dataclass
class Rows:
  """Which networks to train: one row each.

  Attributes:
    seeds: u32[m 2]; initial values and draws depend on these and the key alone.
    indices: i32[m], the set of the source that each learns.
    learning_rates: f32[m], at the start.
  """

  seeds: AnyArray
  indices: AnyArray
  learning_rates: AnyArray


class TrainState(struct.PyTreeNode):
  """m networks in training.

  Attributes:
    step: i32[], steps done.
    variables: of the networks, leading [m].
    opt_state: leading [m].
    average: exponential average of `variables`, or None.
    order: i32[m q], this epoch's order of the examples, filled up to whole batches.
  """

  step: Array
  variables: Any
  opt_state: Any
  average: Any
  order: Array


class Training(NamedTuple):
  """A training of a network by a protocol on sets of n examples.

  Attributes:
    init: (rng, rows, source) -> TrainState at step 0.
    begin: (variables, rows) -> TrainState at step 0 of networks that have values already.
    advance: (state, rng, rows, source, count) -> (state, loss f32[m]), `count` steps further, with
      the training loss of the last of them.
    finish: (state) -> variables to test, leading [m].
    num_steps: the whole length.
    steps_per_epoch: of a pass over the set.
    networks_at_once: how many networks a device should be given in one call.
  """

  init: Callable[..., TrainState]
  begin: Callable[[Any, Rows], TrainState]
  advance: Callable[..., tuple[TrainState, Array]]
  finish: Callable[[TrainState], Any]
  num_steps: int
  steps_per_epoch: int
  networks_at_once: int


def make_training(
  network: nn.Module,
  protocol: protocols.Protocol,
  *,
  loss: str,
  num_examples: int,
  image_shape: tuple[int, int, int],
  networks_at_once: int | None = None,
  images_at_once: int | None = None,
  adversary: Adversary | None = None,
) -> Training:
  """Builds the training; nothing is compiled here.

  The order of examples is drawn anew every epoch; the last, smaller minibatch of an epoch counts as
  it is. Augmentation and mixing are drawn at every step, per example.

  Args:
    network: by `ddjax.models.build`.
    protocol: the recipe.
    loss: a name that `protocols.make_loss` knows.
    num_examples: n of the sets.
    image_shape: (h, w, c).
    networks_at_once: how many are vmapped; None by the size of the network and by the memory.
    images_at_once: images in one piece of a batch; None likewise. Batch norm needs whole batches.
    adversary: that moves the images of each batch against the present network; None for images as
      they are. Its sources have a `max_value`.
  """
  loss_fn = protocols.make_loss(loss)
  augmentation = siamese.parse(protocol.augmentation, protocol.augmentation_mode)
  batch_size = min(protocol.batch_size, num_examples)
  protocol = protocol._replace(batch_size=batch_size)
  span = protocols.length(protocol, num_examples)
  filled = span.steps_per_epoch * batch_size
  variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *image_shape)))
  has_batch_norm = "batch_stats" in variables
  image_bytes = activation_bytes(network, image_shape)
  if images_at_once is None:
    images_at_once = best_images_at_once(network, image_shape) or batch_size
  num_pieces = 1 if has_batch_norm else math.ceil(batch_size / images_at_once)
  if networks_at_once is None:
    is_small = batch_size * image_bytes < traits().vmapped_bytes
    fitting = max(1, passes_at_once(image_bytes) // batch_size)
    networks_at_once = min(traits().networks_at_once, fitting) if is_small else 1

  def own_key(rng, seed):
    return jax.random.fold_in(jax.random.fold_in(rng, seed[0]), seed[1])

  def gradient(variables, images, labels, weights):
    """Mean loss over the batch, its gradient, and the statistics after it."""
    params, stats = variables["params"], _without_params(variables)

    def total_loss(params, images, labels, weights):
      logits, updates = network.apply(
        {"params": params, **stats},
        images,
        is_training=True,
        mask=weights > 0,
        mutable=["batch_stats"],
      )
      return (weights * loss_fn(logits, labels)).sum(), updates

    of_piece = jax.value_and_grad(total_loss, has_aux=True)
    if num_pieces == 1:
      (total, stats), grads = of_piece(params, images, labels, weights)
    else:

      def without_statistics(*piece):
        (total, _), grads = of_piece(params, *piece)
        return total, grads

      total, grads = sum_over_pieces(without_statistics, (images, labels, weights), num_pieces)
    count = jnp.maximum(weights.sum(), 1e-6)
    return total / count, jax.tree.map(lambda leaf: leaf / count, grads), stats

  def draw_operations(rng):
    """What `siamese.augment` would draw for a batch."""
    if not augmentation.ops:
      return None
    height, width, _ = image_shape
    return siamese.draw(
      rng, augmentation, (batch_size,), height=height, width=width, shares_op=True
    )

  def attacked(rng, variables, source, adversary: Adversary, batch, draws):
    """Augmented images as the network sees them, at a high loss within their balls of pixels.

    A batch is (entry of the source, examples [b], labels [b k], mask [b] of those that count).
    """
    index, examples, labels, mask = batch
    epsilon = adversary.epsilon
    pixels = source.images[index, examples].astype(jnp.float32) / source.max_value
    noise = jax.random.uniform(rng, pixels.shape, jnp.float32, -epsilon, epsilon)
    start = jnp.clip(pixels + noise, 0.0, 1.0)

    def of_rows(rows):
      own = jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, draws)

      def seen(pixels):
        images = _to_network(pixels * source.max_value, source)
        return images if own is None else siamese.apply(images, own, augmentation)

      def losses(pixels):
        logits, _ = network.apply(
          variables, seen(pixels), is_training=True, mask=mask[rows], mutable=["batch_stats"]
        )
        return loss_fn(logits, labels[rows])

      moved = ascend_signs(
        losses,
        pixels[rows],
        start[rows],
        epsilon=epsilon,
        step_size=epsilon / 4,
        num_steps=adversary.num_steps,
      )
      return seen(moved)

    return map_pieces(of_rows, jnp.arange(batch_size), math.ceil(batch_size / num_pieces))

  def init_one(rng, row, source):
    init_rng, _ = jax.random.split(own_key(rng, row.seeds))
    return network.init(init_rng, _look_up(source, row.indices, jnp.arange(1)))

  def begin_one(variables, row):
    optimizer = protocols.make_optimizer(protocol, num_examples, row.learning_rates)
    opt_state = optimizer.init(variables["params"])
    average = variables if protocol.ema_decay else None
    return variables, opt_state, average, jnp.zeros(filled, jnp.int32)

  def step_one(carry, step, rng, row, source):
    variables, opt_state, average, order = carry
    own = own_key(rng, row.seeds)
    _, order_rng = jax.random.split(own)
    epoch, position = step // span.steps_per_epoch, step % span.steps_per_epoch
    epoch_rng = jax.random.fold_in(order_rng, epoch)

    def new_order(words, _):
      own_rng = jax.random.wrap_key_data(words, impl=jax.random.key_impl(rng))
      drawn = jax.random.permutation(own_rng, num_examples).astype(jnp.int32)
      return jnp.pad(drawn, (0, filled - num_examples))

    # The words of the key: where networks are at different steps, a key would count as used twice.
    words = jax.random.key_data(epoch_rng)
    order = jax.lax.cond(position == 0, new_order, lambda _, order: order, words, order)
    places = position * batch_size + jnp.arange(batch_size)
    examples = jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
    weights = (places < num_examples).astype(jnp.float32)
    if source.weights is not None:
      weights *= source.weights[row.indices, examples]
    images = _look_up(source, row.indices, examples)
    labels = source.labels[row.indices, examples]
    draw_rng = jax.random.fold_in(jax.random.fold_in(own, _AUGMENT_STREAM), step)
    augment_rng, mix_rng = jax.random.split(draw_rng)
    if adversary is not None:
      draws = draw_operations(augment_rng)
      attack_rng = jax.random.fold_in(draw_rng, _ATTACK_STREAM)
      batch = row.indices, examples, labels, weights > 0
      images = attacked(attack_rng, variables, source, adversary, batch, draws)
    elif augmentation.ops:
      images = siamese.augment(augment_rng, images, augmentation, per_example=True)
    images, labels = _mixed(mix_rng, images, labels, weights > 0, protocol)
    value, grads, stats = gradient(variables, images, labels, weights)
    optimizer = protocols.make_optimizer(protocol, num_examples, row.learning_rates)
    options = {}
    if protocol.sharpness_radius:
      others = _without_params(variables)
      batch = images, labels, weights
      options["grad_fn"] = lambda params, _: gradient({"params": params, **others}, *batch)[1]
    updates, opt_state = optimizer.update(grads, opt_state, variables["params"], **options)
    params = optax.apply_updates(variables["params"], updates)
    trained = {"params": params, **stats}, opt_state
    if source.weights is not None:  # a batch without any member changes nothing
      is_any = weights.sum() > 0
      trained = jax.tree.map(lambda new, old: jnp.where(is_any, new, old), trained, carry[:2])
    variables, opt_state = trained
    if protocol.ema_decay:
      decay = jnp.minimum(protocol.ema_decay, (1.0 + step) / (10.0 + step))
      average = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, average, variables)
    return (variables, opt_state, average, order), value

  def begin(variables, rows):
    return TrainState(jnp.int32(0), *jax.vmap(begin_one)(variables, rows))

  def init(rng, rows, source):
    return begin(jax.vmap(init_one, in_axes=(None, 0, None))(rng, rows, source), rows)

  def advance(state, rng, rows, source, count):
    carry = state.variables, state.opt_state, state.average, state.order
    if len(rows.indices) == 1:  # a leading axis of one would cost batched products
      carry, rows = jax.tree.map(lambda leaf: leaf[0], (carry, rows))
      step = step_one
    else:
      step = jax.vmap(step_one, in_axes=(0, None, None, 0, None))

    def body(i, carry_and_loss):
      return step(carry_and_loss[0], state.step + i, rng, rows, source)

    start = carry, jnp.zeros(rows.indices.shape, jnp.float32)
    carry, value = jax.lax.fori_loop(0, count, body, start)
    if rows.indices.ndim == 0:
      carry, value = jax.tree.map(lambda leaf: leaf[None], (carry, value))
    return TrainState(state.step + count, *carry), value

  def finish(state):
    return state.average if protocol.ema_decay else state.variables

  num_steps, steps_per_epoch, _ = span
  return Training(init, begin, advance, finish, num_steps, steps_per_epoch, networks_at_once)


def one_row(learning_rate: float) -> Rows:
  """A single network on the first set of a source."""
  rate = jnp.full(1, learning_rate, jnp.float32)
  return Rows(jnp.zeros((1, 2), jnp.uint32), jnp.zeros(1, jnp.int32), rate)


def as_source(images: Any, labels: Any) -> Source:
  """Sets that are already in the space the networks see: f32[s n h w c] and f32[s n k]."""
  num_channels = np.shape(images)[-1]
  zeros, ones = np.zeros(num_channels, np.float32), np.ones(num_channels, np.float32)
  return Source(jnp.asarray(images), jnp.asarray(labels), jnp.asarray(zeros), jnp.asarray(ones))


def _look_up(source: Source, index: Array, examples: Array) -> Array:
  """Examples of one set as the networks see them, f32[b h w c]."""
  images = source.images[index, examples]
  if images.dtype == jnp.float32:
    return images
  return _to_network(images, source)


def _to_network(images: Array, source: Source) -> Array:
  """Stored images [b h w c] as the networks see them."""
  mean, std = (jnp.broadcast_to(leaf, images.shape) for leaf in (source.mean, source.std))
  images = (images.astype(jnp.float32) - mean) / std
  return images if source.whitening is None else source.whitening.forward(images)


def _without_params(variables: Any) -> Any:
  return {name: leaf for name, leaf in variables.items() if name != "params"}


def _mixed(rng: Array, images: Array, labels: Array, mask: Array, protocol) -> tuple[Array, Array]:
  """Images and labels after the protocol's mixing, whose partners are rows of the mask."""
  if not protocol.mix:
    return images, labels
  num, height, width, _ = images.shape
  if protocol.mix == "cutmix":
    draws = mix.draw_cutmix(
      rng,
      num,
      height=height,
      width=width,
      beta=protocol.mix_beta,
      probability=protocol.mix_probability,
      mask=mask,
    )
    return mix.apply_cutmix(images, labels, draws)
  return mix.apply_mixup(
    images, labels, mix.draw_mixup(rng, num, alpha=protocol.mix_beta, mask=mask)
  )
