"""Descent towards flat minima: the gradient of the worst point near by, and what GSAM makes of it.

Foret et al. 2021, "Sharpness-Aware Minimization" (SAM, arXiv 2010.01412); Kwon et al. 2021 (ASAM,
arXiv 2102.11600), whose neighbourhood scales with the parameters; Zhuang et al. 2022, "Surrogate
Gap Minimization Improves Sharpness-Aware Training" (GSAM, arXiv 2203.08065), algorithm 1. FTD and
DATM train their experts by the adaptive form.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

_EPSILON = 1e-12  # of every denominator, as released


def gsam(
  optimizer: optax.GradientTransformation, radius: float, alpha: float, is_adaptive: bool
) -> optax.GradientTransformationExtraArgs:
  r"""GSAM around an optimiser.

  With g the gradient at the parameters w, and g' that at the worst point w + e near by, to first
  order,

    e = radius w^2 g / ||w g||  (adaptive),  or  radius g / ||g||,

  the optimiser gets g' - alpha g_v, where g_v = g - (<g, g'> / ||g'||^2) g' is the part of g that
  stands upright on g'.

  Args:
    optimizer: that takes the steps.
    radius: rho; > 0.
    alpha: of the upright part; 0 gives SAM.
    is_adaptive: whether the neighbourhood scales with the parameters.
  Returns:
    the optimiser, whose update needs `grad_fn`, (params, _) -> gradient.
  """

  def update(gradient, state, params, *, grad_fn, **_):
    scaled = jax.tree.map(jnp.multiply, params, gradient) if is_adaptive else gradient
    share = radius / (optax.tree.norm(scaled) + _EPSILON)
    square = jax.tree.map(jnp.square, params) if is_adaptive else None
    ascent = jax.tree.map(jnp.multiply, square, gradient) if is_adaptive else gradient
    worst = grad_fn(jax.tree.map(lambda w, a: w + share * a, params, ascent), None)
    size, worst_size = optax.tree.norm(gradient), optax.tree.norm(worst)
    cosine = optax.tree.vdot(gradient, worst) / (size * worst_size + _EPSILON)
    along = cosine * size / (worst_size + _EPSILON)
    final = jax.tree.map(lambda g, w: w - alpha * (g - along * w), gradient, worst)
    return optimizer.update(final, state, params)

  update_fn: Any = update  # optax knows `grad_fn` as one of its extra arguments
  return optax.GradientTransformationExtraArgs(optimizer.init, update_fn)
