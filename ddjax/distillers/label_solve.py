"""Label Solve: real images with the labels that let kernel ridge regression fit the train set best.

Nguyen, Chen, Lee 2021 (arXiv 2011.00050), section 3.2. The images stay real; the labels are the
least-squares solution of A y = y_t over the whole train set, A = K_ts (K_ss + ridge)^-1.

One step takes one block of the train set. What is kept is the triangular factor of a QR
decomposition of [A y_t], grown block by block (tall-skinny QR), so that float32 is enough where
the normal equations would square the condition number.
"""

import math

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.config.precision import precision_of
from ddjax.data.batches import take
from ddjax.distillers import synthetic
from ddjax.kernels.blocked import make_blocked_kernel
from ddjax.kernels.ridge import advice, check_ridge, predict
from ddjax.training.parallel import gather_across, own_rows
from ddjax.types import Array, DatasetInfo, DistilledSet, Distiller, DistillState, Synthetic


def make_label_solve(
  config: ConfigDict, info: DatasetInfo, axis_name: str | None = None
) -> Distiller:
  """Builds Label Solve from its config; see `configs/label_solve.py` for the fields.

  Its length is one pass over the train set in blocks of `outer.target_batch_size` rows.

  Raises:
    ValueError: for impossible settings.
  """
  ipc, init_kind = config.synthetic.ipc, config.synthetic.init
  num_classes, num_train = info.num_classes, info.num_train
  block_size = config.outer.target_batch_size
  num_support = ipc * num_classes
  dtype = jnp.dtype(precision_of(config).kernels)
  ridge = config.ridge
  synthetic.check_init(init_kind, ipc)
  check_ridge(ridge)
  if block_size < 1:
    raise ValueError(f"outer.target_batch_size={block_size} must be at least 1.")
  kernel_fn = make_blocked_kernel(config, info.image_shape)
  width = num_support + num_classes

  def init(rng, data) -> DistillState:
    init_rng, step_rng = jax.random.split(rng)
    start = synthetic.init_synthetic(init_rng, data, info, ipc=ipc, init=init_kind, is_centred=True)
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), start)
    extra = {"factor": jnp.zeros((width, width), dtype), "num_rows": jnp.zeros((), dtype)}
    return DistillState(jnp.int32(0), step_rng, start, None, extra)

  def step(state: DistillState, data, shard):
    del shard
    rows = state.step * block_size + jnp.arange(block_size)
    rows = own_rows(rows, axis_name)
    index = jnp.minimum(rows, num_train - 1)
    weights = (data.mask[index] & (rows < num_train)).astype(dtype)
    images = take(data, index).astype(dtype)
    labels = jax.nn.one_hot(data.labels[index], num_classes, dtype=dtype) - 1 / num_classes
    design = predict(kernel_fn, _identity_labels(state.synthetic), images, ridge)
    with jax.default_matmul_precision("highest"):
      own = _factor(jnp.concatenate([design, labels], axis=1) * weights[:, None], width)
      parts = gather_across((own, jnp.sum(weights)), axis_name)
      stacked = jnp.concatenate([state.extra["factor"], parts[0].reshape(-1, width)])
      factor = _factor(stacked, width)
    num_rows = state.extra["num_rows"] + jnp.sum(parts[1])
    residual = jnp.sum(factor[num_support:, num_support:] ** 2)
    metrics = {"loss": 0.5 * residual / (jnp.maximum(num_rows, 1.0) * num_classes)}
    extra = {"factor": factor, "num_rows": num_rows}
    return state.replace(step=state.step + 1, extra=extra), metrics

  def extract(state: DistillState) -> DistilledSet:
    factor = state.extra["factor"]
    with jax.default_matmul_precision("highest"):
      solved = jnp.linalg.lstsq(
        factor[:num_support, :num_support], factor[:num_support, num_support:]
      )
    labels = jnp.where(state.step > 0, solved[0], state.synthetic.labels)
    return DistilledSet(state.synthetic.images.astype(jnp.float32), labels.astype(jnp.float32))

  num_steps = math.ceil(num_train / block_size)
  sizes = {"outer.target_batch_size": block_size}
  return Distiller(
    init,
    step,
    extract,
    label_kind="centred",
    batch_sizes=sizes,
    num_steps=num_steps,
    advice=advice(ridge),
  )


def _identity_labels(support: Synthetic) -> Synthetic:
  """The support set with the identity for labels: its prediction is A itself."""
  return support.replace(labels=jnp.eye(support.images.shape[0], dtype=support.images.dtype))


def _factor(rows: Array, width: int) -> Array:
  """Triangular factor f[width width] of the QR decomposition of rows f[q width], any q."""
  missing = max(width - rows.shape[0], 0)
  return jnp.linalg.qr(jnp.pad(rows, ((0, missing), (0, 0))), mode="r")
