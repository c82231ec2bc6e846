"""What a run will cost, said before it starts."""

from typing import NamedTuple

from ddjax.kernels import cost
from ddjax.kernels.make import make_kernel
from ddjax.stages.distill import curve_steps
from ddjax.stages.prepare import Job
from ddjax.training.progress import duration


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


def estimate(job: Job) -> Estimate:
  """Estimates the kernel work of a run: the distillation with its curve, and the evaluation.

  Finite networks are not included; the text says so.
  """
  config, info = job.config, job.real.info
  kernel = make_kernel(config.kernel, info.image_shape, precision=config.precision)
  num_support = config.synthetic.ipc * info.num_classes
  num_test = len(job.real.test_labels)
  batch = config.outer.target_batch_size or min(5000, info.num_train)
  step_pairs = (batch + num_support) * num_support * config.num_replicas
  curve = curve_steps(config.kernel_evaluation.curve_steps, job.num_steps)
  sets = 2 * config.num_replicas + config.num_random_subsets
  predict_pairs = (num_test + num_support) * num_support
  budget = int(config.memory_budget_gb * 2**30)

  def of(num_pairs, with_gradient):
    return cost.estimate(kernel, num_pairs, info.image_shape, with_gradient)

  with_gradient = job.distiller.num_steps is None  # Label Solve learns in one pass, by algebra
  step = of(step_pairs, with_gradient)
  look = of(predict_pairs * config.num_replicas, False)
  final = of(predict_pairs * sets, False)
  flops = {
    "distill": job.num_steps * step.flops + len(curve) * look.flops,
    "evaluate kernel": final.flops,
  }
  seconds = {
    "distill": job.num_steps * step.seconds + len(curve) * look.seconds,
    "evaluate kernel": final.seconds,
  }
  memory = min(step.bytes, budget) + job.real.train_images.nbytes
  text = (
    f"{sum(flops.values()) / 1e12:.3g} TFLOP, {memory / 2**30:.2g} GiB, about "
    f"{duration(seconds['distill'])} for {job.num_steps} steps and "
    f"{duration(seconds['evaluate kernel'])} for the kernel evaluation; networks not counted."
  )
  return Estimate(flops, seconds, memory, text)
