"""The l2 attack of Carlini, Wagner (2017, arXiv 1608.04644)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer
import optax

from ddjax.attacks import norms, objectives, search
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.types import Array

_INSIDE = 0.999999  # pixels of 0 and 1 are moved so far inwards, that their arctanh is finite


class _State(NamedTuple):
  """One binary search step: the optimiser's place, and the nearest images that fool."""

  shift: Array
  opt_state: Any
  nearest: Array
  distances: Array
  found: Array


def carlini_wagner(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array | None = None,
  *,
  num_searches: int = 9,
  num_steps: int = 1000,
  learning_rate: float = 0.01,
  initial_weight: float = 1e-3,
) -> AttackResult:
  """The smallest l2 perturbation that Adam finds, with a binary search over the loss's weight.

  Minimises ||x' - x||_2^2 + weight * max(z_y - max over y' != y of z_y', 0), x' = (tanh(w) + 1) / 2
  (eq. 7, confidence 0). The weight of an image is multiplied by ten until it is fooled, and halved
  between the last that fooled it and the last that did not. Nothing stops early.

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k].
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: not used: nothing is drawn.
    num_searches: weights tried.
    num_steps: of Adam, for each weight.
    learning_rate: of Adam, in the space of w.
    initial_weight: the first weight; 1e-3 as released.
  Returns:
    the AttackResult; its perturbation is bounded by nothing but [0, 1].
  """
  del rng
  optimiser = optax.adam(learning_rate)
  start = jnp.arctanh((2 * pixels - 1) * _INSIDE)
  reached = (jnp.tanh(start) + 1) / 2

  def loss(shift, weights):
    points = (jnp.tanh(start + shift) + 1) / 2
    logits = logits_fn(points)
    margins = jax.vmap(objectives.margin)(logits, labels)
    squares = jnp.sum((points - reached) ** 2, axis=(1, 2, 3))
    return jnp.sum(squares + weights * jax.nn.relu(-margins)), (points, logits)

  def step(_, carry):
    state, weights = carry
    gradients, (points, logits) = jax.grad(loss, has_aux=True)(state.shift, weights)
    updates, opt_state = optimiser.update(gradients, state.opt_state)
    is_fooling = search.is_wrong(logits, labels)
    distances = jax.vmap(norms.l2_size)(points - pixels)
    is_nearer = is_fooling & (distances < state.distances)
    shift: Any = optax.apply_updates(state.shift, updates)
    state = _State(
      shift,
      opt_state,
      search.where(is_nearer, points, state.nearest),
      jnp.where(is_nearer, distances, state.distances),
      state.found | is_fooling,
    )
    return state, weights

  def search_once(_, carry):
    nearest, distances, weights, low, high = carry
    shift = jnp.zeros_like(pixels)
    found = jnp.zeros(labels.shape, bool)
    state = _State(shift, optimiser.init(shift), nearest, distances, found)
    state, _ = jax.lax.fori_loop(0, num_steps, step, (state, weights))
    high = jnp.where(state.found, weights, high)
    low = jnp.where(state.found, low, weights)
    weights = jnp.where(jnp.isinf(high), weights * 10, (low + high) / 2)
    return state.nearest, state.distances, weights, low, high

  is_fooling = search.is_wrong(logits_fn(pixels), labels)
  result = search.record(search.untouched(pixels), pixels, is_fooling, num_forwards=1)
  weights = jnp.full(labels.shape, initial_weight, pixels.dtype)
  distances = jnp.full(labels.shape, jnp.inf, pixels.dtype)
  carry = pixels, distances, weights, jnp.zeros_like(weights), jnp.full_like(weights, jnp.inf)
  nearest, distances, *_ = jax.lax.fori_loop(0, num_searches, search_once, carry)
  return search.record(
    result, nearest, jnp.isfinite(distances), num_gradients=num_searches * num_steps
  )
