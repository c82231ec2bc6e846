"""What a run will cost, said before it starts.

Operations are counted in the traced program (`ddjax.costs`), seconds follow from the speed of a
product on this machine and from what the backend's passes cost beside arithmetic
(`ddjax.backend`). An estimate only informs: what cannot be counted is "not known", and the run goes
on.
"""

import functools
import math
from typing import Callable, Mapping, NamedTuple, Sequence

from absl import logging
import flax.linen as nn
import jax
import numpy as np

from ddjax import backend, costs
from ddjax.config.precision import precision_of
from ddjax.fitting import protocols
from ddjax.kernels import cost
from ddjax.kernels.make import make_kernel
from ddjax.memory import budget_bytes
from ddjax.models.build import build
from ddjax.stages.curve import curve_steps
from ddjax.stages.prepare import Job
from ddjax.wording import duration

_NOT_ESTIMATED = {"privacy": "distillation of the splits", "robustness": "attacks"}
_LARGE_FLOPS = 1e7  # of one image forward; ConvNet-3 of width 128 has ten times as many
_ROWS_PER_CALL = 1000  # test images that a network takes in one pass
_COMPILATION, _CURVE = "compilation", "running curve"


class Estimate(NamedTuple):
  """The cost of a run.

  Attributes:
    flops: floating point operations, by stage; None where they are not known.
    seconds: on this machine, by stage; the stage "compilation" is what a first start pays besides.
    memory_bytes: the peak of one call and the data; None likewise.
    text: a sentence for people.
  """

  flops: dict[str, float | None]
  seconds: dict[str, float | None]
  memory_bytes: int | None
  text: str

  @property
  def total_seconds(self) -> float:
    """Of all stages that are known, compilation apart."""
    parts = (value for name, value in self.seconds.items() if name != _COMPILATION)
    return sum(value for value in parts if value is not None)


def _only_informs(fn: Callable[..., Estimate]) -> Callable[..., Estimate]:
  """The same function, which says "not known" with the reason where it fails."""

  @functools.wraps(fn)
  def guarded(*args, **kwargs) -> Estimate:
    try:
      return fn(*args, **kwargs)
    except Exception as error:  # whatever a backend, its plugin or a library raises
      reason = f"{type(error).__name__}: {error}".splitlines()[0]
      logging.warning("The cost of this run is not known (%s).", reason)
      return Estimate({}, {}, None, f"not known ({reason}).")

  return guarded


@_only_informs
def estimate(job: Job, experts: np.ndarray | None = None) -> Estimate:
  """Estimates a run: the distillation, its running curve, and the evaluators of the config.

  `experts` are [flops, seconds, 0] of what has to be trained before, see `ddjax.stages.experts`.
  Kernels by `ddjax.kernels.cost`; networks by the operations of one image.
  """
  config = job.config
  if job.distiller.image_passes:
    stages = {"distill": _matching(job)}
    if config.curve.models == "networks":
      stages[_CURVE] = _curve(job)
  else:
    stages = _kernel_stages(job) if "kernel" in config and job.num_steps else {}
  by_kernels = () if job.distiller.image_passes else tuple(stages)
  if experts is not None:
    stages = {"experts": experts} | stages
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
  return of_stages(job, stages, apart, by_kernels)


@_only_informs
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
  if config.get("full_steps") is not None:
    own = protocols.of_steps(own, config.full_steps)
  return _networks(job, job.real.info.num_train, config.full_seeds, own)


@_only_informs
def of_stages(
  job: Job,
  stages: dict[str, np.ndarray],
  apart: Sequence[str] = (),
  by_kernels: Sequence[str] = (),
) -> Estimate:
  """The sum of the stages, each [flops, seconds, bytes of one call].

  `apart` names what the run does besides, in words; `by_kernels` the stages without a network.
  """
  flops = {name: _known(one[0]) for name, one in stages.items()}
  seconds = {name: _known(one[1]) for name, one in stages.items()}
  peak = max((one[2] for one in stages.values() if math.isfinite(one[2])), default=0)
  memory = int(peak) + sum(leaf.nbytes for leaf in jax.tree.leaves(job.data))
  if not stages:
    others = ", ".join(["compilation", *apart])
    return Estimate(
      flops, seconds, memory, f"{memory / 2**30:.2g} GiB of data; no estimate of {others}."
    )
  others = [name for name, value in seconds.items() if value is None] + list(apart)
  of_networks, of_kernels = backend.traits().compile_seconds
  seconds[_COMPILATION] = sum(of_kernels if name in by_kernels else of_networks for name in stages)
  found = Estimate(flops, seconds, memory, "")
  text = f"{sum(value or 0 for value in flops.values()) / 1e12:.3g} TFLOP, "
  text += f"{memory / 2**30:.2g} GiB, about {duration(found.total_seconds)} ("
  known = {name: value for name, value in seconds.items() if value is not None}
  text += ", ".join(
    f"{name} {duration(value)}" for name, value in known.items() if name != _COMPILATION
  )
  text += f"; compilation at a first start up to {duration(seconds[_COMPILATION])} more"
  text += f"; {', '.join(others)} not counted)." if others else ")."
  return found._replace(text=text)


def joined(estimates: Mapping[str, Estimate]) -> Estimate:
  """Of several pieces of work one after another: {label: estimate}."""
  flops, seconds = {}, {}
  for label, one in estimates.items():
    flops |= {f"{name} of {label}": value for name, value in one.flops.items()}
    seconds |= {
      name if name == _COMPILATION else f"{name} of {label}": value
      for name, value in one.seconds.items()
    }
  memory = [one.memory_bytes for one in estimates.values() if one.memory_bytes is not None]
  text = " ".join(f"{label}: {one.text}" for label, one in estimates.items())
  return Estimate(flops, seconds, max(memory, default=None), text)


def _known(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def _kernel_stages(job: Job) -> dict[str, np.ndarray]:
  """{stage: [flops, seconds, bytes of one call]} of a kernel method and its evaluation."""
  config, info = job.config, job.real.info
  num_support = config.synthetic.ipc * info.num_classes
  kernel = make_kernel(config.kernel, info.image_shape, precision=precision_of(config).kernels)

  def of_pairs(num_pairs: int, with_gradient: bool = False) -> np.ndarray:
    one = cost.estimate(kernel, num_pairs, info.image_shape, with_gradient)
    seconds = one.seconds + backend.traits().step_seconds
    return np.array([one.flops, seconds, min(one.bytes, budget_bytes(config))])

  sizes = job.distiller.batch_sizes
  batch = sizes.get("outer.target_batch_size") or config.outer.target_batch_size
  if job.distiller.guarantee:  # each example goes back through the support set's own kernel
    batch *= num_support + 1
  step_pairs = (batch + num_support) * num_support * config.num_replicas
  predict_pairs = (len(job.real.test_labels) + num_support) * num_support
  num_looks = len(curve_steps(config.curve.steps, job.num_steps))
  num_sets = 2 * config.num_replicas + config.num_random_subsets
  learns_images = job.distiller.num_steps is None  # Label Solve is one pass of algebra
  step = of_pairs(step_pairs, learns_images)
  stages = {"distill": job.num_steps * step}
  stages["distill"][2] = step[2]
  if config.curve.models == "kernel":
    stages[_CURVE] = num_looks * config.num_replicas * of_pairs(predict_pairs)
    stages[_CURVE][1] += num_looks * backend.traits().look_seconds
    stages[_CURVE][2] = 0.0
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
  num_test = len(job.real.test_labels)
  num_calls = math.ceil(num_networks / backend.traits().networks_at_once)
  in_a_row = 3 * num_steps * num_calls + num_networks * math.ceil(num_test / _ROWS_PER_CALL)
  total = np.zeros(3)
  for name in config.networks:
    network = build(name, num_classes=info.num_classes, width=config.width or None)
    passes = num_networks * (3 * num_steps * batch + num_test)
    total += _passes(network, job, passes, num_networks * num_test, in_a_row)
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
  forward = num_looks * curve.num_networks * num_test
  passes = num_looks * curve.num_networks * 3 * curve.num_epochs * num_images + forward
  found = _passes(network, job, passes, forward, num_looks * 3 * curve.num_epochs)
  return found + np.array([0.0, num_looks * backend.traits().look_seconds, 0.0])


def _matching(job: Job) -> np.ndarray:
  """[flops, seconds, bytes] of a method that works by passes through a network, without curve."""
  config = job.config
  network = build(
    config.network.name,
    num_classes=job.real.info.num_classes,
    width=config.network.width or None,
    dtype=precision_of(config).networks,
  )
  num_steps, method = job.num_steps * config.num_replicas, job.distiller
  cost_of_steps = _passes(
    network,
    job,
    num_steps * method.image_passes,
    num_steps * method.forward_passes,
    job.num_steps * method.passes_in_a_row,
  )
  cost_of_steps[2] = job.distiller.step_bytes * config.num_replicas
  return cost_of_steps


def _passes(
  network: nn.Module, job: Job, passes: float, forward_passes: float, in_a_row: float
) -> np.ndarray:
  return passes_cost(network, job.real.info.image_shape, passes, forward_passes, in_a_row)


def passes_cost(
  network: nn.Module,
  image_shape: tuple[int, int, int],
  passes: float,
  forward_passes: float = 0.0,
  in_a_row: float = 0.0,
) -> np.ndarray:
  """What passes of single images through a network cost.

  Args:
    network: from `build`.
    image_shape: (h, w, c).
    passes: of one image forward, or of the same work.
    forward_passes: those of them that no gradient needs, which are faster.
    in_a_row: passes of batches, one after another, each of which is launched.
  Returns:
    [flops, seconds, 0]; NaN where they are not known.
  """
  try:
    image = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), image)
    flops, traits = costs.count(network.apply, params, image).flops, backend.traits()
    speed = traits.efficiency[flops > _LARGE_FLOPS] * cost.matmul_flops_per_second()
  except Exception as error:  # an estimate only informs
    logging.warning("The cost of a network is not known (%s: %s).", type(error).__name__, error)
    return np.full(3, np.nan)
  slow = passes - forward_passes + forward_passes / traits.forward_gain
  seconds = flops * slow / speed + in_a_row * traits.pass_seconds
  return np.array([passes * flops, seconds, 0.0])
