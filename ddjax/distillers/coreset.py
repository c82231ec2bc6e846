"""Coresets: real examples chosen so that few stand for many, class by class.

Herding (Welling 2009; Rebuffi et al. 2017), greedy k-centre (Sener, Savarese 2018) and the examples
nearest to k-means centres, each in the features of a network that is trained on the real set first,
of a random network, or in pixels; and a random subset. What distillation is held against.

The first steps train the network, one batch each; every step after them chooses the examples of
one class.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict

from ddjax.config.precision import precision_of
from ddjax.data.batches import standardise
from ddjax.distillers import synthetic
from ddjax.fitting import protocols, train
from ddjax.models.build import build
from ddjax.training.parallel import same_for_replicas
from ddjax.types import Array, DatasetInfo, DistilledSet, Distiller, DistillState
from ddjax.wording import nearest

FEATURES = ("trained", "random", "pixels")
_ROWS_AT_ONCE = 256


def herding(
  features: Float[Array, "q d"], is_member: Bool[Array, " q"], count: int
) -> Int[Array, " n"]:
  """Greedy mean matching: each choice brings the mean of the chosen nearest to the mean of all.

  Args:
    features: f32[q d].
    is_member: bool[q]; others are neither chosen nor part of the mean.
    count: n; at least so many members.
  Returns:
    i32[n], in order of choice, without repetition.
  """
  mean = _mean(features, is_member)

  def choose(carry, number):
    total, is_free = carry
    distance = jnp.sum((mean[None] - (total[None] + features) / (number + 1)) ** 2, axis=1)
    choice = jnp.argmin(jnp.where(is_free, distance, jnp.inf))
    return (total + features[choice], is_free.at[choice].set(False)), choice

  start = jnp.zeros_like(mean), is_member
  return jax.lax.scan(choose, start, jnp.arange(count))[1]


def k_center(
  features: Float[Array, "q d"], is_member: Bool[Array, " q"], count: int
) -> Int[Array, " n"]:
  """Greedy k-centre: the member nearest to the mean, then always the one farthest from all chosen.

  Arguments and result as `herding`.
  """
  first = jnp.argmin(
    jnp.where(is_member, _distances(features, _mean(features, is_member)), jnp.inf)
  )

  def choose(carry, _):
    nearest_chosen, choice = carry
    distance = _distances(features, features[choice])
    nearest_chosen = jnp.minimum(nearest_chosen, distance).at[choice].set(-1.0)
    return (nearest_chosen, jnp.argmax(nearest_chosen)), choice

  start = jnp.where(is_member, jnp.inf, -1.0), first
  return jax.lax.scan(choose, start, None, length=count)[1]


def k_means(
  features: Float[Array, "q d"], is_member: Bool[Array, " q"], count: int
) -> Int[Array, " n"]:
  """The member nearest to each of n k-means centres, which start from greedy k-centre's choice.

  Arguments and result as `herding`; a member that is nearest to two centres serves the first, and
  the second takes its own next nearest.
  """
  start = features[k_center(features, is_member, count)]
  centres = synthetic.kmeans(start, features, is_member.astype(features.dtype))

  def choose(is_free, centre):
    choice = jnp.argmin(jnp.where(is_free, _distances(features, centre), jnp.inf))
    return is_free.at[choice].set(False), choice

  return jax.lax.scan(choose, is_member, centres)[1]


METHODS = {"random": None, "herding": herding, "k_center": k_center, "k_means": k_means}


def make_coreset(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds a coreset method from its config; see `configs/coreset.py` for the fields.

  Every device does the same work.

  Raises:
    ValueError: for impossible settings.
  """
  del axis_name
  settings, ipc, num_classes = config.coreset, config.synthetic.ipc, info.num_classes
  if settings.method not in METHODS:
    raise ValueError(
      f"Unknown coreset.method {settings.method!r}. {nearest(settings.method, METHODS)}"
    )
  if settings.features not in FEATURES:
    raise ValueError(
      f"Unknown coreset.features {settings.features!r}. {nearest(settings.features, FEATURES)}"
    )
  synthetic.check_init("real", ipc)
  is_random = settings.method == "random"
  is_trained = settings.features == "trained" and not is_random
  if is_trained and settings.num_epochs < 1:
    raise ValueError(f"coreset.num_epochs={settings.num_epochs} must be at least 1.")
  network = build(
    settings.network,
    num_classes=num_classes,
    width=settings.width or None,
    dtype=precision_of(config).networks,
  )
  training = train.make_training(
    network,
    protocols.Protocol(
      num_epochs=settings.num_epochs,
      batch_size=settings.batch_size,
      learning_rate=settings.learning_rate,
    ),
    loss="cross_entropy",
    num_examples=info.num_train,
    image_shape=info.image_shape,
    networks_at_once=1,
  )
  num_training_steps = training.num_steps if is_trained else 0
  rows = train.one_row(settings.learning_rate)

  def source_of(data):
    labels = jax.nn.one_hot(data.labels, num_classes)
    weights = data.mask.astype(jnp.float32)
    return train.Source(data.images[None], labels[None], data.mean, data.std, weights[None])

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    start = synthetic.init_synthetic(init_rng, data, info, ipc=ipc, init="real", is_centred=False)
    extra = None
    if not is_random and settings.features != "pixels":
      extra = training.init(step_rng, rows, source_of(data))
    return DistillState(jnp.int32(0), step_rng, start, None, extra)

  def embed(state, images):
    if settings.features == "pixels":
      return images.reshape(len(images), -1)
    variables = jax.tree.map(lambda leaf: leaf[0], training.finish(state.extra))
    return network.apply(variables, images, return_features=True)[1]

  def features_of(state, data, index):
    """f32[q d] of the rows of one class, block by block."""
    blocks = -(-index.shape[0] // _ROWS_AT_ONCE)
    filled = jnp.pad(index, (0, blocks * _ROWS_AT_ONCE - index.shape[0]))
    features = jax.lax.map(
      lambda block: embed(state, standardise(data.images[block], data)),
      filled.reshape(blocks, _ROWS_AT_ONCE),
    )
    return features.reshape(-1, features.shape[-1])[: index.shape[0]]

  def train_network(state, data):
    extra = state.extra.replace(step=same_for_replicas(state.extra.step))
    extra, loss = training.advance(extra, state.rng, rows, source_of(data), 1)
    return state.synthetic, extra, loss[0]

  def choose_class(state, data):
    of_class = same_for_replicas(state.step) - num_training_steps
    index = data.class_index[of_class]
    is_member = data.mask[index] & (jnp.arange(index.shape[0]) < data.class_counts[of_class])
    features = features_of(state, data, index)
    chosen = METHODS[settings.method](features, is_member, ipc)
    images = standardise(data.images[index[chosen]], data)
    images = jax.lax.dynamic_update_slice_in_dim(
      state.synthetic.images, images, of_class * ipc, axis=0
    )
    missed = features[chosen].mean(axis=0) - _mean(features, is_member)
    return state.synthetic.replace(images=images), state.extra, jnp.sum(missed**2)

  def step(state: DistillState, data, shard):
    del shard
    if is_random:
      return state.replace(step=state.step + 1), {"loss": jnp.zeros((), jnp.float32)}
    if num_training_steps:
      is_training = same_for_replicas(state.step) < num_training_steps
      chosen, extra, loss = jax.lax.cond(is_training, train_network, choose_class, state, data)
    else:
      chosen, extra, loss = choose_class(state, data)
    return state.replace(step=state.step + 1, synthetic=chosen, extra=extra), {"loss": loss}

  def extract(state: DistillState) -> DistilledSet:
    return DistilledSet(state.synthetic.images, state.synthetic.labels)

  num_steps = 1 if is_random else num_training_steps + num_classes
  return Distiller(init, step, extract, label_kind="one_hot", num_steps=num_steps)


def _mean(features: Array, is_member: Array) -> Array:
  """Mean of the members' features, f32[d]."""
  weights = is_member.astype(features.dtype)
  return weights @ features / jnp.maximum(weights.sum(), 1.0)


def _distances(features: Array, centre: Array) -> Array:
  """Squared distances f32[q] of features f32[q d] to one point f32[d]."""
  return jnp.sum((features - centre[None]) ** 2, axis=1)
