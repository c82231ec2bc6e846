"""FGSM (Goodfellow, Shlens, Szegedy 2015) and PGD (Madry et al. 2018, arXiv 1706.06083)."""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer
import numpy as np

from ddjax.attacks import norms, objectives, search
from ddjax.attacks.norms import Scalar
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.types import Array


class Ascent(NamedTuple):
  """How far, how often and from where an attack goes uphill; numbers, or scalars that are traced.

  Attributes:
    epsilon: radius of the ball, in pixels.
    step_size: in pixels.
    num_steps: gradients from each start.
    num_restarts: starts.
    start_radius: of the ball that starts are drawn in; 0 begins at the image.
  """

  epsilon: Scalar
  step_size: Scalar
  num_steps: int | np.integer | Array
  num_restarts: int | np.integer | Array
  start_radius: Scalar


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
  ascent = Ascent(epsilon, step_size=epsilon, num_steps=1, num_restarts=1, start_radius=0.0)
  return ascend(logits_fn, pixels, labels, rng, ascent, norm=norm)


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
  ascent = Ascent(epsilon, relative_step * epsilon, num_steps, num_restarts, start_radius=epsilon)
  return ascend(logits_fn, pixels, labels, rng, ascent, norm=norm)


def ascend_signs(
  loss_fn: Callable[[Array], Array],
  pixels: Float[Array, "b h w c"],
  start: Float[Array, "b h w c"],
  *,
  epsilon: float,
  step_size: float,
  num_steps: int,
) -> Float[Array, "b h w c"]:
  """Images moved uphill by signed gradients within their l_inf balls: PGD on any loss.

  All images take all steps and the last point counts, as where a model is trained on them.

  Args:
    loss_fn: images f[b h w c] -> losses f[b], each of its own image alone.
    pixels: f[b h w c] in [0, 1], the centres of the balls.
    start: f[b h w c], points of the balls.
    epsilon: radius, in pixels.
    step_size: in pixels.
    num_steps: K, static.
  Returns:
    f[b h w c] in [0, 1], at most epsilon from `pixels`, without a gradient.
  """
  gradient = jax.grad(lambda points: jnp.sum(loss_fn(points)))

  def move(_, points):
    points = points + step_size * norms.LINF.direction(gradient(points))
    return norms.LINF.project(pixels, points, epsilon)

  pixels, start = jax.lax.stop_gradient((pixels, start))
  return jax.lax.stop_gradient(jax.lax.fori_loop(0, num_steps, move, start))


def ascend(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array,
  ascent: Ascent,
  *,
  norm: str,
) -> AttackResult:
  """What FGSM and PGD are cases of; all but the norm may be traced, so one program serves both.

  Args:
    logits_fn: as in `pgd`.
    pixels: as in `pgd`.
    labels: as in `pgd`.
    rng: of the starts.
    ascent: ball, steps and starts.
    norm: linf or l2.
  """
  ball = norms.find_norm(norm)
  num_steps, num_restarts = ascent.num_steps, ascent.num_restarts
  epsilon = jnp.asarray(ascent.epsilon, pixels.dtype)

  def start(i, points, gradients):
    return ball.draw(jax.random.fold_in(rng, i // (num_steps + 1)), pixels, ascent.start_radius)

  def move(i, points, gradients):
    points = points + ascent.step_size * jax.vmap(ball.direction)(gradients)
    return jax.vmap(ball.project, in_axes=(0, 0, None))(pixels, points, epsilon)

  def step(i, state):
    points, result = state
    is_last = i % (num_steps + 1) == 0  # of a run, or the image as it is: no step follows
    _, gradients, logits = search.values_and_gradients(
      logits_fn, objectives.cross_entropy, points, labels
    )
    is_fooling = search.is_wrong(logits, labels)
    result = search.record(
      result, points, is_fooling, num_gradients=~is_last * 1, num_forwards=is_last * 1
    )
    return jax.lax.cond(is_last, start, move, i, points, gradients), result

  num_looks = 1 + num_restarts * (num_steps + 1)
  state = pixels, search.untouched(pixels)
  return search.until_fooled(step, state, num_looks, lambda state: state[1].is_fooled)[1]
