"""What single stages of a run cost: [operations, seconds, bytes of one call], NaN where unknown.

Kernels by `ddjax.kernels.cost`; networks by the operations of one image.
"""

import functools
import math

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
from ddjax.tuning import LARGE_FLOPS

_ROWS_PER_CALL = 1000  # test images that a network takes in one pass
CURVE = "running curve"


def kernel_stages(job: Job) -> dict[str, np.ndarray]:
  """{stage: [flops, seconds, bytes of one call]} of a kernel method and its evaluation.

  The steps of a method that tells of no batch, such as a user's own, are NaN.
  """
  config, info = job.config, job.real.info
  num_support = config.synthetic.ipc * info.num_classes
  of_pairs = functools.partial(pairs_cost, job)
  sizes = job.distiller.batch_sizes
  batch = sizes.get("outer.target_batch_size") or config.outer.get("target_batch_size", math.nan)
  if job.distiller.guarantee:  # each example goes back through the support set's own kernel
    batch *= num_support + 1
  if "robust" in config:  # the adversary's steps, each a prediction and its gradient
    batch *= config.robust.num_steps + 1
  step_pairs = (batch + num_support) * num_support * config.num_replicas
  predict_pairs = (len(job.real.test_labels) + num_support) * num_support
  num_looks = len(curve_steps(config.curve.steps, job.num_steps))
  num_sets = 2 * config.num_replicas + config.num_random_subsets
  learns_images = job.distiller.num_steps is None  # Label Solve is one pass of algebra
  step = of_pairs(step_pairs, learns_images)
  stages = {"distill": job.num_steps * step}
  stages["distill"][2] = step[2]
  if config.curve.models == "kernel":
    stages[CURVE] = num_looks * config.num_replicas * of_pairs(predict_pairs)
    stages[CURVE][1] += num_looks * backend.traits().look_seconds
    stages[CURVE][2] = 0.0
  if "kernel" in config.evaluators:
    stages["evaluate kernel"] = num_sets * of_pairs(predict_pairs)
  return stages


def pairs_cost(job: Job, num_pairs: float, with_gradient: bool = False) -> np.ndarray:
  """[flops, seconds, bytes] of one call of the config's kernel on so many pairs of images."""
  config, shape = job.config, job.real.info.image_shape
  kernel = make_kernel(config.kernel, shape, precision=precision_of(config).kernels)
  one = cost.estimate(kernel, num_pairs, shape, with_gradient)
  seconds = one.seconds + backend.traits().step_seconds
  return np.array([one.flops, seconds, min(one.bytes, budget_bytes(config))])


def network_of(job: Job, name: str) -> nn.Module:
  """The network `name` as the evaluation trains it."""
  width = job.config.accuracy_evaluation.width or None
  return build(name, num_classes=job.real.info.num_classes, width=width)


def full_set(job: Job) -> np.ndarray:
  """[flops, seconds, 0] of networks on the full set."""
  config = job.config.accuracy_evaluation
  own = protocols.configure(config)
  own = own._replace(num_epochs=config.full_epochs or own.num_epochs)
  if config.get("full_steps") is not None:
    own = protocols.of_steps(own, config.full_steps)
  return networks(job, job.real.info.num_train, config.full_seeds, own)


def num_networks(job: Job) -> int:
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


def networks(
  job: Job, num_examples: int, num_networks: int, protocol: protocols.Protocol
) -> np.ndarray:
  """[flops, seconds, 0] of training and testing finite networks."""
  config = job.config.accuracy_evaluation
  batch = min(protocol.batch_size, num_examples)
  num_steps = protocols.length(protocol._replace(batch_size=batch), num_examples).num_steps
  num_test = len(job.real.test_labels)
  num_calls = math.ceil(num_networks / backend.traits().networks_at_once)
  in_a_row = 3 * num_steps * num_calls + num_networks * math.ceil(num_test / _ROWS_PER_CALL)
  total = np.zeros(3)
  for name in config.networks:
    network = network_of(job, name)
    passes = num_networks * (3 * num_steps * batch + num_test)
    total += _passes(network, job, passes, num_networks * num_test, in_a_row)
  return total


def curve(job: Job) -> np.ndarray:
  """[flops, seconds, 0] of the running curve by networks."""
  curve = job.config.curve
  num_looks = len(curve_steps(curve.steps, job.num_steps)) * job.config.num_replicas
  num_images = job.config.synthetic.ipc * job.real.info.num_classes * job.distiller.decode_factor**2
  network = network_of(job, job.config.accuracy_evaluation.networks[0])
  num_test = min(curve.num_test or len(job.real.test_labels), len(job.real.test_labels))
  forward = num_looks * curve.num_networks * num_test
  passes = num_looks * curve.num_networks * 3 * curve.num_epochs * num_images + forward
  found = _passes(network, job, passes, forward, num_looks * 3 * curve.num_epochs)
  return found + np.array([0.0, num_looks * backend.traits().look_seconds, 0.0])


def matching(job: Job) -> np.ndarray:
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
    speed = traits.efficiency[flops > LARGE_FLOPS] * cost.matmul_flops_per_second()
  except Exception as error:  # an estimate only informs
    logging.warning("The cost of a network is not known (%s: %s).", type(error).__name__, error)
    return np.full(3, np.nan)
  slow = passes - forward_passes + forward_passes / traits.forward_gain
  seconds = flops * slow / speed + in_a_row * traits.pass_seconds
  return np.array([passes * flops, seconds, 0.0])
