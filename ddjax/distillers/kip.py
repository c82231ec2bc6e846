"""Kernel Inducing Points: a support set on which kernel ridge regression predicts the real set.

Nguyen, Chen, Lee 2021, "Dataset Meta-Learning from Kernel Ridge-Regression" (arXiv 2011.00050);
Nguyen, Novak, Xiao, Lee 2021, "Dataset Distillation with Infinitely Wide Convolutional Networks"
(arXiv 2107.13034). Adam on the images, and on the labels if asked, of the loss of eq. 3 on a
class-balanced target batch that is drawn anew each step.
"""

import math
from typing import Callable, NamedTuple

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
from ddjax.kernels.ridge import KernelFn, Targets, advice, check_ridge, kernel_ridge_loss
from ddjax.training.parallel import mean_across, own_rows
from ddjax.types import (
  Array,
  DatasetInfo,
  DataSplit,
  DistilledSet,
  Distiller,
  DistillState,
  Synthetic,
)

_MOVE_STREAM = 0x6D6F76


class Parts(NamedTuple):
  """What KIP and its private form have in common.

  Attributes:
    kernel_fn: (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2].
    ridge: relative to the mean diagonal.
    optimisers: Adam on the images, and on the labels where they are learned.
    augmentation: of target examples.
    dtype: of the support set and its kernel.
    ipc: images per class.
    init_kind: how they begin.
    info: of the data set.
  """

  kernel_fn: KernelFn
  ridge: float
  optimisers: Optimisers
  augmentation: targets.TargetAugmentation
  dtype: jnp.dtype
  ipc: int
  init_kind: str
  info: DatasetInfo

  def start(self, rng: Array, data: DataSplit) -> Synthetic:
    """The support set at step 0."""
    start = synthetic.init_synthetic(
      rng, data, self.info, ipc=self.ipc, init=self.init_kind, is_centred=True
    )
    return jax.tree.map(lambda leaf: leaf.astype(self.dtype), start)

  def draw_augmentation(self, rng: Array, count: int) -> targets.Draws | None:
    """Draws for so many examples; None where nothing is augmented."""
    if not self.augmentation.is_active:
      return None
    return targets.draw(rng, count, self.info.image_shape[-1], self.augmentation)

  def take(
    self, data: DataSplit, index: Array, draws: targets.Draws | None, weights: Array
  ) -> Targets:
    """The target examples of rows i32[b] of the real set, with weights [b]."""
    options = targets.TargetAugmentation() if draws is None else self.augmentation
    images = targets.take_augmented(data, index, draws, options)
    num_classes = self.info.num_classes
    labels = jnp.eye(num_classes, dtype=self.dtype)[data.labels[index]] - 1 / num_classes
    return Targets(images.astype(self.dtype), labels, weights.astype(self.dtype))


def read_parts(config: ConfigDict, info: DatasetInfo) -> Parts:
  """Reads and checks `synthetic`, `kernel`, `ridge`, `augment`, and the rates of `outer`.

  Raises:
    ValueError: for impossible settings, naming them.
  """
  outer = config.outer
  augmentation = targets.TargetAugmentation(**config.augment)
  dtype = jnp.dtype(precision_of(config).kernels)
  synthetic.check_init(config.synthetic.init, config.synthetic.ipc)
  targets.check_augmentation(augmentation, info.image_shape)
  check_ridge(config.ridge)
  learn_labels = config.synthetic.learn_labels
  return Parts(
    kernel_fn=make_blocked_kernel(config, info.image_shape),
    ridge=config.ridge,
    optimisers=Optimisers(
      optax.adam(make_schedule(outer.learning_rate, outer)),
      optax.adam(make_schedule(outer.label_learning_rate, outer)) if learn_labels else None,
    ),
    augmentation=augmentation,
    dtype=dtype,
    ipc=config.synthetic.ipc,
    init_kind=config.synthetic.init,
    info=info,
  )


class Drawn(NamedTuple):
  """What a target batch was drawn as: its rows of the real set, and their augmentation.

  Attributes:
    index: i32[b], rows of this device.
    draws: of the augmentation, or None where nothing is augmented.
  """

  index: Array
  draws: targets.Draws | None


MoveFn = Callable[[Array, Synthetic, DataSplit, Drawn, Targets], Targets]
"""(rng, support, data, drawn, batch) -> the batch that the support set learns to predict."""


def make_kip(
  config: ConfigDict,
  info: DatasetInfo,
  axis_name: str | None = None,
  *,
  make_move: Callable[[Parts], MoveFn] | None = None,
) -> Distiller:
  """Builds KIP from its config; see `configs/kip.py` for the fields.

  Args:
    config: the whole config.
    info: of the data set.
    axis_name: of the devices.
    make_move: (parts) -> what changes a target batch before it is predicted; None for nothing.
  Raises:
    ValueError: for a batch that the classes do not divide, and other impossible settings.
  """
  batch_size, num_classes = target_batch_size(config, info), info.num_classes
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
  parts = read_parts(config, info)
  optimisers = parts.optimisers
  move = None if make_move is None else make_move(parts)

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    start = parts.start(init_rng, data)
    return DistillState(jnp.int32(0), step_rng, start, optimisers.init(start))

  def draw_targets(rng, data) -> Drawn:
    """This device's rows of the target batch of one step."""
    index_rng, augment_rng = jax.random.split(rng)
    index = draw_class_balanced(index_rng, data, batch_size // num_classes).T.reshape(-1)
    draws = parts.draw_augmentation(augment_rng, batch_size)
    return Drawn(*own_rows((index, draws), axis_name))

  def loss_fn(support: Synthetic, batch: Targets, total_weight: Array):
    return kernel_ridge_loss(parts.kernel_fn, support, batch, parts.ridge, total_weight)

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    rng = jax.random.fold_in(state.rng, state.step)
    drawn = draw_targets(rng, data)
    batch = parts.take(data, *drawn, data.mask[drawn.index])
    if move is not None:
      move_rng = jax.random.fold_in(rng, _MOVE_STREAM)
      batch = move(move_rng, state.synthetic, data, drawn, batch)
    total_weight = mean_across(jnp.sum(batch.weights), axis_name)
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, aux), grads = value_and_grad(state.synthetic, batch, total_weight)
    loss, aux, grads = mean_across((loss, aux, grads), axis_name)
    new, opt_state, norms = optimisers.update(grads, state.opt_state, state.synthetic)
    metrics = {"loss": loss, "accuracy": aux["accuracy"], **norms}
    return state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state), metrics

  sizes = {"outer.target_batch_size": batch_size}
  return Distiller(
    init, step, extract, label_kind="centred", batch_sizes=sizes, advice=advice(parts.ridge)
  )


def extract(state: DistillState) -> DistilledSet:
  """The support set, in float32."""
  images, labels = state.synthetic.images, state.synthetic.labels
  return DistilledSet(images.astype(jnp.float32), labels.astype(jnp.float32))


def target_batch_size(config: ConfigDict, info: DatasetInfo) -> int:
  """The config's, or for 0 the largest that the classes and up to 8 devices divide.

  Up to 5000, and with pooling, where a pair of images costs a thousand times as much, up to 200.
  """
  if config.outer.target_batch_size:
    return config.outer.target_batch_size
  unit = math.lcm(info.num_classes, 8)
  most = 200 if config.kernel.family in POOLED else 5000
  return min(most, info.num_train) // unit * unit or info.num_classes
