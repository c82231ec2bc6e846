"""What an attack has found so far, and the loop that goes on while images are left.

An attack is one loop whose body looks at the network in one place: at the image as it is first,
then at every start and every step. Each further place would be compiled once more, and compiling is
most of what a short attack costs.
"""

from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from ddjax.types import Array

LogitsFn = Callable[[Array], Array]
"""Pixels f32[b h w c] in [0, 1] -> logits f32[b k], preprocessing inside."""


class AttackResult(NamedTuple):
  """What an attack made of each image.

  Attributes:
    adversarial: f32[b h w c] in [0, 1], misclassified where `is_fooled`, else the image itself.
    is_fooled: bool[b].
    num_gradients: i32[b], evaluations of a gradient until then, each with its own forward pass.
    num_forwards: i32[b], forward passes without a gradient until then.
  """

  adversarial: Float[Array, "b h w c"]
  is_fooled: Bool[Array, " b"]
  num_gradients: Integer[Array, " b"]
  num_forwards: Integer[Array, " b"]


def untouched(pixels: Array) -> AttackResult:
  """The result before the first look."""
  zeros = jnp.zeros(len(pixels), jnp.int32)
  return AttackResult(pixels, zeros > 0, zeros, zeros)


def record(
  result: AttackResult,
  candidates: Array,
  is_fooling: Array,
  *,
  num_gradients: int | Array = 0,
  num_forwards: int | Array = 0,
) -> AttackResult:
  """The result after a look at `candidates` f32[b h w c], which cost so much an image."""
  is_left = ~result.is_fooled
  return AttackResult(
    where(is_left & is_fooling, candidates, result.adversarial),
    result.is_fooled | is_fooling,
    result.num_gradients + num_gradients * is_left,
    result.num_forwards + num_forwards * is_left,
  )


def until_fooled(
  step: Callable[[Array, Any], Any],
  state: Any,
  num_steps: int | Array,
  is_fooled: Callable[[Any], Array],
) -> Any:
  """`step(i, state)` for i = 0, 1, ..., `num_steps` times or until every image is fooled."""

  def goes_on(carry):
    i, state = carry
    return (i < num_steps) & ~jnp.all(is_fooled(state))

  return jax.lax.while_loop(
    goes_on, lambda carry: (carry[0] + 1, step(*carry)), (jnp.int32(0), state)
  )[1]


def values_and_gradients(
  logits_fn: LogitsFn, objective: Callable[..., Array], pixels: Array, *facts: Array
) -> tuple[Array, Array, Array]:
  """An objective `(logits f32[k], *facts of one image) -> f32[]` of every image.

  Returns:
    values f32[b], gradients f32[b h w c], logits f32[b k].
  """

  def total(pixels):
    logits = logits_fn(pixels)
    values = jax.vmap(objective)(logits, *facts)
    return values.sum(), (values, logits)

  (_, (values, logits)), gradients = jax.value_and_grad(total, has_aux=True)(pixels)
  return values, gradients, logits


def is_wrong(logits: Array, labels: Array) -> Array:
  """Whether each image is misclassified, bool[b]."""
  return jnp.argmax(logits, axis=-1) != labels


def where(condition: Array, images: Array, others: Array) -> Array:
  """`jnp.where` with one condition an image, bool[b]."""
  return jnp.where(condition.reshape(-1, *[1] * (images.ndim - 1)), images, others)
