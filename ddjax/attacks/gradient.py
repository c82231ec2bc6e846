"""FGSM (Goodfellow, Shlens, Szegedy 2015) and PGD (Madry et al. 2018, arXiv 1706.06083)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from ddjax.attacks import norms, objectives, search
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.types import Array


def fgsm(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array | None = None,
  *,
  epsilon: float | Array,
  norm: str = "linf",
) -> AttackResult:
  """One step of size epsilon along the gradient of the cross-entropy.

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k].
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: not used.
    epsilon: size of the perturbation, in pixels; may be traced.
    norm: linf or l2.
  Raises:
    ValueError: for an unknown norm.
  """
  rng = jax.random.key(0) if rng is None else rng
  return ascend(
    logits_fn, pixels, labels, rng, epsilon=epsilon, norm=norm, step_size=epsilon, num_steps=1,
    num_restarts=1, start_radius=0.0,
  )  # fmt: skip


def pgd(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array,
  *,
  epsilon: float | Array,
  norm: str = "linf",
  num_steps: int | Array = 20,
  relative_step: float | Array = 0.25,
  num_restarts: int | Array = 1,
) -> AttackResult:
  """Projected gradient ascent on the cross-entropy from random points of the ball.

  Every point on the way is tried, not the last one alone; an image fooled by one start is left
  alone by the next.

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k].
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: of the starts.
    epsilon: radius of the ball, in pixels; may be traced, as the counts and the step may.
    norm: linf or l2.
    num_steps: gradients from each start.
    relative_step: size of a step over epsilon; Madry et al. took 2 / 8 on CIFAR-10.
    num_restarts: random starts.
  Raises:
    ValueError: for an unknown norm.
  """
  return ascend(
    logits_fn, pixels, labels, rng, epsilon=epsilon, norm=norm, step_size=relative_step * epsilon,
    num_steps=num_steps, num_restarts=num_restarts, start_radius=epsilon,
  )  # fmt: skip


def ascend(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array,
  *,
  epsilon: float | Array,
  norm: str,
  step_size: float | Array,
  num_steps: int | Array,
  num_restarts: int | Array,
  start_radius: float | Array,
) -> AttackResult:
  """What FGSM and PGD are cases of; all but the norm may be traced, so one program serves both.

  Args:
    logits_fn: as in `pgd`.
    pixels: as in `pgd`.
    labels: as in `pgd`.
    rng: of the starts.
    epsilon: radius of the ball, in pixels.
    norm: linf or l2.
    step_size: in pixels.
    num_steps: gradients from each start.
    num_restarts: starts.
    start_radius: of the ball that starts are drawn in; 0 begins at the image.
  """
  ball = norms.find_norm(norm)

  def step(_, state):
    points, result = state
    _, gradients, logits = search.values_and_gradients(
      logits_fn, objectives.cross_entropy, points, labels
    )
    result = search.record(result, points, search.is_wrong(logits, labels), num_gradients=1)
    points = points + step_size * jax.vmap(ball.direction)(gradients)
    return jax.vmap(ball.project, in_axes=(0, 0, None))(pixels, points, epsilon), result

  def from_start(restart, result):
    points = ball.draw(jax.random.fold_in(rng, restart), pixels, start_radius)
    points, result = search.until_fooled(
      step, (points, result), num_steps, lambda state: state[1].is_fooled
    )
    is_fooling = search.is_wrong(logits_fn(points), labels)
    return search.record(result, points, is_fooling, num_forwards=1)

  epsilon = jnp.asarray(epsilon, pixels.dtype)
  result = search.begin(logits_fn, pixels, labels)
  return search.until_fooled(from_start, result, num_restarts, lambda result: result.is_fooled)
