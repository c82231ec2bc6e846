"""What attacks maximise, for one image: `(logits f32[k], label i32[], target i32[]) -> f32[]`.

Untargeted objectives ignore the target. DLR is the difference of logits ratio of Croce, Hein (2020,
arXiv 2003.01690): unlike cross-entropy it does not change with the scale of the logits, so that a
confident network cannot hide its gradients.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from ddjax.types import Array

Logits = Float[Array, " k"]
Class = Integer[Array, ""]

_TINY = 1e-12


def cross_entropy(logits: Logits, label: Class, target: Class | None = None) -> Float[Array, ""]:
  """-log softmax(z)_y."""
  del target
  return jax.nn.logsumexp(logits) - logits[label]


def margin(logits: Logits, label: Class, target: Class | None = None) -> Float[Array, ""]:
  """max over y' != y of z_y', minus z_y: positive where the image is misclassified."""
  del target
  others = jnp.where(jnp.arange(len(logits)) == label, -jnp.inf, logits)
  return others[others.argmax()] - logits[label]  # the gradient of `max` divides by equals found


def dlr(logits: Logits, label: Class, target: Class | None = None) -> Float[Array, ""]:
  """Eq. 6 of Croce, Hein: margin / (z_(1) - z_(3)), z_(i) the i-th largest logit.

  Raises:
    ValueError: for fewer than three classes.
  """
  _check_classes(logits, 3, "dlr")
  ordered = jax.lax.top_k(logits, 3)[0]
  return margin(logits, label, target) / (ordered[0] - ordered[2] + _TINY)


def targeted_dlr(logits: Logits, label: Class, target: Class) -> Float[Array, ""]:
  """Eq. 7 of Croce, Hein: (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2).

  Raises:
    ValueError: for fewer than four classes.
  """
  _check_classes(logits, 4, "targeted_dlr")
  ordered = jax.lax.top_k(logits, 4)[0]
  scale = ordered[0] - (ordered[2] + ordered[3]) / 2
  return (logits[target] - logits[label]) / (scale + _TINY)


OBJECTIVES = {
  "cross_entropy": cross_entropy,
  "margin": margin,
  "dlr": dlr,
  "targeted_dlr": targeted_dlr,
}


def by_index(index: Array, names: tuple[str, ...]):
  """The objective `names[index]`, chosen at run time, so that one program serves them all."""
  choices = [OBJECTIVES[name] for name in names]
  return lambda *facts: jax.lax.switch(index, choices, *facts)


def _check_classes(logits: Array, least: int, name: str) -> None:
  if len(logits) < least:
    raise ValueError(f"{name} needs at least {least} classes; these logits have {len(logits)}.")
