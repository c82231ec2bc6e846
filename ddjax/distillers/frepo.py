r"""FRePo: neural feature regression with pooling.

Zhou, Nezhadarya, Ba 2022, "Dataset Distillation using Neural Feature Regression" (arXiv
2206.00719), algorithm 1. A pool of networks trains on the synthetic set while that is learned. Each
step draws one of them, fits ridge regression on its features f of the synthetic images,

  f(x_t) f(x_s)' (f(x_s) f(x_s)' + \lambda I)^{-1} y_s,   \lambda = ridge * tr(f(x_s) f(x_s)') / n,

and moves images and labels so that it predicts a batch of real examples. Then that network takes
one step on the new synthetic set, or begins anew. No gradient passes through the networks'
training.

Here networks have the initial values of all networks of this project, real batches are drawn anew
at every step instead of by epochs, and a pool network whose set is larger than its batch goes
through it by epochs.
"""

import functools
import math
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict
import optax

from ddjax.config.precision import precision_of
from ddjax.data.batches import draw_examples, take
from ddjax.distillers import settings, synthetic
from ddjax.distillers.updates import Optimisers, make_schedule
from ddjax.fitting import protocols, train
from ddjax.kernels.ridge import (
  Targets,
  advice,
  check_ridge,
  feature_kernel,
  kernel_ridge_loss,
)
from ddjax.models.build import features_of
from ddjax.models.pieces import best_images_at_once, map_pieces
from ddjax.training.parallel import mean_across, own_rows
from ddjax.types import Array, DatasetInfo, DistilledSet, Distiller, DistillState, Synthetic

_LARGEST_BATCH = 1024
"""Real examples of a step where the config leaves their number open."""
_LAST_SHARE = 0.1
"""Of the learning rate, at the end of the cosine."""


@struct.dataclass
class Pool:
  """Networks that train on the synthetic set: p of them, or one without the leading [p].

  Attributes:
    networks: TrainState of one network, on every leaf a leading [p].
    num_updates: i32[p], the updates that each counts; some begin above 0, so that they do not all
      begin anew together.
  """

  networks: train.TrainState
  num_updates: Array


def make_frepo(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds FRePo from its config; see `configs/frepo.py` for the fields.

  Raises:
    ValueError: for impossible settings, naming them.
  """
  chosen, outer, pool_settings = config.synthetic, config.outer, config.pool
  ipc, num_classes, learn_labels = chosen.ipc, info.num_classes, chosen.learn_labels
  batch_size, ridge = target_batch_size(config, info), config.ridge
  settings.check_init(chosen)
  settings.check_positive(outer, "learning_rate")
  check_ridge(ridge)
  _check_pool(pool_settings)
  network = settings.build_network(config, info)
  rate = make_schedule(outer.learning_rate, outer, _LAST_SHARE)
  optimisers = Optimisers(optax.lamb(rate), optax.lamb(rate) if learn_labels else None)
  num_images, use_flips = num_classes * ipc, chosen.use_flips
  num_networks = pool_settings.num_networks
  training = _make_training(pool_settings, network, num_images, info)
  rows = train.one_row(pool_settings.learning_rate)
  at_once = best_images_at_once(network, info.image_shape)
  dtype = jnp.dtype(precision_of(config).kernels)
  identity = jnp.eye(num_classes, dtype=dtype)
  label_scale = math.sqrt(num_classes / 10)

  def begin_network(rng) -> train.TrainState:
    variables = network.init(rng, jnp.zeros((1, *info.image_shape), jnp.float32))
    return training.begin(jax.tree.map(lambda leaf: leaf[None], variables), rows)

  def init(rng, data) -> DistillState:
    init_rng, pool_rng, step_rng = jax.random.split(rng, 3)
    start = synthetic.init_synthetic(
      init_rng, data, info, ipc=ipc, init=chosen.init, is_centred=True
    )
    start = start.replace(labels=start.labels / label_scale)
    networks = jax.vmap(begin_network)(jax.random.split(pool_rng, num_networks))
    spread = pool_settings.online_steps // num_networks * jnp.arange(num_networks, dtype=jnp.int32)
    pool = Pool(networks, spread)
    return DistillState(jnp.int32(0), step_rng, start, optimisers.init(start), pool)

  def embed(variables, images) -> Array:
    return features_of(network, variables, images).astype(dtype)

  def draw_targets(rng, data, variables) -> Targets:
    """This device's rows of the target batch of one step, as features."""
    index = own_rows(draw_examples(rng, data, batch_size), axis_name)
    images = take(data, index)
    features = map_pieces(lambda piece: embed(variables, piece), images, at_once)
    labels = (identity[data.labels[index]] - 1 / num_classes) / label_scale
    return Targets(features, labels, data.mask[index].astype(dtype))

  def loss_fn(learned: Synthetic, variables, batch: Targets, total_weight: Array):
    images, labels = learned.images, learned.labels.astype(dtype)
    if use_flips:
      images = jnp.concatenate([images, images[:, :, ::-1]])
      labels = jnp.concatenate([labels, labels])
    support = Synthetic(embed(variables, images), labels)
    error, aux = kernel_ridge_loss(feature_kernel, support, batch, ridge, total_weight)
    error = num_classes * error  # a sum over classes, not their mean
    margin = label_margin(learned.labels)
    return error - margin, {"loss": error, "label_margin": margin, **aux}

  def move_on(rng, drawn: Pool, learned: Synthetic) -> Pool:
    """The drawn network after one step on the synthetic set, or a fresh one in its place."""
    # The words of the key: of replicas both branches are computed, and a key would be used twice.
    words, impl = jax.random.key_data(rng), jax.random.key_impl(rng)

    def begin_anew(words, drawn, learned):
      del learned
      fresh = begin_network(jax.random.wrap_key_data(words, impl=impl))
      return Pool(fresh, jnp.zeros_like(drawn.num_updates))

    def update(words, drawn, learned):
      source = train.as_source(learned.images[None], learned.labels[None])
      order_rng = jax.random.wrap_key_data(words, impl=impl)
      networks, _ = training.advance(drawn.networks, order_rng, rows, source, 1)
      return Pool(networks, drawn.num_updates + 1)

    is_old = drawn.num_updates > pool_settings.online_steps
    return jax.lax.cond(is_old, begin_anew, update, words, drawn, learned)

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    rng = jax.random.fold_in(state.rng, state.step)
    place_rng, batch_rng, move_rng = jax.random.split(rng, 3)
    place = jax.random.randint(place_rng, (), 0, num_networks, jnp.int32)
    drawn = jax.tree.map(
      lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), state.extra
    )
    variables = jax.tree.map(lambda leaf: leaf[0], drawn.networks.variables)
    batch = draw_targets(batch_rng, data, variables)
    total_weight = mean_across(jnp.sum(batch.weights), axis_name)
    gradient_fn = jax.grad(loss_fn, has_aux=True)
    gradients, metrics = gradient_fn(state.synthetic, variables, batch, total_weight)
    gradients, metrics = mean_across((gradients, metrics), axis_name)
    new, opt_state, norms = optimisers.update(gradients, state.opt_state, state.synthetic)
    moved = move_on(move_rng, drawn, new)
    pool = jax.tree.map(
      lambda leaf, own: jax.lax.dynamic_update_index_in_dim(leaf, own, place, 0),
      state.extra,
      moved,
    )
    state = state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state, extra=pool)
    return state, {**metrics, **norms}

  def extract(state: DistillState) -> DistilledSet:
    return DistilledSet(state.synthetic.images, state.synthetic.labels)

  num_support = num_images * (2 if use_flips else 1)
  num_trained = min(pool_settings.batch_size, num_images)
  return Distiller(
    init,
    step,
    extract,
    label_kind="centred",
    batch_sizes={"outer.target_batch_size": batch_size},
    image_passes=batch_size + 3 * num_support + 3 * num_trained,
    forward_passes=batch_size,
    passes_in_a_row=math.ceil(batch_size / (at_once or batch_size)) + 6,
    remarks=(
      f"{num_networks} networks, each begun anew after more than {pool_settings.online_steps} "
      f"updates; {batch_size} real examples and {num_support} prototypes a step.",
      *_of_features(network, info, num_support),
    ),
    advice=advice(ridge),
  )


def label_margin(labels: Float[Array, "n k"]) -> Float[Array, ""]:
  """Mean over examples of min(largest label - second largest, 1/k); the loss falls as it grows."""
  largest, _ = jax.lax.top_k(labels, 2)
  return jnp.mean(jnp.minimum(largest[:, 0] - largest[:, 1], 1 / labels.shape[1]))


def target_batch_size(config: ConfigDict, info: DatasetInfo) -> int:
  """The config's, or for 0 the largest up to 1024 that up to 8 devices divide.

  Raises:
    ValueError: for a negative one, or one larger than the train set.
  """
  wanted = config.outer.target_batch_size
  if wanted < 0:
    raise ValueError(
      f"outer.target_batch_size={wanted} must be positive, or 0 for up to {_LARGEST_BATCH}."
    )
  if wanted > info.num_train:
    raise ValueError(
      f"outer.target_batch_size={wanted} is more than the {info.num_train} train examples of "
      f"{info.name}."
    )
  return wanted or min(_LARGEST_BATCH, info.num_train) // 8 * 8 or info.num_train


def _check_pool(pool: ConfigDict) -> None:
  """Raises ValueError for an impossible field of the group `pool`, naming it."""
  if pool.num_networks < 1:
    raise ValueError(f"pool.num_networks={pool.num_networks} must be at least 1.")
  settings.check_positive(pool, "online_steps", "learning_rate", "batch_size", called="pool")


def _of_features(network: Any, info: DatasetInfo, num_support: int) -> tuple[str, ...]:
  """What to say of a network with so few features that their kernel has no full rank."""
  image = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
  apply = functools.partial(network.init_with_output, return_features=True)
  (_, features), _ = jax.eval_shape(apply, jax.random.key(0), image)
  if features.shape[1] >= num_support:
    return ()
  return (
    f"The network has {features.shape[1]} features, fewer than the {num_support} prototypes: the "
    "regression leans on its ridge alone. A larger network.width may help.",
  )


def _make_training(pool: ConfigDict, network: Any, num_images: int, info: DatasetInfo):
  """How a network of the pool learns: Adam on the squared error, no augmentation."""
  protocol = protocols.Protocol(
    num_epochs=1,  # never looked at: updates are made one by one
    batch_size=pool.batch_size,
    learning_rate=pool.learning_rate,
    weight_decay=0.0,
    optimizer="adam",
  )
  return train.make_training(
    network, protocol, loss="mse", num_examples=num_images, image_shape=info.image_shape
  )
