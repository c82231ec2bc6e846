"""Gradient matching with (DSA) and without (DC) siamese augmentation.

Zhao, Mopuri, Bilen 2021, "Dataset Condensation with Gradient Matching" (arXiv 2006.05929),
algorithm 1; Zhao, Bilen 2021, "Dataset Condensation with Differentiable Siamese Augmentation"
(arXiv 2102.08259). An outer iteration begins with a fresh network and goes on for `outer_loop`
updates of the images; between two of them the network is trained on the images for `inner_loop`
epochs. One step here is one such update, so that a run can stop after any of them.
"""

import math

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.config.loops import LOOPS, loops_of
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


def make_dsa(
  config: ConfigDict, info: DatasetInfo, axis_name: str | None = None, *, num_groups: int = 0
) -> Distiller:
  """Builds DC or DSA from its config; see `configs/dc.py` and `configs/dsa.py` for the fields.

  Args:
    config: the whole config.
    info: of the data set.
    axis_name: of the devices.
    num_groups: above 0 each group of a class is matched by itself, see `ddjax.distillers.fairdd`.
  Raises:
    ValueError: for impossible settings.
  """
  outer, ipc, num_classes = config.outer, config.synthetic.ipc, info.num_classes
  common = settings.read_settings(config, info, axis_name, settings.MethodTraits(ipc))
  network, augmentation = common.network, common.augmentation
  settings.check_matched(config, network, info)
  settings.check_positive(outer, "network_learning_rate", "network_batch_size")
  learn_labels = config.synthetic.learn_labels
  outer_loop, inner_loop, remark = _loops(config)
  num_images = num_classes * ipc
  matcher = Matcher(
    network=network,
    augmentation=augmentation,
    distance=find_distance(config.matching.distance),
    only_convolutions=config.matching.only_convolutions,
    view=lambda images, labels: (images, probabilities(labels)),
    classes_at_once=common.classes_at_once,
    images_at_once=common.images_at_once,
    axis_name=axis_name,
  )
  training = train.make_training(
    network,
    protocols.Protocol(
      num_epochs=max(inner_loop, 1),
      batch_size=outer.network_batch_size,
      learning_rate=outer.network_learning_rate,
      momentum=0.0,
      weight_decay=0.0,
      augmentation=config.augmentation,
    ),
    loss="cross_entropy",
    num_examples=num_images,
    image_shape=info.image_shape,
    networks_at_once=1,
  )
  rows = train.one_row(outer.network_learning_rate)

  def init(rng, data) -> DistillState:
    init_rng, step_rng, network_rng = jax.random.split(rng, 3)
    start = synthetic.init_synthetic(
      init_rng, data, info, ipc=ipc, init=config.synthetic.init, is_centred=False
    )
    if learn_labels:
      start = start.replace(labels=synthetic.as_logits(start.labels))
    variables = common.fresh_network(network_rng) if outer_loop > 1 else None
    return DistillState(jnp.int32(0), step_rng, start, common.optimisers.init(start), variables)

  def probabilities(labels: Array) -> Array:
    return jax.nn.softmax(labels) if learn_labels else labels

  def train_network(rng, variables, learned: Synthetic):
    """`inner_loop` epochs on the synthetic images, one draw of augmentation an image."""
    source = train.as_source(learned.images[None], probabilities(learned.labels)[None])
    start = training.begin(jax.tree.map(lambda leaf: leaf[None], variables), rows)
    trained, _ = training.advance(start, rng, rows, source, training.num_steps)
    return jax.tree.map(lambda leaf: leaf[0], trained.variables)

  def network_of_step(state: DistillState, fresh_rng, train_rng):
    if outer_loop == 1:
      return common.fresh_network(fresh_rng)
    return jax.lax.cond(
      same_for_replicas(state.step) % outer_loop == 0,
      lambda variables, learned: common.fresh_network(fresh_rng),
      lambda variables, learned: train_network(train_rng, variables, learned),
      state.extra,
      state.synthetic,
    )

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    rng = jax.random.fold_in(state.rng, state.step)
    fresh_rng, train_rng, batch_rng, augment_rng, statistics_rng = jax.random.split(rng, 5)
    variables = network_of_step(state, fresh_rng, train_rng)
    batch = draw_class_batches(batch_rng, data, common.real_batch_size, axis_name, num_groups)
    draws = draw_siamese(augment_rng, augmentation, num_classes, info.image_shape)
    frozen = freeze_statistics(statistics_rng, network, variables, data)
    learned = split_classes(state.synthetic, num_classes)
    distances, gradients = match_gradients(matcher, frozen, data, batch, draws, learned)
    gradients = Synthetic(*merge_classes(gradients))
    new, opt_state, norms = common.optimisers.update(gradients, state.opt_state, state.synthetic)
    state = state.replace(
      step=state.step + 1,
      synthetic=new,
      opt_state=opt_state,
      extra=variables if outer_loop > 1 else None,
    )
    return state, {"loss": distances.sum(), **norms}

  def extract(state: DistillState) -> DistilledSet:
    return DistilledSet(state.synthetic.images, probabilities(state.synthetic.labels))

  trained_share = (outer_loop - 1) / outer_loop
  passes_of_real = passes_of_gradients(num_groups)
  return Distiller(
    init,
    step,
    extract,
    label_kind="probabilities" if learn_labels else "one_hot",
    batch_sizes={"outer.real_batch_size": common.real_batch_size},
    image_passes=num_classes * (passes_of_real * common.real_passes + 9 * ipc)
    + trained_share * 3 * inner_loop * num_images,
    passes_in_a_row=12 * math.ceil(num_classes / common.classes_at_once)
    + trained_share * 3 * training.num_steps,
    remarks=(*common.remarks, remark),
  )


def _loops(config: ConfigDict) -> tuple[int, int, str]:
  """(outer loop, inner loop, what to say of them); 0 in the config takes those of the ipc."""
  outer, ipc = config.outer, config.synthetic.ipc
  published = loops_of(ipc)
  for name in ("outer_loop", "inner_loop"):
    if outer[name] < 0:
      raise ValueError(f"outer.{name}={outer[name]} must be 0 (as published) or positive.")
  outer_loop, inner_loop = outer.outer_loop or published[0], outer.inner_loop or published[1]
  if outer_loop == 1 and outer.inner_loop > 1:
    raise ValueError(
      f"outer.inner_loop={outer.inner_loop} trains a network between its updates of the images, of "
      "which there is one: set outer.outer_loop too."
    )
  is_table = ipc in LOOPS and (outer_loop, inner_loop) == published
  is_between = (outer_loop, inner_loop) == published
  between = "interpolated" if ipc < max(LOOPS) else f"those of {max(LOOPS)}"
  origin = "as published" if is_table else between if is_between else "from the config"
  loops = f"{outer_loop} updates of the images a network, {inner_loop} epochs of training between"
  if outer_loop == 1:
    loops = "a fresh network for every update of the images"
  remark = f"{loops} ({origin}, ipc {ipc})."
  return outer_loop, inner_loop, remark
