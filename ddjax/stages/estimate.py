"""What a run will cost, said before it starts."""

from typing import NamedTuple, Sequence

import flax.linen as nn
import jax
import numpy as np

from ddjax.evaluators import protocols
from ddjax.kernels import cost
from ddjax.kernels.make import make_kernel
from ddjax.memory import budget_bytes
from ddjax.models.build import build
from ddjax.stages.curve import curve_steps
from ddjax.stages.prepare import Job
from ddjax.training.progress import duration

_NOT_ESTIMATED = {"privacy": "distillation of the splits", "robustness": "attacks"}
_LARGE_FLOPS = 1e7  # of one image forward; ConvNet-3 of width 128 has ten times as many
_EFFICIENCY = {True: 0.5, False: 0.15}  # by size: share of a product's speed, two CPU cores


class Estimate(NamedTuple):
  """The cost of a run.

  Attributes:
    flops: floating point operations, by stage.
    seconds: on this machine, by stage.
    memory_bytes: the peak of one call and the data.
    text: a sentence for people.
  """

  flops: dict[str, float]
  seconds: dict[str, float]
  memory_bytes: int
  text: str


def estimate(job: Job, experts: np.ndarray | None = None) -> Estimate:
  """Estimates a run: the distillation, its running curve, and the evaluators of the config.

  `experts` are [flops, seconds, 0] of what has to be trained before, see `ddjax.stages.experts`.
  Kernels by `ddjax.kernels.cost`; networks by the compiler's count for one image.
  """
  config = job.config
  if job.distiller.image_passes:
    stages = {"distill": _matching(job)}
    if config.curve.models == "networks":
      stages["running curve"] = _curve(job)
  else:
    stages = _kernel_stages(job) if "kernel" in config and job.num_steps else {}
  if experts is not None:
    stages = {"train experts": experts} | stages
  if "accuracy" in config.evaluators:
    num_support = config.synthetic.ipc * job.real.info.num_classes * job.distiller.decode_factor**2
    protocol = protocols.configure(config.accuracy_evaluation)
    count = _num_networks(job)
    stages["evaluate accuracy"] = _networks(job, num_support, count, protocol)
    if config.accuracy_evaluation.full_set == "train":  # unless the cache has them
      stages["train on the full set"] = _full_set(job)
  if "privacy" in config.evaluators:
    stages["evaluate privacy"] = _networks_of_splits(job)
  apart = [what for name, what in _NOT_ESTIMATED.items() if name in config.evaluators]
  return of_stages(job, stages, apart)


def estimate_full(job: Job) -> Estimate:
  """Estimates training networks on the full set, and testing them."""
  return of_stages(job, {"train": _full_set(job)})


def _networks_of_splits(job: Job) -> np.ndarray:
  """[flops, seconds, 0] of the networks of shadow runs, without their distillations."""
  config, settings, real = job.config, job.config.privacy, job.real
  own = protocols.configure(config.accuracy_evaluation)
  own = own._replace(num_epochs=settings.num_epochs or own.num_epochs)
  num_support = (settings.ipc or config.synthetic.ipc) * real.info.num_classes
  pool = sum(map(len, (real.train_labels, real.validation_labels, real.test_labels)))
  num_members = round(settings.member_fraction * min(pool, settings.max_examples or pool))
  count = settings.num_splits * settings.num_networks
  whole = own._replace(num_epochs=settings.full_epochs)
  return _networks(job, num_support, 2 * count, own) + _networks(job, num_members, count, whole)


def _full_set(job: Job) -> np.ndarray:
  """[flops, seconds, 0] of networks on the full set."""
  config = job.config.accuracy_evaluation
  own = protocols.configure(config)
  own = own._replace(num_epochs=config.full_epochs or own.num_epochs)
  return _networks(job, job.real.info.num_train, config.full_seeds, own)


def of_stages(job: Job, stages: dict[str, np.ndarray], apart: Sequence[str] = ()) -> Estimate:
  """The sum of the stages, each [flops, seconds, bytes of one call].

  `apart` names what the run does besides, in words.
  """
  flops = {name: float(one[0]) for name, one in stages.items()}
  seconds = {name: float(one[1]) for name, one in stages.items()}
  peak = max((one[2] for one in stages.values()), default=0)
  memory = int(peak) + sum(leaf.nbytes for leaf in jax.tree.leaves(job.data))
  others = ", ".join(["compilation", *apart])
  text = f"{sum(flops.values()) / 1e12:.3g} TFLOP, {memory / 2**30:.2g} GiB, about "
  text += f"{duration(sum(seconds.values()))} ("
  text += ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
  text += f"; {others} apart)."
  if not stages:
    text = f"{memory / 2**30:.2g} GiB of data; no estimate of {others}."
  return Estimate(flops, seconds, memory, text)


def _kernel_stages(job: Job) -> dict[str, np.ndarray]:
  """{stage: [flops, seconds, bytes of one call]} of a kernel method and its evaluation."""
  config, info = job.config, job.real.info
  num_support = config.synthetic.ipc * info.num_classes
  kernel = make_kernel(config.kernel, info.image_shape, precision=config.precision)

  def of_pairs(num_pairs: int, with_gradient: bool = False) -> np.ndarray:
    one = cost.estimate(kernel, num_pairs, info.image_shape, with_gradient)
    return np.array([one.flops, one.seconds, min(one.bytes, budget_bytes(config))])

  batch = job.distiller.batch_sizes["outer.target_batch_size"]
  step_pairs = (batch + num_support) * num_support * config.num_replicas
  predict_pairs = (len(job.real.test_labels) + num_support) * num_support
  num_looks = len(curve_steps(config.curve.steps, job.num_steps))
  num_sets = 2 * config.num_replicas + config.num_random_subsets
  learns_images = job.distiller.num_steps is None  # Label Solve is one pass of algebra
  step = of_pairs(step_pairs, learns_images)
  looks = num_looks * config.num_replicas * of_pairs(predict_pairs)
  looks[2] = 0.0
  stages = {"distill": job.num_steps * step + looks}
  stages["distill"][2] = step[2]
  if "kernel" in config.evaluators:
    stages["evaluate kernel"] = num_sets * of_pairs(predict_pairs)
  return stages


def _num_networks(job: Job) -> int:
  """How many networks of each architecture are trained on small sets."""
  config = job.config
  evaluation = config.accuracy_evaluation
  num_sets = config.get("num_replicas", 1) * (2 if config.get("evaluate_initial") else 1)
  num_sets += len(config.coreset_baselines)
  if config.get("choose_by") == "accuracy":
    num_looks = len(curve_steps(config.curve.steps, job.num_steps))
    num_sets += config.num_replicas * (num_looks + 1)
  per_subset = config.num_random_subsets * evaluation.random_subset_seeds
  if evaluation.use_robust_scores:  # the set and the subsets once more with or without augmentation
    num_sets, per_subset = num_sets + config.get("num_replicas", 1), 2 * per_subset
  return num_sets * evaluation.num_seeds + per_subset


def _networks(
  job: Job, num_examples: int, num_networks: int, protocol: protocols.Protocol
) -> np.ndarray:
  """[flops, seconds, 0] of training and testing finite networks."""
  config, info = job.config.accuracy_evaluation, job.real.info
  batch = min(protocol.batch_size, num_examples)
  num_steps = protocols.length(protocol._replace(batch_size=batch), num_examples).num_steps
  num_passes = 3 * num_steps * batch + len(job.real.test_labels)
  total = np.zeros(3)
  for name in config.networks:
    network = build(name, num_classes=info.num_classes, width=config.width or None)
    total += _passes(network, job, num_networks * num_passes)
  return total


def _curve(job: Job) -> np.ndarray:
  """[flops, seconds, 0] of the running curve by networks."""
  curve = job.config.curve
  num_looks = len(curve_steps(curve.steps, job.num_steps)) * job.config.num_replicas
  num_images = job.config.synthetic.ipc * job.real.info.num_classes * job.distiller.decode_factor**2
  network = build(
    job.config.accuracy_evaluation.networks[0],
    num_classes=job.real.info.num_classes,
    width=job.config.accuracy_evaluation.width or None,
  )
  num_test = min(curve.num_test or len(job.real.test_labels), len(job.real.test_labels))
  passes = num_looks * curve.num_networks * (3 * curve.num_epochs * num_images + num_test)
  return _passes(network, job, passes)


def _matching(job: Job) -> np.ndarray:
  """[flops, seconds, bytes] of a method that works by passes through a network, without curve."""
  config = job.config
  network = build(
    config.network.name, num_classes=job.real.info.num_classes, width=config.network.width or None
  )
  passes = job.num_steps * config.num_replicas * job.distiller.image_passes
  cost_of_steps = _passes(network, job, passes)
  cost_of_steps[2] = job.distiller.step_bytes * config.num_replicas
  return cost_of_steps


def _passes(network: nn.Module, job: Job, num_passes: float) -> np.ndarray:
  return passes_cost(network, job.real.info.image_shape, num_passes)


def passes_cost(
  network: nn.Module, image_shape: tuple[int, int, int], num_passes: float
) -> np.ndarray:
  """[flops, seconds, 0] of so many passes of one image forward through a network."""
  image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
  params = jax.eval_shape(network.init, jax.random.key(0), image)
  forward = jax.jit(network.apply).lower(params, image).cost_analysis()["flops"]
  speed = _EFFICIENCY[forward > _LARGE_FLOPS] * cost.matmul_flops_per_second()
  return np.array([num_passes * forward, num_passes * forward / speed, 0.0])
