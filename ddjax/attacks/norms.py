"""Balls around an image in the l_inf and l2 norm, cut to pixels in [0, 1].

Everything but the draws is for one image f32[h w c], and vmapped where it is used.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from ddjax.types import Array
from ddjax.wording import nearest

Image = Float[Array, "h w c"]
Images = Float[Array, "b h w c"]

Scalar = float | np.floating | Array
"""A number, or an array of no axes that may be traced."""

_TINY = 1e-12


class Norm(NamedTuple):
  """A norm, and what attacks need of its balls.

  Attributes:
    size: (perturbation) -> f32[].
    project: (image, candidate, epsilon) -> a point of the ball and of [0, 1]: the candidate itself
      where it lies in both. In l2 the candidate is scaled, then clipped, which is a point of the
      intersection but not always its nearest one; as foolbox and AutoAttack do it.
    draw: (rng, images f32[b h w c], epsilon) -> uniform in their balls, then clipped to [0, 1].
    direction: (gradient) -> the perturbation of size 1 along which a linear function grows most.
  """

  size: Callable[[Image], Array]
  project: Callable[[Image, Image, Scalar], Image]
  draw: Callable[[Array, Images, Scalar], Images]
  direction: Callable[[Image], Image]


def l2_size(perturbation: Image) -> Array:
  """The l2 norm, with a gradient of zero at zero."""
  return jnp.sqrt(jnp.maximum(jnp.sum(perturbation**2), _TINY**2))


def _project_linf(image: Image, candidate: Image, epsilon: Scalar) -> Image:
  return jnp.clip(candidate, jnp.maximum(image - epsilon, 0.0), jnp.minimum(image + epsilon, 1.0))


def _project_l2(image: Image, candidate: Image, epsilon: Scalar) -> Image:
  perturbation = candidate - image
  scale = jnp.minimum(1.0, epsilon / l2_size(perturbation))
  return jnp.clip(image + scale * perturbation, 0.0, 1.0)


def _draw_linf(rng: Array, images: Images, epsilon: Scalar) -> Images:
  noise = jax.random.uniform(rng, images.shape, images.dtype, -1.0, 1.0)
  return jnp.clip(images + epsilon * noise, 0.0, 1.0)


def _draw_l2(rng: Array, images: Images, epsilon: Scalar) -> Images:
  """All but two coordinates of a point of a sphere are uniform in the ball (Voelker 2017)."""
  count, size = len(images), images[0].size
  noise = jax.random.normal(rng, (count, size + 2), images.dtype)
  noise = noise / jax.vmap(l2_size)(noise)[:, None]
  return jnp.clip(images + epsilon * noise[:, :size].reshape(images.shape), 0.0, 1.0)


LINF = Norm(lambda r: jnp.max(jnp.abs(r)), _project_linf, _draw_linf, jnp.sign)
L2 = Norm(l2_size, _project_l2, _draw_l2, lambda gradient: gradient / l2_size(gradient))
NORMS = {"linf": LINF, "l2": L2}


def find_norm(name: str) -> Norm:
  """The norm of a name; ValueError with the nearest known name where there is none."""
  if name not in NORMS:
    raise ValueError(f"norm={name!r}. {nearest(name, NORMS)}")
  return NORMS[name]
