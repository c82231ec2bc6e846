"""Kernel Inducing Points: a support set on which kernel ridge regression predicts the real set.

Nguyen, Chen, Lee 2021, "Dataset Meta-Learning from Kernel Ridge-Regression" (arXiv 2011.00050);
Nguyen, Novak, Xiao, Lee 2021, "Dataset Distillation with Infinitely Wide Convolutional Networks"
(arXiv 2107.13034). Adam on the images, and on the labels if asked, of the loss of eq. 3 on a
class-balanced target batch that is drawn anew each step.
"""

import math

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import optax

from ddjax.augment import targets
from ddjax.config.precision import precision_of
from ddjax.data.batches import draw_class_balanced
from ddjax.distillers import synthetic
from ddjax.distillers.updates import Optimisers, make_schedule
from ddjax.kernels.architectures import POOLED
from ddjax.kernels.blocked import make_blocked_kernel
from ddjax.kernels.ridge import Targets, advice, check_ridge, kernel_ridge_loss
from ddjax.training.parallel import mean_across, own_rows
from ddjax.types import Array, DatasetInfo, DistilledSet, Distiller, DistillState, Synthetic


def make_kip(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds KIP from its config; see `configs/kip.py` for the fields.

  Raises:
    ValueError: for a batch that the classes do not divide, and other impossible settings.
  """
  outer, batch_size = config.outer, target_batch_size(config, info)
  ipc, init_kind = config.synthetic.ipc, config.synthetic.init
  learn_labels = config.synthetic.learn_labels
  num_classes = info.num_classes
  augmentation = targets.TargetAugmentation(**config.augment)
  dtype = jnp.dtype(precision_of(config).kernels)
  ridge = config.ridge
  synthetic.check_init(init_kind, ipc)
  targets.check_augmentation(augmentation, info.image_shape)
  check_ridge(ridge)
  if batch_size < 1 or batch_size % num_classes:
    raise ValueError(
      f"outer.target_batch_size={batch_size} must be a positive multiple of the {num_classes} "
      "classes: target batches are class-balanced."
    )
  if batch_size > info.num_train:
    raise ValueError(
      f"outer.target_batch_size={batch_size} is more than the {info.num_train} train examples of "
      f"{info.name}."
    )
  kernel_fn = make_blocked_kernel(config, info.image_shape)
  optimisers = Optimisers(
    optax.adam(make_schedule(outer.learning_rate, outer)),
    optax.adam(make_schedule(outer.label_learning_rate, outer)) if learn_labels else None,
  )
  identity = jnp.eye(num_classes, dtype=dtype)

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    start = synthetic.init_synthetic(init_rng, data, info, ipc=ipc, init=init_kind, is_centred=True)
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), start)
    return DistillState(jnp.int32(0), step_rng, start, optimisers.init(start))

  def draw_targets(rng, data) -> Targets:
    """This device's rows of the target batch of one step."""
    index_rng, augment_rng = jax.random.split(rng)
    index = draw_class_balanced(index_rng, data, batch_size // num_classes).T.reshape(-1)
    if not augmentation.is_active:
      options, draws = targets.TargetAugmentation(), None
    else:
      options = augmentation
      draws = targets.draw(augment_rng, batch_size, info.image_shape[-1], augmentation)
    index, draws = own_rows((index, draws), axis_name)
    images = targets.take_augmented(data, index, draws, options)
    labels = identity[data.labels[index]] - 1 / num_classes
    return Targets(images.astype(dtype), labels, data.mask[index].astype(dtype))

  def loss_fn(support: Synthetic, batch: Targets, total_weight: Array):
    return kernel_ridge_loss(kernel_fn, support, batch, ridge, total_weight)

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    batch = draw_targets(jax.random.fold_in(state.rng, state.step), data)
    total_weight = mean_across(jnp.sum(batch.weights), axis_name)
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, aux), grads = value_and_grad(state.synthetic, batch, total_weight)
    loss, aux, grads = mean_across((loss, aux, grads), axis_name)
    new, opt_state, norms = optimisers.update(grads, state.opt_state, state.synthetic)
    metrics = {"loss": loss, "accuracy": aux["accuracy"], **norms}
    return state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state), metrics

  def extract(state: DistillState) -> DistilledSet:
    images, labels = state.synthetic.images, state.synthetic.labels
    return DistilledSet(images.astype(jnp.float32), labels.astype(jnp.float32))

  sizes = {"outer.target_batch_size": batch_size}
  return Distiller(
    init, step, extract, label_kind="centred", batch_sizes=sizes, advice=advice(ridge)
  )


def target_batch_size(config: ConfigDict, info: DatasetInfo) -> int:
  """The config's, or for 0 the largest that the classes and up to 8 devices divide.

  Up to 5000, and with pooling, where a pair of images costs a thousand times as much, up to 200.
  """
  if config.outer.target_batch_size:
    return config.outer.target_batch_size
  unit = math.lcm(info.num_classes, 8)
  most = 200 if config.kernel.family in POOLED else 5000
  return min(most, info.num_train) // unit * unit or info.num_classes
