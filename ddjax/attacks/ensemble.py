"""Several attacks in a row, and the ensemble in the style of AutoAttack (Croce, Hein 2020)."""

import functools
from typing import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from ddjax.attacks import objectives, search
from ddjax.attacks.apgd import apgd
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.attacks.square import square
from ddjax.types import Array


def worst_case(results: Sequence[AttackResult]) -> AttackResult:
  """What is left when each attack is tried on the images that those before it did not fool.

  An image is fooled where any attack fools it; it pays for the attacks up to the first that does.
  """
  return functools.reduce(_then, results)


def autoattack(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array,
  *,
  epsilon: float | Array,
  num_steps: int = 100,
  num_queries: int = 5000,
) -> AttackResult:
  """APGD on the cross-entropy, targeted APGD on DLR at nine classes, and Square; l_inf.

  AutoAttack without its fourth part, the targeted FAB attack, which in the published tables seldom
  fools an image that the other three leave.

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k], k at least 4.
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: of all three.
    epsilon: radius of the ball, in pixels; may be traced.
    num_steps: of each run of APGD.
    num_queries: of Square.
  """
  attack_rngs = jax.random.split(rng, 3)
  facts = logits_fn, pixels, labels
  return worst_case(
    [
      apgd(*facts, attack_rngs[0], epsilon=epsilon, num_steps=num_steps),
      apgd(
        *facts,
        attack_rngs[1],
        epsilon=epsilon,
        num_steps=num_steps,
        objective=objectives.targeted_dlr,
        num_runs=9,
      ),
      square(*facts, attack_rngs[2], epsilon=epsilon, num_queries=num_queries),
    ]
  )


def _then(first: AttackResult, second: AttackResult) -> AttackResult:
  """The second tried where the first failed."""
  return AttackResult(
    search.where(first.is_fooled, first.adversarial, second.adversarial),
    first.is_fooled | second.is_fooled,
    first.num_gradients + jnp.where(first.is_fooled, 0, second.num_gradients),
    first.num_forwards + jnp.where(first.is_fooled, 0, second.num_forwards),
  )
