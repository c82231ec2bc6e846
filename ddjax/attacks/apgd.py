"""Auto-PGD (Croce, Hein 2020, arXiv 2003.01690, algorithm 1): PGD that finds its step sizes."""

import math
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer
import numpy as np

from ddjax.attacks import norms, objectives, search
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.types import Array

MOMENTUM = 0.75
"""alpha: the weight of the new step against the last move."""
_ENOUGH_RISES = 0.75  # rho: the share of steps that must raise the objective


class _State(NamedTuple):
  """The run of a batch: where it is, the best it has seen, and the step size of each image."""

  points: Array
  previous: Array
  gradients: Array
  values: Array
  best_points: Array
  best_gradients: Array
  best_values: Array
  step_sizes: Array
  first_sizes: Array
  num_rises: Array  # since the last checkpoint
  checked_best: Array  # the best value at the last checkpoint
  was_halved: Array  # whether the step size changed there
  others: Array  # the wrong classes of each image as it is, the most likely first
  result: AttackResult


def apgd(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array,
  *,
  epsilon: float | Array,
  norm: str = "linf",
  objective: Callable[..., Array] = objectives.cross_entropy,
  num_steps: int = 100,
  num_runs: int | Array = 1,
) -> AttackResult:
  """Auto-PGD from random points of the ball.

  The step size of an image begins at 2 epsilon. At checkpoints it is halved, and the search goes
  back to the best point, where fewer than 3/4 of the steps since the last one raised the objective,
  or where neither step size nor best value changed (conditions 1 and 2 of the paper).

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k].
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: of the starts.
    epsilon: radius of the ball, in pixels; may be traced.
    norm: linf or l2.
    objective: of `ddjax.attacks.objectives`, or any `(logits, label, target) -> f32[]`. In run r
      the target is the (r + 1)-th most likely wrong class of the image as it is, starting again
      after the last: k - 1 runs of `targeted_dlr` aim at every other class once.
    num_steps: gradients of a run after its first; known at trace time.
    num_runs: runs, each from a new start; may be traced.
  Raises:
    ValueError: for an unknown norm, or fewer than one step.
  """
  if num_steps < 1:
    raise ValueError(f"num_steps={num_steps} must be at least 1.")
  ball = norms.find_norm(norm)
  project = jax.vmap(ball.project, in_axes=(0, 0, None))
  windows = jnp.asarray(checkpoint_windows(num_steps))
  epsilon = jnp.asarray(epsilon, pixels.dtype)

  def image(state, i):
    return pixels

  def start(state, i):
    return ball.draw(jax.random.fold_in(rng, i), pixels, epsilon)

  def onward(state, i):
    sizes = state.step_sizes.reshape(-1, *[1] * (pixels.ndim - 1))
    straight = state.points + sizes * jax.vmap(ball.direction)(state.gradients)
    weight = jnp.where((i - 1) % (num_steps + 1) == 1, 1.0, MOMENTUM)  # no last move at first
    points = state.points + weight * (project(pixels, straight, epsilon) - state.points)
    points = points + (1 - weight) * (state.points - state.previous)
    return project(pixels, points, epsilon)

  def step(i, state):
    run, place = jnp.divmod(i - 1, num_steps + 1)
    is_start = (i == 0) | (place == 0)
    points = jax.lax.switch(
      jnp.where(i == 0, 0, jnp.where(is_start, 1, 2)), [image, start, onward], state, i
    )
    targets = state.others[:, run % state.others.shape[1]]
    values, gradients, logits = search.values_and_gradients(
      logits_fn, objective, points, labels, targets
    )
    is_fooling = search.is_wrong(logits, labels)
    result = search.record(
      state.result, points, is_fooling, num_gradients=(i > 0) * 1, num_forwards=(i == 0) * 1
    )
    others = jnp.where(i == 0, _wrong_classes(logits, labels), state.others)
    state = state._replace(others=others, result=result)
    state = jax.lax.cond(is_start, _restart, _advance, state, points, values, gradients)
    window = jnp.where(is_start, 0, windows[place - 1])
    return jax.lax.cond(window > 0, _check, lambda state, _: state, state, window)

  num_classes = jax.eval_shape(logits_fn, pixels).shape[1]
  numbers = jnp.zeros(labels.shape, pixels.dtype)
  counts = jnp.zeros(labels.shape, jnp.int32)
  state = _State(
    points=pixels,
    previous=pixels,
    gradients=pixels,
    values=numbers,
    best_points=pixels,
    best_gradients=pixels,
    best_values=numbers,
    step_sizes=jnp.full_like(numbers, 2 * epsilon),
    first_sizes=jnp.full_like(numbers, 2 * epsilon),
    num_rises=counts,
    checked_best=numbers,
    was_halved=counts == 0,
    others=jnp.zeros((len(pixels), num_classes - 1), jnp.int32),
    result=search.untouched(pixels),
  )
  num_looks = 1 + num_runs * (num_steps + 1)
  return search.until_fooled(step, state, num_looks, lambda state: state.result.is_fooled).result


def checkpoint_windows(num_steps: int) -> np.ndarray:
  """i32[num_steps]: at the steps of a checkpoint how many steps lie since the last, else 0.

  Checkpoints are at ceil(p_j num_steps), p_0 = 0, p_1 = .22, p_(j+1) = p_j + max(p_j - p_(j-1) -
  .03, .06).
  """
  shares = [0.0, 0.22]
  while shares[-1] < 1:
    shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
  ends = sorted({math.ceil(round(share * num_steps, 6)) for share in shares})
  windows = np.zeros(num_steps, np.int32)
  for last, end in zip(ends, ends[1:], strict=False):
    if end <= num_steps:
      windows[end - 1] = end - last
  return windows


def _restart(state: _State, points: Array, values: Array, gradients: Array) -> _State:
  """The state at the first point of a run."""
  return state._replace(
    points=points,
    previous=points,
    gradients=gradients,
    values=values,
    best_points=points,
    best_gradients=gradients,
    best_values=values,
    step_sizes=state.first_sizes,
    num_rises=jnp.zeros_like(state.num_rises),
    checked_best=values,
    was_halved=jnp.ones_like(state.was_halved),
  )


def _advance(state: _State, points: Array, values: Array, gradients: Array) -> _State:
  """The state one step on."""
  is_best = values > state.best_values
  return state._replace(
    points=points,
    previous=state.points,
    gradients=gradients,
    values=values,
    best_points=search.where(is_best, points, state.best_points),
    best_gradients=search.where(is_best, gradients, state.best_gradients),
    best_values=jnp.maximum(values, state.best_values),
    num_rises=state.num_rises + (values > state.values),
  )


def _check(state: _State, window: Array) -> _State:
  """Halves step sizes at a checkpoint, and goes back to the best points."""
  rises_too_seldom = state.num_rises < _ENOUGH_RISES * window
  stands_still = ~state.was_halved & (state.best_values <= state.checked_best)
  is_halved = rises_too_seldom | stands_still
  return state._replace(
    points=search.where(is_halved, state.best_points, state.points),
    gradients=search.where(is_halved, state.best_gradients, state.gradients),
    values=jnp.where(is_halved, state.best_values, state.values),
    step_sizes=jnp.where(is_halved, state.step_sizes / 2, state.step_sizes),
    num_rises=jnp.zeros_like(state.num_rises),
    checked_best=state.best_values,
    was_halved=is_halved,
  )


def _wrong_classes(logits: Array, labels: Array) -> Array:
  """The other classes of each image, the most likely first, i32[b k-1]."""
  is_label = jnp.arange(logits.shape[1])[None] == labels[:, None]
  return jnp.argsort(jnp.where(is_label, jnp.inf, -logits), axis=1)[:, :-1]
