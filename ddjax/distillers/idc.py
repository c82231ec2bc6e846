"""IDC: gradient matching of images that hold a grid of smaller ones, by networks in training.

Kim, Kim, Oh, Yun, Song, Jeong, Ha, Song 2022, "Dataset Condensation via Efficient Synthetic-Data
Parameterization" (arXiv 2205.14959), and its released settings. Images are pixels in [0, 1]; each
is decoded to f x f full-size ones (`ddjax.augment.multiformation`; f = 1 is IDC-I). An outer
iteration begins with a fresh network; between two of its `inner_loop` updates of the images the
network is trained on real examples. One step here is one such update.

Differs from the released code: the images of all classes are updated together, where that code
steps after each class (which only spreads the momentum over the classes' steps); and where a class
has more decoded images than `outer.synthetic_batch_size`, one draw of their places serves all
classes.
"""

import math
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.augment.multiformation import check_factor, decode, decode_labels
from ddjax.data.batches import standardise
from ddjax.distillers import settings, synthetic
from ddjax.distillers.class_batches import draw_class_batches, draw_siamese
from ddjax.distillers.matching import (
  Matcher,
  find_distance,
  freeze_statistics,
  match_gradients,
  merge_classes,
  passes_of_gradients,
  split_classes,
)
from ddjax.fitting import protocols, train
from ddjax.training.parallel import same_for_replicas
from ddjax.types import Array, DatasetInfo, DistilledSet, Distiller, DistillState, Synthetic

INITS = ("grid", "real", "noise", "saved")
_PREPROCESSING = ("standardise", "published", "none")  # affine in each pixel


@struct.dataclass
class IDCState:
  """What IDC keeps beside the images.

  Attributes:
    variables: of the one network, leading [1].
    opt_state: of its optimiser, leading [1].
    mean: f32[c], of the map from stored units to network space.
    std: f32[c], likewise.
  """

  variables: Any
  opt_state: Any
  mean: Array
  std: Array


def make_idc(
  config: ConfigDict, info: DatasetInfo, axis_name: str | None = None, *, num_groups: int = 0
) -> Distiller:
  """Builds IDC from its config; see `configs/idc.py` for the fields.

  Args:
    config: the whole config.
    info: of the data set.
    axis_name: of the devices.
    num_groups: above 0 each group of a class is matched by itself, see `ddjax.distillers.fairdd`.
  Raises:
    ValueError: for impossible settings.
  """
  outer, ipc, num_classes = config.outer, config.synthetic.ipc, info.num_classes
  factor, learn_labels = config.synthetic.factor, config.synthetic.learn_labels
  check_factor(factor, *info.image_shape[:2])
  if config.data.preprocessing not in _PREPROCESSING:
    raise ValueError(
      f"data.preprocessing={config.data.preprocessing!r}: IDC learns pixels, and needs one of "
      f"{', '.join(_PREPROCESSING)}."
    )
  settings.check_positive(
    outer,
    "inner_loop",
    "network_examples",
    "network_batch_size",
    "network_learning_rate",
    "synthetic_batch_size",
    "base_side",
  )
  if not 0 <= config.mix.probability <= 1 or not config.mix.beta > 0:
    raise ValueError(
      f"mix.probability={config.mix.probability} and mix.beta={config.mix.beta} must lie in [0, 1] "
      "and above 0."
    )
  num_decoded = factor**2 * ipc
  num_seen = min(num_decoded, outer.synthetic_batch_size)
  rate_scale = info.image_shape[0] * info.image_shape[1] / outer.base_side**2
  traits = settings.MethodTraits(
    num_seen, rate_scale=rate_scale, augmentation_mode="idc", inits=INITS
  )
  common = settings.read_settings(config, info, axis_name, traits)
  network, augmentation = common.network, common.augmentation
  settings.check_matched(config, network, info)
  num_real = min(outer.network_examples, info.num_train)
  training = train.make_training(
    network,
    protocols.Protocol(
      num_epochs=1,
      batch_size=outer.network_batch_size,
      learning_rate=outer.network_learning_rate,
      momentum=outer.network_momentum,
      weight_decay=outer.network_weight_decay,
      augmentation="_".join(name for name in augmentation.ops if name != "cutout"),
      augmentation_mode="idc",
      mix="cutmix" if config.mix.probability else "",
      mix_probability=config.mix.probability,
      mix_beta=config.mix.beta,
    ),
    loss="cross_entropy",
    num_examples=info.num_train,
    image_shape=info.image_shape,
    networks_at_once=1,
  )
  network_steps = math.ceil(num_real / min(outer.network_batch_size, info.num_train))
  rows = train.one_row(outer.network_learning_rate)
  matcher = Matcher(
    network=network,
    augmentation=augmentation,
    distance=find_distance(config.matching.distance),
    only_convolutions=config.matching.only_convolutions,
    classes_at_once=common.classes_at_once,
    images_at_once=common.images_at_once,
    axis_name=axis_name,
  )

  def init(rng, data) -> DistillState:
    init_rng, step_rng, network_rng = jax.random.split(rng, 3)
    pixels = synthetic.init_pixels(init_rng, data, info, ipc, config.synthetic.init, factor)
    labels = synthetic.one_hot_labels(num_classes, ipc, is_centred=False)
    start = Synthetic(pixels, synthetic.as_logits(labels) if learn_labels else labels)
    extra = IDCState(*begin_network(network_rng), data.mean, data.std)
    return DistillState(jnp.int32(0), step_rng, start, common.optimisers.init(start), extra)

  def begin_network(rng):
    """(variables [1 ...], optimiser state) of a fresh network."""
    variables = jax.tree.map(lambda leaf: leaf[None], common.fresh_network(rng))
    begun = training.begin(variables, rows)
    return begun.variables, begun.opt_state

  def train_network(rng, extra, data):
    """The same of a network trained further, on real examples drawn anew."""
    labels = jax.nn.one_hot(data.labels, num_classes, dtype=jnp.float32)[None]
    weights = data.mask.astype(jnp.float32)[None]
    source = train.Source(data.images[None], labels, data.mean, data.std, weights)
    begun = training.begin(extra.variables, rows).replace(opt_state=extra.opt_state)
    trained, _ = training.advance(begun, rng, rows, source, network_steps)
    return trained.variables, trained.opt_state

  def to_network(pixels, extra):
    return standardise(pixels * info.max_value, extra)

  def draw_places(rng):
    """Which of a class's decoded images a step sees."""
    if num_seen == num_decoded:
      return slice(None)
    return jax.random.choice(rng, num_decoded, (num_seen,), replace=False)

  def probabilities(labels):
    return jax.nn.softmax(labels) if learn_labels else labels

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    rng = jax.random.fold_in(state.rng, state.step)
    fresh_rng, train_rng, batch_rng, augment_rng, statistics_rng, places_rng = jax.random.split(
      rng, 6
    )
    is_first = same_for_replicas(state.step) % outer.inner_loop == 0
    variables, opt_state = jax.lax.cond(
      is_first,
      lambda extra: begin_network(fresh_rng),
      lambda extra: train_network(train_rng, extra, data),
      state.extra,
    )
    extra = state.extra.replace(variables=variables, opt_state=opt_state)
    pixels = state.synthetic.images  # clamped before every fresh network, as released
    pixels = jnp.where(is_first, jnp.clip(pixels, 0.0, 1.0), pixels)
    current = state.synthetic.replace(images=pixels)
    batch = draw_class_batches(batch_rng, data, common.real_batch_size, axis_name, num_groups)
    draws = draw_siamese(augment_rng, augmentation, num_classes, info.image_shape)
    variables = jax.tree.map(lambda leaf: leaf[0], variables)
    variables = freeze_statistics(statistics_rng, network, variables, data)

    places = draw_places(places_rng)

    def view(pixels, labels):
      images = decode(to_network(pixels, extra), factor)
      return images[places], decode_labels(probabilities(labels), factor)[places]

    learned = split_classes(current, num_classes)
    distances, gradients = match_gradients(
      matcher._replace(view=view), variables, data, batch, draws, learned
    )
    gradients = Synthetic(*merge_classes(gradients))
    new, opt_state, norms = common.optimisers.update(gradients, state.opt_state, current)
    state = state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state, extra=extra)
    return state, {"loss": distances.sum(), **norms}

  def extract(state: DistillState) -> DistilledSet:
    pixels = jnp.clip(state.synthetic.images, 0.0, 1.0)
    return DistilledSet(to_network(pixels, state.extra), probabilities(state.synthetic.labels))

  passes_of_real = passes_of_gradients(num_groups)
  return Distiller(
    init,
    step,
    extract,
    label_kind="probabilities" if learn_labels else "one_hot",
    batch_sizes={"outer.real_batch_size": common.real_batch_size},
    decode_factor=factor,
    image_passes=num_classes * (passes_of_real * common.real_passes + 9 * num_seen) + 3 * num_real,
    passes_in_a_row=12 * math.ceil(num_classes / common.classes_at_once) + 3 * network_steps,
    remarks=(*common.remarks, *_remarks(num_classes * num_decoded, num_seen, num_decoded)),
  )


def _remarks(num_images: int, num_seen: int, num_decoded: int) -> tuple[str, ...]:
  """What to say of a set of so many images after decoding."""
  seen = f"A step sees {num_seen} of the {num_decoded} of a class, drawn at random."
  return (f"{num_images} images after decoding.", *[seen] * (num_seen < num_decoded))
