"""DP-DM: distribution matching with a guarantee of differential privacy for every real example.

DM (Zhao, Bilen 2023, arXiv 2110.04181, eq. 4) compares class means of the features of random
networks. The mean over real examples is a sum of vectors, one from each example: here each is
clipped to a norm of C, the sums of all classes get Gaussian noise, and are divided by the expected
number of examples of a class. An example is in one class, so taking it out moves all sums together
by C at most. Networks and augmentation are drawn from public keys and know nothing of real data.

Where we differ from DM: batches are Poisson samples of the whole train set, and one augmentation is
drawn a step for all classes. Features of synthetic images are clipped alike, so that equal images
have equal features. The expected number of examples of a class takes all classes as equally large,
since their sizes are not public: the mean of a class of another size is scaled by its share.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float
from ml_collections import ConfigDict

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers import settings, synthetic
from ddjax.distillers.matching import merge_classes, split_classes
from ddjax.models.build import features_of
from ddjax.models.pieces import over_classes, sum_over_pieces
from ddjax.privacy.guarantee import INIT, read_guarantee, record
from ddjax.privacy.mechanism import add_noise, clip_factors, draw_sample, noise_key, step_keys
from ddjax.training.parallel import own_filled_rows, sum_across
from ddjax.types import Array, DatasetInfo, DistilledSet, Distiller, DistillState

_COVERED = (
  "an example enters an update through its features in its class's mean, which are clipped."
)


def make_dp_dm(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds DP-DM from its config; see `configs/dp_dm.py` for the fields.

  Raises:
    ValueError: for impossible settings, or such as would break the guarantee.
  """
  ipc, num_classes = config.synthetic.ipc, info.num_classes
  settings.check_positive(config.outer, "real_batch_size")
  num_members = int(config.member_fraction * info.num_train)
  expected = min(config.outer.real_batch_size * num_classes, num_members)
  guarantee = read_guarantee(config, info, expected, "outer.real_batch_size times the classes")
  common = settings.read_settings(
    config, info, axis_name, settings.MethodTraits(ipc, inits=(INIT,))
  )
  network, augmentation = common.network, common.augmentation
  if settings.has_statistics(network, info):
    raise ValueError(
      f"network.name={config.network.name!r} has batch norm, whose statistics are of real images "
      "without noise: a set with a guarantee takes another norm."
    )
  if config.synthetic.learn_labels:
    raise ValueError("synthetic.learn_labels=True: the loss of DM does not depend on the labels.")
  per_class = guarantee.batch_size / num_classes
  identity = jnp.eye(num_classes, dtype=jnp.float32)

  def init(rng, data) -> DistillState:
    init_rng, step_rng, private_rng = jax.random.split(rng, 3)
    start = synthetic.init_synthetic(init_rng, data, info, ipc=ipc, init=INIT, is_centred=False)
    key = noise_key(private_rng, guarantee.noise_seed)
    return DistillState(jnp.int32(0), step_rng, start, common.optimisers.init(start), key)

  def embed(variables, images, draws) -> Float[Array, "b d"]:
    images = siamese.apply(images, draws, augmentation)
    features = features_of(network, variables, images)
    return features.reshape(len(images), -1).astype(jnp.float32)

  def noised_means(keys, variables, data, draws) -> Float[Array, "k d"]:
    """The class means of real features, with noise."""
    sample = draw_sample(keys.sample, data.mask, guarantee.sampling_rate, guarantee.capacity)
    index, weights = own_filled_rows((sample.index, sample.weights), axis_name)

    def of_piece(index, weights):
      features = embed(variables, standardise(data.images[index], data), draws)
      return class_sums(features, identity[data.labels[index]], weights, guarantee.clip_norm)

    num_pieces = math.ceil(len(weights) / (common.images_at_once or len(weights)))
    total = sum_across(sum_over_pieces(of_piece, (index, weights), num_pieces), axis_name)
    return add_noise(keys.noise, total, guarantee.noise_scale) / per_class

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    network_rng, augment_rng = jax.random.split(jax.random.fold_in(state.rng, state.step))
    height, width, _ = info.image_shape
    draws = siamese.draw(augment_rng, augmentation, height=height, width=width)
    variables = common.fresh_network(network_rng)
    target = noised_means(step_keys(state.extra, state.step), variables, data, draws)

    def of_group(images, target):
      def distance(images):
        features = embed(variables, images.reshape(-1, *images.shape[2:]), draws)
        features = (
          features * clip_factors(jnp.sum(features**2, axis=1), guarantee.clip_norm)[:, None]
        )
        means = features.reshape(*images.shape[:2], -1).mean(axis=1)
        squared = jnp.sum((means - target) ** 2, axis=1)
        return squared.sum(), squared

      (_, squared), gradient = jax.value_and_grad(distance, has_aux=True)(images)
      return squared, gradient

    images = split_classes(state.synthetic.images, num_classes)
    squared, gradient = over_classes(of_group, (images, target), common.classes_at_once)
    gradients = state.synthetic.replace(images=merge_classes(gradient))  # none of the labels
    new, opt_state, metrics = common.optimisers.update(gradients, state.opt_state, state.synthetic)
    metrics = {"loss": squared.sum(), **metrics}  # against noised means
    return state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state), metrics

  def extract(state: DistillState) -> DistilledSet:
    return DistilledSet(state.synthetic.images, state.synthetic.labels)

  real_passes = guarantee.capacity
  return Distiller(
    init,
    step,
    extract,
    image_passes=real_passes + 3 * num_classes * ipc,
    forward_passes=real_passes,
    passes_in_a_row=4 * math.ceil(num_classes / common.classes_at_once),
    guarantee=record(guarantee, _COVERED),
    remarks=(*common.remarks, guarantee.in_words()),
  )


def class_sums(
  features: Float[Array, "b d"],
  classes: Float[Array, "b k"],
  weights: Float[Array, " b"],
  clip_norm: float,
) -> Float[Array, "k d"]:
  """The sum of the clipped features of each class; an example moves all of them by C at most.

  Args:
    features: f32[b d].
    classes: one-hot.
    weights: 0 or 1, of each example.
    clip_norm: C.
  """
  factors = clip_factors(jnp.sum(features**2, axis=1), clip_norm) * weights
  rows = jnp.where(factors[:, None] > 0, features, 0.0)  # 0 times NaN is NaN
  return jnp.einsum("b,bk,bd->kd", factors, classes, rows, precision="highest")
