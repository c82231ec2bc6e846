"""Distribution matching: class means of the features of random networks.

Zhao, Bilen 2023, "Dataset Condensation with Distribution Matching" (arXiv 2110.04181), eq. 4. Every
step draws a fresh network that is never trained; its features are the flattened inputs of the last
linear layer.
"""

import math
from typing import Any, Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.augment.siamese import Draws
from ddjax.distillers import settings, synthetic
from ddjax.distillers.class_batches import ClassBatch, draw_class_batches, draw_siamese
from ddjax.distillers.matching import (
  Matcher,
  freeze_statistics,
  match_means,
  merge_classes,
  split_classes,
)
from ddjax.types import Array, DatasetInfo, DataSplit, DistilledSet, Distiller, DistillState

_MOVE_STREAM = 0x6D6F76
MoveFn = Callable[[Array, Any, DataSplit, ClassBatch, Draws], tuple[DataSplit, ClassBatch]]
"""(rng, variables, data, batch, draws [k]) -> the real images that are matched, as a set and its
rows."""


def make_dm(
  config: ConfigDict,
  info: DatasetInfo,
  axis_name: str | None = None,
  *,
  num_groups: int = 0,
  make_move: Callable[[Matcher], MoveFn] | None = None,
) -> Distiller:
  """Builds DM from its config; see `configs/dm.py` for the fields.

  Args:
    config: the whole config.
    info: of the data set.
    axis_name: of the devices.
    num_groups: above 0 each group of a class is matched by itself, see `ddjax.distillers.fairdd`.
    make_move: (matcher) -> what changes the real images before they are matched; then one siamese
      augmentation is drawn for all classes. None for nothing.
  Raises:
    ValueError: for impossible settings.
  """
  ipc, num_classes, num_networks = config.synthetic.ipc, info.num_classes, config.outer.num_networks
  if num_networks < 1:
    raise ValueError(f"outer.num_networks={num_networks} must be at least 1.")
  shares = make_move is None  # replicas that draw alike differ in their masks alone
  traits = settings.MethodTraits(ipc, num_networks, shares_embeddings=shares)
  common = settings.read_settings(config, info, axis_name, traits)
  matcher = Matcher(
    network=common.network,
    augmentation=common.augmentation,
    classes_at_once=common.classes_at_once,
    images_at_once=common.images_at_once,
    axis_name=axis_name,
  )
  move = None if make_move is None else make_move(matcher)
  if config.synthetic.learn_labels:
    raise ValueError("synthetic.learn_labels=True: the loss of DM does not depend on the labels.")

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    start = synthetic.init_synthetic(
      init_rng, data, info, ipc=ipc, init=config.synthetic.init, is_centred=False
    )
    return DistillState(jnp.int32(0), step_rng, start, common.optimisers.init(start))

  def fresh_network(rng, data):
    init_rng, statistics_rng = jax.random.split(rng)
    variables = common.fresh_network(init_rng)
    return freeze_statistics(statistics_rng, common.network, variables, data)

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    rng = jax.random.fold_in(state.rng, state.step)
    network_rng, batch_rng, augment_rng = jax.random.split(rng, 3)
    batch = draw_class_batches(batch_rng, data, common.real_batch_size, axis_name, num_groups)
    draws = draw_siamese(augment_rng, common.augmentation, num_classes, info.image_shape)
    images = split_classes(state.synthetic.images, num_classes)
    if move is not None:
      draws = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), draws)

    def of_network(rng):
      variables = fresh_network(rng, data)
      if move is None:
        return match_means(matcher, variables, data, batch, draws, images)
      moved = move(jax.random.fold_in(rng, _MOVE_STREAM), variables, data, batch, draws)
      return match_means(matcher, variables, *moved, draws, images)

    if num_networks == 1:
      squared, gradient = of_network(network_rng)
    else:
      every = jax.vmap(of_network)(jax.random.split(network_rng, num_networks))
      squared, gradient = jax.tree.map(lambda leaf: leaf.mean(axis=0), every)
    gradients = state.synthetic.replace(images=merge_classes(gradient))  # none of the labels
    new, opt_state, metrics = common.optimisers.update(gradients, state.opt_state, state.synthetic)
    metrics = {"loss": squared.sum(), **metrics}
    return state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state), metrics

  def extract(state: DistillState) -> DistilledSet:
    return DistilledSet(state.synthetic.images, state.synthetic.labels)

  return Distiller(
    init,
    step,
    extract,
    batch_sizes={"outer.real_batch_size": common.real_batch_size},
    image_passes=num_networks * num_classes * (common.real_passes + 3 * ipc),
    forward_passes=num_networks * num_classes * common.real_passes,
    passes_in_a_row=4 * math.ceil(num_classes / common.classes_at_once),
    remarks=common.remarks,
  )
