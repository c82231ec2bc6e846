"""Square in l_inf (Andriushchenko et al. 2020, arXiv 1912.00049): random search, no gradients."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer
import numpy as np

from ddjax.attacks import objectives, search
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.types import Array

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Where, of 10000 queries, the share of pixels that a square covers is halved (section 5)."""


def square(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array,
  *,
  epsilon: float | Array,
  num_queries: int = 5000,
  first_share: float = 0.8,
) -> AttackResult:
  """Squares of +-epsilon at random places, kept where they raise the margin.

  Begins with vertical stripes of +-epsilon (algorithm 2). A query sets, in every channel, one
  square of the perturbation to one sign. Each image has squares of its own.

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k].
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: of places and signs.
    epsilon: radius of the l_inf ball, in pixels; may be traced.
    num_queries: forward passes; known at trace time.
    first_share: of the pixels that the first squares cover; .8 in AutoAttack.
  """
  height, width, channels = pixels.shape[1:]
  sides = jnp.asarray(square_sides(num_queries, first_share, height, width))
  epsilon = jnp.asarray(epsilon, pixels.dtype)

  def image(points, i):
    return pixels

  def stripes(points, i):
    draws = jax.random.uniform(jax.random.fold_in(rng, i), (len(pixels), 1, width, channels))
    return jnp.clip(pixels + epsilon * _signs(draws), 0.0, 1.0)

  def squares(points, i):
    draws = jax.random.uniform(jax.random.fold_in(rng, i), (len(pixels), 2 + channels))
    return jax.vmap(with_square, in_axes=(0, 0, 0, None))(draws, pixels, points, sides[i - 1])

  def with_square(draws, image, point, side):
    rows, columns = (
      _inside(draw, side, length) for draw, length in zip(draws, (height, width), strict=False)
    )
    filled = jnp.clip(image + epsilon * _signs(draws[2:])[None, None], 0.0, 1.0)
    return jnp.where(rows[:, None, None] & columns[None, :, None], filled, point)

  def step(i, state):
    points, margins, result = state
    tried = jax.lax.switch(jnp.minimum(i, 2), [image, stripes, squares], points, i)
    logits = logits_fn(tried)
    tried_margins = jax.vmap(objectives.margin)(logits, labels)
    result = search.record(result, tried, search.is_wrong(logits, labels), num_forwards=1)
    is_kept = (tried_margins > margins) | (i == 1)
    return (
      search.where(is_kept, tried, points),
      jnp.where(is_kept, tried_margins, margins),
      result,
    )

  margins = jnp.full(labels.shape, -jnp.inf, jax.eval_shape(logits_fn, pixels).dtype)
  state = pixels, margins, search.untouched(pixels)
  return search.until_fooled(step, state, num_queries + 1, lambda state: state[2].is_fooled)[2]


def square_sides(num_queries: int, first_share: float, height: int, width: int) -> np.ndarray:
  """The side of the square of each query, i32[num_queries], at least one pixel."""
  place = np.arange(num_queries) * 10_000 // num_queries
  halvings = np.searchsorted(_HALVINGS, place, side="left")
  sides = np.round(np.sqrt(first_share / 2.0**halvings * height * width))
  return np.clip(sides, 1, min(height, width)).astype(np.int32)


def _signs(draws: Array) -> Array:
  """+1 or -1 of numbers uniform in [0, 1)."""
  return jnp.where(draws < 0.5, -1.0, 1.0)


def _inside(draw: Array, side: Array, length: int) -> Array:
  """bool[length], true in `side` neighbouring places that begin where `draw` in [0, 1) says."""
  start = jnp.floor(draw * (length - side + 1))
  places = jnp.arange(length)
  return (places >= start) & (places < start + side)
