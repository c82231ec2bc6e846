"""Mixtures of examples and their labels: CutMix and MixUp.

CutMix: Yun et al. 2019 (arXiv 1905.04899); MixUp: Zhang et al. 2018 (arXiv 1710.09412). One share
and one box per batch, partners by a permutation, as IDC (Kim et al. 2022) trains. Labels are
mixed, not losses: the same for cross-entropy, which is linear in them, but not for squared error.
"""

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from ddjax.types import Array


@struct.dataclass
class CutMix:
  """One draw: partner i32[b], and the box's first row and column i32[2] and their ends i32[2].

  The box is empty where the draw leaves the batch as it is.
  """

  partner: Array
  start: Array
  stop: Array


@struct.dataclass
class MixUp:
  """One draw: partner i32[b], and the share f32[] that stays of each example."""

  partner: Array
  share: Array


def draw_cutmix(
  rng: Array,
  num: int,
  *,
  height: int,
  width: int,
  beta: float = 1.0,
  probability: float = 0.5,
  mask: Bool[Array, " b"] | None = None,
) -> CutMix:
  """Draws a box and partners for a batch.

  The box has sides sqrt(1 - lam) of the image's, lam ~ Beta(beta, beta), and a centre uniform over
  pixels; it is clipped at the border.

  Args:
    rng: one key; used up.
    num: b.
    height: of the images, pixels.
    width: likewise.
    beta: of the Beta distribution; > 0. IDC: 1.
    probability: that the batch is mixed at all, in [0, 1]. IDC: .5.
    mask: rows that count; the others are nobody's partner. All by default.
  Raises:
    ValueError: for a beta or probability out of range.
  """
  _check("beta", beta)
  if not 0 <= probability <= 1:
    raise ValueError(f"probability={probability} must lie in [0, 1].")
  on_rng, partner_rng, share_rng, centre_rng = jax.random.split(rng, 4)
  is_on = jax.random.bernoulli(on_rng, probability)
  ratio = jnp.sqrt(1 - jax.random.beta(share_rng, beta, beta, dtype=jnp.float32))
  sizes = jnp.array([height, width], jnp.int32)
  half = jnp.floor(sizes * ratio).astype(jnp.int32) // 2
  centre = jax.random.randint(centre_rng, (2,), jnp.zeros_like(sizes), sizes, jnp.int32)
  start, stop = (jnp.clip(edge, 0, sizes) for edge in (centre - half, centre + half))
  return CutMix(_partners(partner_rng, num, mask), start * is_on, stop * is_on)


def apply_cutmix(
  images: Float[Array, "b h w c"], labels: Float[Array, "b k"], draws: CutMix
) -> tuple[Float[Array, "b h w c"], Float[Array, "b k"]]:
  """Pastes the box of each example's partner, and mixes labels by the box's exact area.

  Args:
    images: f32[b h w c].
    labels: f32[b k], hard or soft.
    draws: for this batch size and image size.
  """
  height, width = images.shape[1:3]
  rows, columns = jnp.arange(height), jnp.arange(width)
  is_row = (rows >= draws.start[0]) & (rows < draws.stop[0])
  is_column = (columns >= draws.start[1]) & (columns < draws.stop[1])
  is_box = (is_row[:, None] & is_column[None])[None, :, :, None]
  share = 1 - jnp.prod(draws.stop - draws.start) / (height * width)
  mixed = jnp.where(is_box, images[draws.partner], images)
  return mixed, _blended(labels, draws.partner, share)


def draw_mixup(
  rng: Array, num: int, *, alpha: float = 1.0, mask: Bool[Array, " b"] | None = None
) -> MixUp:
  """Draws a share ~ Beta(alpha, alpha) and partners for a batch.

  Args:
    rng: one key; used up.
    num: b.
    alpha: of the Beta distribution; > 0.
    mask: rows that count; the others are nobody's partner. All by default.
  Raises:
    ValueError: for an alpha out of range.
  """
  _check("alpha", alpha)
  partner_rng, share_rng = jax.random.split(rng)
  share = jax.random.beta(share_rng, alpha, alpha, dtype=jnp.float32)
  return MixUp(_partners(partner_rng, num, mask), share)


def apply_mixup(
  images: Float[Array, "b h w c"], labels: Float[Array, "b k"], draws: MixUp
) -> tuple[Float[Array, "b h w c"], Float[Array, "b k"]]:
  """Blends each example and its label with its partner's.

  Args:
    images: f32[b h w c].
    labels: f32[b k], hard or soft.
    draws: for this batch size.
  """
  blended = [_blended(x, draws.partner, draws.share) for x in (images, labels)]
  return blended[0], blended[1]


def _blended(values: Array, partner: Array, share: Array) -> Array:
  """`share` of each row and the rest of its partner's."""
  share = share.astype(values.dtype)
  return share * values + (1 - share) * values[partner]


def _partners(rng: Array, num: int, mask: Array | None) -> Array:
  """A permutation i32[num] of the rows that count; the others are their own partners."""
  if mask is None:
    return jax.random.permutation(rng, num)
  order = jnp.where(mask, jax.random.uniform(rng, (num,), jnp.float32), 2.0)
  shuffled = jnp.argsort(order, stable=True)  # rows that count, shuffled; then the others in order
  sorted_rows = jnp.argsort(~mask, stable=True)  # rows that count, in order; then the others
  return jnp.zeros(num, jnp.int32).at[sorted_rows].set(shuffled.astype(jnp.int32))


def _check(name: str, value: float) -> None:
  """Raises ValueError unless the parameter of a Beta distribution is positive."""
  if not value > 0:
    raise ValueError(f"{name}={value} must be above 0.")
