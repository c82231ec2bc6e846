"""A student trained for some steps on synthetic images, and how its end depends on them.

Cazenavette et al. 2022, "Dataset Distillation by Matching Training Trajectories" (arXiv
2203.11932), algorithm 1: from an expert's parameters theta_start the student takes N steps

  theta_{i+1} = theta_i - alpha grad_theta l(theta_i; X_i),

X_i a minibatch of synthetic images under differentiable augmentation, and is held against the
parameters theta_target that the expert reached on real data:

  L = ||theta_N - theta_target||^2 / ||theta_start - theta_target||^2.

The gradient of L runs back through all N steps. `plain` keeps what every step computed;
`checkpoint` keeps the parameters and the student's gradient of every step, by its policy what the
convolutions gave too, and computes the rest again, in pieces of the batch; `constant` is the form
of Cui et al. 2023, "Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory" (TESLA,
arXiv 2211.10586), which keeps nothing but leaves out a part of the gradient: see
`constant_memory_gradient`.
"""

import functools
import math
from typing import Any, Callable, NamedTuple

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Float
import optax

from ddjax.augment import siamese
from ddjax.models.convolution import CHECKPOINT_NAME
from ddjax.models.pieces import sum_over_pieces
from ddjax.types import Array

UNROLLS = ("plain", "checkpoint", "constant")
POLICIES = (
  "convolutions",
  "nothing_saveable",
  "dots_saveable",
  "dots_with_no_batch_dims_saveable",
  "everything_saveable",
)
"""What `jax.checkpoint` may keep: what convolutions gave, or as in `jax.checkpoint_policies`."""
_KEEP_CONVOLUTIONS = jax.checkpoint_policies.save_from_both_policies(
  jax.checkpoint_policies.save_only_these_names(CHECKPOINT_NAME),
  lambda primitive, *_, **__: primitive is jax.lax.conv_general_dilated_p,
)
_TINY = 1e-30  # against a division by zero


class Learned(struct.PyTreeNode):
  """What a trajectory is differentiated by.

  Attributes:
    images: f32[n h w c].
    labels: f32[n k], probabilities.
    log_rate: f32[], the logarithm of the student's learning rate alpha.
  """

  images: Array
  labels: Array
  log_rate: Array


@struct.dataclass
class StudentDraws:
  """What is drawn for N steps of a student.

  Attributes:
    index: i32[N b], the minibatch of each step; None where every step takes all images.
    weights: f32[N b], 0 for what only fills up the last minibatch of a pass.
    augmentation: `siamese.Draws`, one operation a step, its parameters for each image.
  """

  index: Array | None
  weights: Array
  augmentation: siamese.Draws


class Student(NamedTuple):
  """How a student learns.

  Attributes:
    total_loss: (params, images f32[b h w c], labels f32[b k], weights f32[b]) -> f32[], the sum.
    augmentation: of the images.
    num_steps: N.
    batch_size: b, at most n.
    num_images: n.
    image_shape: (h, w, c).
    images_at_once: images in one piece of a batch; None for all.
    unroll: a name in `UNROLLS`.
    policy: a name in `POLICIES`; of `checkpoint` and `constant`.
  """

  total_loss: Callable[[Any, Array, Array, Array], Array]
  augmentation: siamese.Augmentation
  num_steps: int
  batch_size: int
  num_images: int
  image_shape: tuple[int, int, int]
  images_at_once: int | None
  unroll: str
  policy: str = "nothing_saveable"


def draw_student(rng: Array, student: Student) -> StudentDraws:
  """Draws minibatches and augmentations of all steps.

  Minibatches follow one order of the images, without replacement; it is drawn anew when it is used
  up, and the last minibatch of an order may be smaller.

  Args:
    rng: one key; used up.
    student: how it learns.
  """
  order_rng, augment_rng = jax.random.split(rng)
  height, width, _ = student.image_shape
  n, b, num_steps = student.num_images, student.batch_size, student.num_steps
  draws = jax.vmap(
    lambda key: siamese.draw(
      key, student.augmentation, (b,), height=height, width=width, shares_op=True
    )
  )(jax.random.split(augment_rng, num_steps))
  if b == n:
    return StudentDraws(None, jnp.ones((num_steps, n), jnp.float32), draws)
  per_order = math.ceil(n / b)
  keys = jax.random.split(order_rng, math.ceil(num_steps / per_order))
  orders = jax.vmap(lambda key: jax.random.permutation(key, n))(keys)
  filled = jnp.pad(orders, ((0, 0), (0, per_order * b - n)), constant_values=-1)
  index = filled.reshape(-1, b)[:num_steps]
  return StudentDraws(jnp.maximum(index, 0), (index >= 0).astype(jnp.float32), draws)


def match_trajectory(
  student: Student, start: Any, target: Any, learned: Learned, draws: StudentDraws
) -> tuple[Float[Array, ""], Learned]:
  """The loss L of one segment of a trajectory, and its gradient.

  Args:
    student: how it learns.
    start: parameters theta_start.
    target: parameters theta_target, of the same tree.
    learned: the synthetic set and the learning rate.
    draws: from `draw_student`.
  Returns:
    L, and dL of every leaf of `learned`.
  """
  if student.unroll == "constant":
    return constant_memory_gradient(student, start, target, learned, draws)

  def loss(learned):
    end = train_student(student, start, learned, draws)
    return _squared(end, target) / jnp.maximum(_squared(start, target), _TINY)

  return jax.value_and_grad(loss)(learned)


def train_student(student: Student, start: Any, learned: Learned, draws: StudentDraws) -> Any:
  """theta_N, the parameters after all steps; differentiable by `learned`."""
  gradient_of = _gradient_of_step(student)

  def step(params, draw):
    return _descend(params, gradient_of(params, learned, draw), learned.log_rate), None

  return jax.lax.scan(step, start, draws)[0]


def kept_bytes(student: Student, params: Any, num_classes: int) -> int:
  """What one segment keeps in memory of all steps, until the gradient has run back through them.

  Args:
    student: how it learns.
    params: a tree like its parameters; shapes are enough.
    num_classes: k.
  """
  if student.unroll == "constant":
    return 0
  gradient_of, n = _gradient_of_step(student), student.num_images

  def residuals(params, learned, rng):
    draw = jax.tree.map(lambda leaf: leaf[0], draw_student(rng, student))
    return jax.vjp(lambda *args: gradient_of(*args, draw), params, learned)[1]

  images, labels = jnp.zeros((n, *student.image_shape)), jnp.zeros((n, num_classes))
  kept = jax.eval_shape(
    residuals, params, Learned(images, labels, jnp.float32(0)), jax.random.key(0)
  )
  return student.num_steps * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def constant_memory_gradient(
  student: Student, start: Any, target: Any, learned: Learned, draws: StudentDraws
) -> tuple[Float[Array, ""], Learned]:
  r"""L and the part of its gradient that needs no step but the present one (TESLA, eqs. 5 to 8).

  With r = theta_N - theta_target and D = ||theta_start - theta_target||^2,

    dL/dX_i   ~ -(2 alpha / D) d/dX_i <grad_theta l(theta_i; X_i), r>,
    dL/dalpha ~ -(2 / D) sum_i <grad_theta l(theta_i; X_i), r>,

  theta_i and r held constant. What is left out is how an image changes, through the parameters
  after its step, the gradients of later steps; so it is exact for N = 1 and an approximation above.
  The released code lacks the factor 2 of the image gradient; here it is present.

  Args, returns: as `match_trajectory`.
  """

  end = train_student(student, start, learned, draws)
  residual = jax.tree.map(jnp.subtract, end, target)
  scale = 2 / jnp.maximum(_squared(start, target), _TINY)
  rate = jnp.exp(learned.log_rate)

  def step_again(carry, draw):
    params, total = carry

    def projected(images, labels):
      seen = learned.replace(images=images, labels=labels)
      gradient = _student_gradient(student, params, seen, draw)
      return optax.tree.vdot(gradient, residual), gradient

    (value, gradient), (images, labels) = jax.value_and_grad(projected, (0, 1), has_aux=True)(
      learned.images, learned.labels
    )
    part = Learned(images, labels, value)
    return (
      _descend(params, gradient, learned.log_rate),
      jax.tree.map(jnp.add, total, part),
    ), None

  zero = jax.tree.map(jnp.zeros_like, learned)
  (_, total), _ = jax.lax.scan(step_again, (start, zero), draws)
  # d/d log alpha = alpha d/d alpha, so that every leaf has the same factor
  return 0.5 * scale * _squared(end, target), jax.tree.map(lambda leaf: -scale * rate * leaf, total)


def _gradient_of_step(student: Student) -> Callable[..., Any]:
  """`_student_gradient` with what it keeps by the student's unroll."""
  gradient_of = functools.partial(_student_gradient, student)
  if student.unroll == "checkpoint":
    return jax.checkpoint(gradient_of, policy=_policy(student), prevent_cse=False)
  return gradient_of


def _minibatch(student: Student, learned: Learned, draw: StudentDraws) -> tuple[Array, Array]:
  """(augmented images f32[b h w c], labels f32[b k]) of one step."""
  images, labels = learned.images, learned.labels
  if draw.index is not None:
    images, labels = images[draw.index], labels[draw.index]
  if student.augmentation.ops:
    images = siamese.apply(images, draw.augmentation, student.augmentation)
  return images, labels


def _student_gradient(student: Student, params: Any, learned: Learned, draw: StudentDraws) -> Any:
  """Gradient, by the parameters, of the mean loss of one step's minibatch."""
  images, labels = _minibatch(student, learned, draw)
  num_pieces = math.ceil(len(images) / (student.images_at_once or len(images)))
  gradient = jax.grad(student.total_loss)
  if num_pieces > 1 and student.unroll != "plain":  # one piece's activations at a time
    gradient = jax.checkpoint(gradient, policy=_policy(student))
  operands = images, labels, draw.weights
  total = sum_over_pieces(functools.partial(gradient, params), operands, num_pieces)
  count = draw.weights.sum()
  return jax.tree.map(lambda leaf: leaf / count, total)


def _policy(student: Student) -> Callable[..., Any]:
  """What `jax.checkpoint` may keep."""
  if student.policy == "convolutions":
    return _KEEP_CONVOLUTIONS
  return getattr(jax.checkpoint_policies, student.policy)


def _descend(params: Any, gradient: Any, log_rate: Array) -> Any:
  rate = jnp.exp(log_rate)
  return jax.tree.map(lambda leaf, slope: leaf - rate * slope, params, gradient)


def _squared(a: Any, b: Any) -> Float[Array, ""]:
  """Squared Euclidean distance of two trees."""
  return optax.tree.norm(jax.tree.map(jnp.subtract, a, b), squared=True)
