"""DeepFool in l2 (Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv 1511.04599)."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer
import numpy as np

from ddjax.attacks import search
from ddjax.attacks.search import AttackResult, LogitsFn
from ddjax.types import Array

_TINY = 1e-8
_AT_LEAST = 1e-4  # added to each distance, so that a step on the boundary goes on; as foolbox does


def deepfool(
  logits_fn: LogitsFn,
  pixels: Float[Array, "b h w c"],
  labels: Integer[Array, " b"],
  rng: Array | None = None,
  *,
  num_steps: int | Array = 50,
  num_candidates: int = 10,
  overshoot: float = 0.02,
) -> AttackResult:
  """The nearest boundary of the linearised network, again and again until it is crossed.

  With w_j and f_j the gradient and the value of z_j - z_y, a step adds |f_j| / ||w_j||^2 w_j of the
  class j with the least |f_j| / ||w_j||. The sum of the steps, times 1 + overshoot, is added to the
  image and clipped to [0, 1].

  Args:
    logits_fn: pixels f32[b h w c] in [0, 1] -> logits f32[b k].
    pixels: f32[b h w c] in [0, 1].
    labels: i32[b].
    rng: not used: nothing is drawn.
    num_steps: at most; may be traced.
    num_candidates: classes looked at, the label and the most likely others; each step costs one
      gradient less than that.
    overshoot: as published.
  Returns:
    the AttackResult; its perturbation is bounded by nothing but [0, 1].
  """
  del rng
  shape = jax.eval_shape(logits_fn, pixels)
  num_others = min(num_candidates, shape.shape[1]) - 1
  classes = jnp.eye(shape.shape[1], dtype=shape.dtype)
  rows = jnp.arange(len(pixels))

  def step(i, state):
    points, total, others, result = state
    logits, pull = jax.vjp(logits_fn, points)
    ranked = jnp.where(classes[labels] == 1, -jnp.inf, logits)
    others = jnp.where(i == 0, jax.lax.top_k(ranked, num_others)[1], others)
    is_fooling = search.is_wrong(logits, labels)
    is_looked_at_only = is_fooling | (i == num_steps)
    result = search.record(
      result,
      points,
      is_fooling,
      num_gradients=jnp.where(is_looked_at_only, 0, num_others),
      num_forwards=jnp.where(is_looked_at_only, 1, 0),
    )
    directions = (classes[others] - classes[labels][:, None]).swapaxes(0, 1)  # [others b k]
    differences = jnp.einsum("jbk,bk->jb", directions, logits)
    gradients = jax.vmap(lambda direction: pull(direction)[0])(directions)
    sizes = jnp.sqrt(jnp.sum(gradients**2, axis=(2, 3, 4))) + _TINY
    distances = jnp.abs(differences) / sizes
    nearest = jnp.argmin(distances, axis=0)
    scale = (distances[nearest, rows] + _AT_LEAST) / sizes[nearest, rows]
    total = total + scale.reshape(-1, 1, 1, 1) * gradients[nearest, rows]
    return jnp.clip(pixels + (1 + overshoot) * total, 0.0, 1.0), total, others, result

  others = jnp.zeros((len(pixels), num_others), jnp.int32)
  state = pixels, jnp.zeros_like(pixels), others, search.untouched(pixels)
  return search.until_fooled(step, state, num_steps + 1, lambda state: state[3].is_fooled)[3]


def relative_perturbation(result: AttackResult, pixels: np.ndarray) -> np.ndarray:
  """||r||_2 / ||x||_2 of each image: f64[b]; NaN where it was not fooled."""
  perturbation = np.asarray(result.adversarial, np.float64) - pixels
  size = np.sqrt(np.sum(perturbation**2, axis=(1, 2, 3)))
  whole = np.sqrt(np.sum(np.asarray(pixels, np.float64) ** 2, axis=(1, 2, 3)))
  return np.where(np.asarray(result.is_fooled), size / np.maximum(whole, _TINY), np.nan)
