"""MTT: images on which a student follows the path that experts took on real data.

Cazenavette et al. 2022, "Dataset Distillation by Matching Training Trajectories" (arXiv
2203.11932). Options of later work: the gradient of constant memory (Cui et al. 2023, TESLA, arXiv
2211.10586), a range of start epochs that grows and an exponential average of the images (Guo et al.
2024, DATM, arXiv 2310.05773, and its released code), and experts in flat minima (Du et al. 2023,
FTD, arXiv 2211.11004; see `ddjax.fitting.sharpness`). DATM as a whole (`configs/datm.py`) also
begins with images that an expert classifies rightly and with the experts' logits as labels
(`ddjax.stages.expert_start`), and leaves out steps of a high loss.

The student's learning rate is learned as its logarithm, so it cannot become negative. Ours: a
gradient that is not a number counts as zero, an update changes the rate by a factor of two at most,
momentum included, and the rate stays within a factor of a thousand of where it began.
"""

import math
from typing import Any

import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax

from ddjax.augment import siamese
from ddjax.distillers import settings, synthetic, unroll
from ddjax.distillers.unroll import Learned, Student
from ddjax.distillers.updates import Optimisers
from ddjax.memory import budget_bytes
from ddjax.models.pieces import best_images_at_once, map_each
from ddjax.training.parallel import mean_across, own_rows
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
from ddjax.wording import nearest

INITS = (*settings.INITS, "experts")
_MOST_CHANGE = math.log(2)  # of the logarithm of the student's rate in one update
_RANGE = math.log(1000)  # of that logarithm, to both sides of where it begins


def make_mtt(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds MTT or DATM from its config; see `configs/mtt.py` and `configs/datm.py` for the fields.

  A step takes `num_segments` pieces of expert trajectories from the host and averages the gradients
  of their losses.

  Raises:
    ValueError: for impossible settings.
  """
  outer, ipc = config.outer, config.synthetic.ipc
  of_experts = config.synthetic.init == "experts"
  settings.check_init(config.synthetic, INITS)
  network = settings.build_network(config, info)
  optimisers = _label_optimiser(config, settings.make_optimisers(config))
  threshold = _check_datm(config)
  if outer.rate_learning_rate:
    optimisers = optimisers._replace(log_learning_rate=rate_optimiser(outer))
  needs = _check_trajectories(config)
  student, like, statistics = _make_student(config, info, network)
  if of_experts and statistics:
    raise ValueError(
      f"synthetic.init='experts' with network.name={config.network.name!r}: what experts say of an "
      "image needs statistics of batch norm, which are not kept with them."
    )
  _, unravel = ravel_pytree(like)
  learn_labels = config.synthetic.learn_labels
  decay = outer.image_ema_decay
  first_log_rate = math.log(outer.student_learning_rate)

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    if of_experts and data.start_labels is not None:
      start = Synthetic(data.start, data.start_labels)
    else:  # also before the experts are there, for the shapes
      kind = "real" if of_experts else config.synthetic.init
      start = synthetic.init_synthetic(init_rng, data, info, ipc=ipc, init=kind, is_centred=False)
      if learn_labels:
        start = start.replace(labels=synthetic.as_logits(start.labels))
    start = start.replace(log_learning_rate=jnp.float32(first_log_rate))
    average = start.images if decay else None
    return DistillState(jnp.int32(0), step_rng, start, optimisers.init(start), average)

  def probabilities(labels: Array) -> Array:
    return jax.nn.softmax(labels) if learn_labels else labels

  def of_segment(rng, piece, learned: Learned):
    draws = unroll.draw_student(rng, student)
    start, target = unravel(piece["start"]), unravel(piece["target"])
    return unroll.match_trajectory(student, start, target, learned, draws)

  def step(state: DistillState, data, shard):
    del data  # real examples come in through the experts only
    rng = jax.random.fold_in(state.rng, state.step)
    keys = own_rows(jax.random.split(rng, outer.num_segments), axis_name)
    current = state.synthetic
    labels, labels_back = jax.vjp(probabilities, current.labels)
    learned = Learned(current.images, labels, current.log_learning_rate)
    losses, gradients = map_each(lambda key, piece: of_segment(key, piece, learned), keys, shard)
    loss, gradient = mean_across(
      jax.tree.map(lambda leaf: leaf.mean(axis=0), (losses, gradients)), axis_name
    )
    gradients = current.replace(
      images=gradient.images,
      labels=labels_back(gradient.labels)[0],
      log_learning_rate=gradient.log_rate,
    )
    new, opt_state, metrics = optimisers.update(gradients, state.opt_state, current)
    bounds = first_log_rate - _RANGE, first_log_rate + _RANGE
    new = new.replace(log_learning_rate=jnp.clip(new.log_learning_rate, *bounds))
    average = state.extra
    if decay:
      average = decay * average + (1 - decay) * new.images
    if threshold:  # a step of a higher loss changes nothing
      is_kept = loss <= threshold
      new, opt_state, average = jax.tree.map(
        lambda changed, kept: jnp.where(is_kept, changed, kept),
        (new, opt_state, average),
        (current, state.opt_state, state.extra),
      )
      metrics["image_change"] *= is_kept
      metrics["left_out"] = 1.0 - is_kept
    log_rate: Any = new.log_learning_rate
    metrics = {"loss": loss, "learning_rate": jnp.exp(log_rate), **metrics}
    state = state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state, extra=average)
    return state, metrics

  def extract(state: DistillState) -> DistilledSet:
    images = state.extra if decay else state.synthetic.images
    rate = jnp.exp(state.synthetic.log_learning_rate)
    return DistilledSet(images, probabilities(state.synthetic.labels), learning_rate=rate)

  def batch_at(trajectories: Trajectories, seed: np.ndarray, step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([*seed.tolist(), step])
    experts = rng.integers(0, config.experts.num_experts, outer.num_segments)
    end = start_epochs_end(outer, step)
    epochs = rng.integers(outer.min_start_epoch, end, outer.num_segments)
    pieces = []
    for expert, epoch in zip(experts.tolist(), epochs.tolist()):
      ends = [trajectories.read(expert, t) for t in (epoch, epoch + outer.expert_epochs)]
      if np.array_equal(ends[0], ends[1]):
        raise ValueError(
          f"Expert {expert} is the same after {epoch} and {epoch + outer.expert_epochs} epochs: "
          "there is no trajectory to match."
        )
      pieces.append(ends)
    start, target = map(np.stack, zip(*pieces))
    return {"start": start, "target": target}

  keeps = {"plain": "everything", "constant": "nothing"}.get(student.unroll, student.policy)
  kept_bytes = unroll.kept_bytes(student, like, info.num_classes)
  keeps = keeps.removesuffix("_saveable")
  per_step = {"everything": 9, "convolutions": 10}.get(keeps, 12)  # forward passes, of second order
  return Distiller(
    init,
    step,
    extract,
    batch_at=batch_at,
    experts=needs,
    start_epoch=_start_epoch(config) if of_experts else None,
    label_kind="probabilities" if learn_labels else "one_hot",
    batch_sizes={"outer.num_segments": outer.num_segments},
    step_bytes=outer.num_segments * kept_bytes,
    image_passes=outer.num_segments * student.num_steps * student.batch_size * per_step,
    passes_in_a_row=4 * student.num_steps,  # forward, back, and both once more in reverse
    remarks=(
      f"{student.num_steps} student steps on {student.batch_size} of {student.num_images} images, "
      f"{outer.expert_epochs} expert epochs, gradient by {student.unroll}, which keeps {keeps}: "
      f"{kept_bytes / 2**30:.2g} GiB a segment.",
    ),
  )


def start_epochs_end(outer: ConfigDict, step: int) -> int:
  """One more than the last start epoch that is drawn at a step.

  `max_start_epoch`; or, where `growth_steps` are given, on a straight line from
  `first_max_start_epoch` up to it (Guo et al. 2024).
  """
  if not outer.growth_steps:
    return outer.max_start_epoch
  share = min(step / outer.growth_steps, 1.0)
  first = outer.first_max_start_epoch
  return first + math.floor(share * (outer.max_start_epoch - first))


def _start_epoch(config: ConfigDict) -> int:
  """The epoch of the experts that choose the images and give the labels to begin with.

  0 stands for the last that the trajectories need.
  """
  outer = config.outer
  own = config.synthetic.get("start_epoch", 0)
  return own or outer.max_start_epoch + outer.expert_epochs - 1


def _check_datm(config: ConfigDict) -> float:
  """The loss above which a step changes nothing, 0 for none; ValueError for DATM's own fields."""
  threshold, learns = config.outer.get("loss_threshold", 0.0), config.synthetic.learn_labels
  if threshold < 0:
    raise ValueError(f"outer.loss_threshold={threshold} must not be negative.")
  if config.synthetic.get("start_epoch", 0) < 0:
    raise ValueError(f"synthetic.start_epoch={config.synthetic.start_epoch} must not be negative.")
  if config.synthetic.init == "experts" and not learns:
    raise ValueError("synthetic.init='experts' gives labels, and needs learn_labels=True.")
  return threshold


def _label_optimiser(config: ConfigDict, optimisers: Optimisers) -> Optimisers:
  """The same with labels whose momentum is their own, where the config has one."""
  momentum = config.outer.get("label_momentum")
  if momentum is None or optimisers.labels is None:
    return optimisers
  if not 0 <= momentum < 1:
    raise ValueError(f"outer.label_momentum={momentum} must lie in [0, 1).")
  own = optax.sgd(config.outer.label_learning_rate, momentum=momentum)
  return optimisers._replace(labels=own)


def _check_trajectories(config: ConfigDict) -> ExpertNeeds:
  """What the experts must have; ValueError for impossible lengths, naming them."""
  outer, experts = config.outer, config.experts
  names = ("student_learning_rate", "student_steps", "expert_epochs", "num_segments")
  settings.check_positive(outer, *names, "max_start_epoch")
  if outer.rate_learning_rate < 0:
    raise ValueError(f"outer.rate_learning_rate={outer.rate_learning_rate} must not be negative.")
  if not 0 <= outer.image_ema_decay < 1:
    raise ValueError(f"outer.image_ema_decay={outer.image_ema_decay} must lie in [0, 1).")
  if outer.growth_steps < 0:
    raise ValueError(f"outer.growth_steps={outer.growth_steps} must not be negative.")
  first = outer.first_max_start_epoch if outer.growth_steps else outer.max_start_epoch
  if not 0 <= outer.min_start_epoch < first <= outer.max_start_epoch:
    growing = f"outer.first_max_start_epoch={first}, and later " if outer.growth_steps else ""
    raise ValueError(
      f"Start epochs run from outer.min_start_epoch={outer.min_start_epoch} to below {growing}"
      f"outer.max_start_epoch={outer.max_start_epoch}: there must be one in between."
    )
  if experts.num_experts < 1:
    raise ValueError(f"experts.num_experts={experts.num_experts} must be at least 1.")
  num_epochs = outer.max_start_epoch + outer.expert_epochs - 1
  if experts.num_epochs and experts.num_epochs < num_epochs:
    raise ValueError(
      f"experts.num_epochs={experts.num_epochs}, but start epochs below {outer.max_start_epoch} "
      f"and outer.expert_epochs={outer.expert_epochs} need {num_epochs}."
    )
  if config.synthetic.init == "experts":
    num_epochs = max(num_epochs, _start_epoch(config))
    if experts.num_epochs and experts.num_epochs < num_epochs:
      raise ValueError(
        f"experts.num_epochs={experts.num_epochs}, but synthetic.start_epoch={num_epochs} is to be "
        "read."
      )
  return ExpertNeeds(experts.num_experts, experts.num_epochs or num_epochs)


def rate_optimiser(outer: ConfigDict) -> optax.GradientTransformation:
  """SGD with momentum on the logarithm of the student's rate.

  `rate_learning_rate` is the published rate, of alpha itself. To first order an update of log alpha
  by the rate lr / alpha_0^2 changes alpha as one of alpha by lr does.
  """
  rate = outer.rate_learning_rate / outer.student_learning_rate**2
  return optax.chain(
    optax.zero_nans(),
    optax.scale(-rate),
    optax.clip((1 - outer.momentum) * _MOST_CHANGE),  # before the momentum, which sums them up
    optax.trace(decay=outer.momentum),
  )


def _make_student(config: ConfigDict, info: DatasetInfo, network) -> tuple[Student, Any, Any]:
  """(how the student learns, trees of zeros like its parameters and its statistics).

  Raises:
    ValueError: for an unknown unroll or policy, or an impossible minibatch.
  """
  outer, num_images = config.outer, info.num_classes * config.synthetic.ipc
  if config.unroll not in unroll.UNROLLS:
    raise ValueError(f"Unknown unroll={config.unroll!r}. {nearest(config.unroll, unroll.UNROLLS)}")
  if config.checkpoint_policy and config.unroll == "plain":
    raise ValueError(
      f"checkpoint_policy={config.checkpoint_policy!r} has no use with unroll=plain."
    )
  if config.checkpoint_policy and config.checkpoint_policy not in unroll.POLICIES:
    known = nearest(config.checkpoint_policy, unroll.POLICIES)
    raise ValueError(f"Unknown checkpoint_policy={config.checkpoint_policy!r}. {known}")
  batch_size = outer.student_batch_size or num_images
  if not 0 < batch_size <= num_images:
    raise ValueError(
      f"outer.student_batch_size={batch_size} must lie between 1 and the {num_images} images, or "
      "be 0 for all."
    )
  image = jax.ShapeDtypeStruct((1, *info.image_shape), jnp.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), image)
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  statistics = {name: leaf for name, leaf in zeros.items() if name != "params"}  # never looked at

  def total_loss(params, images, labels, weights):
    logits, _ = network.apply(
      {"params": params, **statistics},
      images,
      is_training=True,
      mask=weights > 0,
      mutable=["batch_stats"],
    )
    return jnp.sum(weights * optax.softmax_cross_entropy(logits, labels))

  student = Student(
    total_loss=total_loss,
    augmentation=siamese.parse(config.augmentation),
    num_steps=outer.student_steps,
    batch_size=batch_size,
    num_images=num_images,
    image_shape=info.image_shape,
    images_at_once=None if statistics else best_images_at_once(network, info.image_shape),
    unroll=config.unroll,
    policy=config.checkpoint_policy or "convolutions",
  )
  if not config.checkpoint_policy:
    segments = outer.num_segments * config.num_replicas  # at most; devices share them
    needed = segments * unroll.kept_bytes(student, zeros["params"], info.num_classes)
    if needed > budget_bytes(config):
      student = student._replace(policy="nothing_saveable")
  return student, zeros["params"], statistics
