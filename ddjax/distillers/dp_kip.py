"""DP-KIP: Kernel Inducing Points with a guarantee of differential privacy for every real example.

Vinaroz, Park 2023, "Differentially Private Kernel Inducing Points using features from ScatterNets
(DP-KIP-ScatterNet) for Privacy Preserving Data Distillation" (arXiv 2301.13389): DP-SGD (Abadi et
al. 2016, arXiv 1607.00133) on the loss of KIP. The loss is a sum over target examples. The gradient
of each one's term with respect to the support set, images and learned labels together, is clipped
to a norm of C; the sum over a Poisson sample gets Gaussian noise and is divided by the expected
size of the sample, a public number.

Where we differ: batches are Poisson samples, which is what the accounting is of, and not balanced
over the classes. A step has no loss among its metrics, since that is of real examples without
noise.

Kernels are not those of neural-tangents: its gradient of an image's kernel with itself hangs on an
equality of floats, which some compilations of the vmapped gradients here lose, and is then off by
factors of thousands.
"""

import math

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.config.precision import precision_of
from ddjax.distillers.kip import Parts, Targets, extract, read_parts
from ddjax.kernels import cost
from ddjax.kernels.make import make_kernel
from ddjax.kernels.ridge import advice, coefficients
from ddjax.memory import budget_bytes
from ddjax.models.pieces import sum_over_pieces
from ddjax.privacy.guarantee import read_guarantee, record
from ddjax.privacy.mechanism import add_noise, clipped_sum, draw_sample, noise_key, step_keys
from ddjax.training.parallel import own_filled_rows, sum_across
from ddjax.tuning import SUPPORT_COPIES
from ddjax.types import DatasetInfo, Distiller, DistillState, Synthetic

_COVERED = (
  "an example enters an update through the gradient of its term of the loss, which is clipped."
)


def make_dp_kip(config: ConfigDict, info: DatasetInfo, axis_name: str | None = None) -> Distiller:
  """Builds DP-KIP from its config; see `configs/dp_kip.py` for the fields.

  Raises:
    ValueError: for impossible settings, or such as would break the guarantee.
  """
  kernel = config.kernel
  is_stax = kernel.engine == "auto" and kernel.family in ("fc", "conv")
  if is_stax or kernel.engine == "neural_tangents":
    raise ValueError(
      f"kernel.engine={kernel.engine!r}: neural-tangents' gradients of single examples can be "
      "wrong; DP-KIP takes 'closed_form', or for networks with pooling 'auto' or 'pooled'."
    )
  expected = config.outer.target_batch_size
  guarantee = read_guarantee(config, info, expected, "outer.target_batch_size")
  parts = read_parts(config, info)
  at_once = _examples_at_once(config, info)

  def init(rng, data) -> DistillState:
    init_rng, step_rng, private_rng = jax.random.split(rng, 3)
    start = parts.start(init_rng, data)
    key = noise_key(private_rng, guarantee.noise_seed)
    return DistillState(jnp.int32(0), step_rng, start, parts.optimisers.init(start), key)

  def draw_targets(keys, data) -> Targets:
    """This device's rows of the target batch of one step."""
    sample = draw_sample(keys.sample, data.mask, guarantee.sampling_rate, guarantee.capacity)
    draws = parts.draw_augmentation(keys.augment, len(data.labels))  # each example has its own
    draws = jax.tree.map(lambda leaf: leaf[sample.index], draws)
    index, weights, draws = own_filled_rows((sample.index, sample.weights, draws), axis_name)
    return parts.take(data, index, draws, weights)

  def step(state: DistillState, data, shard):
    del shard  # the rows are this device's by its place on the axis
    keys = step_keys(state.extra, state.step)
    batch = draw_targets(keys, data)
    total = sum_of_gradients(parts, state.synthetic, batch, guarantee.clip_norm, at_once)
    total = sum_across(total, axis_name)
    noised = add_noise(keys.noise, total, guarantee.noise_scale)
    gradients = jax.tree.map(lambda leaf: leaf / guarantee.batch_size, noised)
    new, opt_state, metrics = parts.optimisers.update(gradients, state.opt_state, state.synthetic)
    return state.replace(step=state.step + 1, synthetic=new, opt_state=opt_state), metrics

  return Distiller(
    init,
    step,
    extract,
    label_kind="centred",
    advice=advice(parts.ridge),
    guarantee=record(guarantee, _COVERED),
    remarks=(guarantee.in_words(),),
  )


def sum_of_gradients(
  parts: Parts, support: Synthetic, batch: Targets, clip_norm: float, at_once: int
) -> Synthetic:
  """The sum over target examples of the clipped gradients of their terms of the loss.

  The term of an example is half its mean squared error over classes, as in
  `kernel_ridge_loss`. What the support set costs alone, its kernel and the solve, is computed once;
  each example pulls its own row back through it.

  Args:
    parts: of KIP.
    support: images f[n h w c] and labels f[n k].
    batch: target examples, with weights 0 or 1.
    clip_norm: C, of an example's gradient with respect to all that is learned.
    at_once: examples in one piece.
  Returns:
    tree like `support`; labels are zero where they are not learned.
  """
  learns_labels = parts.optimisers.labels is not None

  def solved_of(images, labels):
    return coefficients(parts.kernel_fn, images, labels, parts.ridge)

  solved, pull_back = jax.vjp(solved_of, support.images, support.labels)

  def gradient_of(image, label):
    """Of one example, with respect to images and labels."""

    def term(images, solved):
      with jax.default_matmul_precision("highest"):
        prediction = (parts.kernel_fn(image[None], images) @ solved)[0]
      return 0.5 * jnp.mean((prediction - label) ** 2)

    of_images, of_solved = jax.grad(term, (0, 1))(support.images, solved)
    through_solve, of_labels = pull_back(of_solved)
    images = of_images + through_solve
    return Synthetic(images, of_labels if learns_labels else jnp.zeros_like(of_labels))

  def of_piece(images, labels, weights):
    return clipped_sum(jax.vmap(gradient_of)(images, labels), weights, clip_norm)

  num_pieces = math.ceil(len(batch.weights) / at_once)
  return sum_over_pieces(of_piece, (batch.images, batch.labels, batch.weights), num_pieces)


def _examples_at_once(config: ConfigDict, info: DatasetInfo) -> int:
  """Gradients of single examples that the memory budget holds together."""
  kernel = make_kernel(config.kernel, info.image_shape, precision=config.precision)
  num_support = config.synthetic.ipc * info.num_classes
  itemsize = jnp.dtype(precision_of(config).kernels).itemsize
  bytes_of_one = SUPPORT_COPIES * itemsize * num_support * math.prod(info.image_shape)
  bytes_of_one += cost.memory(kernel, info.image_shape).per_pair * num_support * (num_support + 1)
  return max(1, budget_bytes(config) // max(config.num_replicas, 1) // bytes_of_one)
