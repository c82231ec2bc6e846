"""From pixels to the space the networks see, and back.

Seven names: `none`; `standardise` (mean and std of each channel, fitted); `published` (constants of
`ddjax.data.facts`); and three incompatible whitenings (ZCA), named after where their definition
comes from: `zca_kip` (Nguyen et al. 2021), `zca_kornia` (MTT, Cazenavette et al. 2022) and
`zca_frepo` (Zhou et al. 2022). A distilled set is useless under another one than its own, so a
`Preprocessing` travels with it (`to_arrays`, `from_arrays`).

Notation: X f64[N d] flattened images, U diag(s) U' the eigendecomposition of C, lam the
regularisation (0.1 as published), W the whitening matrix; the network sees x W.

  zca_kip     X standardised by channel, each image minus its own mean, over its own L2 norm;
              C = X'X / N;                      W = U (s + lam tr(C) / d)^(-1/2) U'
  zca_kornia  X pixels, centred by feature;
              C = X'X / (N - 1);                W = U (s + lam)^(-1/2) U'
  zca_frepo   X standardised by channel, centred by feature;
              C = X'X / N;                      W = U (s + lam tr(C) / d)^(-1/2) U'

Fitted in float64, kept in float32.
"""

import hashlib
from typing import Any, Mapping

from flax import struct
import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from ddjax.data.cache import Arrays, cached, has
from ddjax.files.plain_arrays import bytes_of
from ddjax.types import AnyArray
from ddjax.wording import nearest

KINDS = ("none", "standardise", "published", "zca_kip", "zca_kornia", "zca_frepo")
_STANDARDISED = ("standardise", "published", "zca_kip", "zca_frepo")
_ARRAY_NAMES = ("mean", "std", "centre", "matrix", "median_mean", "median_norm")
_ROWS_PER_BLOCK = 4096
_ROWS_PER_SUM = 256
_TINY = 1e-12


@struct.dataclass
class Preprocessing:
  """A fitted map from pixels to network space; a pytree, so it may pass through jit as an argument.

  Attributes:
    mean: f32[c] in pixels, or None where channels are not standardised.
    std: f32[c] likewise.
    centre: f32[d], subtracted before `matrix`; or None.
    matrix: f32[d d], symmetric and positive definite, d = h w c; or None.
    median_mean: f32[], over the train images, of an image's own mean after standardisation;
      `zca_kip` only, for its approximate inverse.
    median_norm: f32[], likewise of the L2 norm that an image is divided by.
    kind: one of `KINDS`.
    regularisation: lam of the whitening kinds.
  """

  mean: AnyArray | None = None
  std: AnyArray | None = None
  centre: AnyArray | None = None
  matrix: AnyArray | None = None
  median_mean: AnyArray | None = None
  median_norm: AnyArray | None = None
  kind: str = struct.field(pytree_node=False, default="none")
  regularisation: float | None = struct.field(pytree_node=False, default=None)

  @property
  def is_whitening(self) -> bool:
    """Whether the map mixes pixels (it then cannot be written as a mean and a std)."""
    return self.matrix is not None

  @property
  def is_exactly_invertible(self) -> bool:
    """Whether `inverse` undoes `forward` to rounding: all kinds but `zca_kip`."""
    return self.kind != "zca_kip"

  def forward(self, pixels: Float[AnyArray, "... h w c"]) -> Float[AnyArray, "... h w c"]:
    """Pixels in [0, 1] to network space, differentiable, one image at a time.

    Args:
      pixels: f32[... h w c].
    Returns:
      f32[... h w c]. `zca_kip` maps a constant image to zeros.
    """
    images = pixels
    if self.mean is not None and self.std is not None:
      images = (images - _as_channels(self.mean, images)) / _as_channels(self.std, images)
    if self.matrix is None:
      return images
    flat = images.reshape(-1, self.matrix.shape[0])
    if self.kind == "zca_kip":
      flat = flat - flat.mean(axis=1, keepdims=True)
      square = jnp.sum(flat**2, axis=1, keepdims=True)
      flat = flat / jnp.sqrt(jnp.maximum(square, _TINY))
    else:
      assert self.centre is not None
      flat = flat - self.centre[None]
    return jnp.matmul(flat, self.matrix, precision="highest").reshape(pixels.shape)

  def inverse(self, images: Float[AnyArray, "... h w c"]) -> Float[AnyArray, "... h w c"]:
    """Network space to pixels, not clipped to [0, 1].

    Exact to rounding but for `zca_kip`, which forgets each image's mean and norm: the medians over
    the train images stand in for them, so brightness and contrast are only typical.

    Args:
      images: f32[... h w c] in network space.
    Returns:
      f32[... h w c] pixels.
    """
    pixels = images
    if self.matrix is not None:
      flat = images.reshape(-1, self.matrix.shape[0])
      with jax.default_matmul_precision("highest"):
        flat = jax.scipy.linalg.solve(self.matrix, flat.T, assume_a="pos").T
      if self.kind == "zca_kip":
        assert self.median_norm is not None and self.median_mean is not None
        flat = flat * self.median_norm + self.median_mean
      else:
        assert self.centre is not None
        flat = flat + self.centre[None]
      pixels = flat.reshape(images.shape)
    if self.mean is not None and self.std is not None:
      pixels = pixels * _as_channels(self.std, pixels) + _as_channels(self.mean, pixels)
    return pixels

  def to_arrays(self) -> tuple[Arrays, dict[str, Any]]:
    """What must travel with a distilled set: {name: f32 array} and JSON-safe facts."""
    present: dict[str, Any] = {name: getattr(self, name) for name in _ARRAY_NAMES}
    arrays = {name: np.asarray(value) for name, value in present.items() if value is not None}
    facts = {
      "kind": self.kind,
      "regularisation": self.regularisation,
      "pixel_range": [0.0, 1.0],
      "is_exactly_invertible": self.is_exactly_invertible,
    }
    return arrays, facts

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> "Preprocessing":
    """Inverse of `to_arrays`; other keys are ignored.

    Raises:
      ValueError: if the kind is unknown, or an array that it needs is missing.
    """
    kind = _known(facts["kind"])
    missing = [name for name in _needed(kind) if name not in arrays]
    if missing:
      raise ValueError(f"Preprocessing {kind!r} lacks {', '.join(missing)}.")
    present: dict[str, Any] = {name: np.asarray(arrays[name], np.float32) for name in _needed(kind)}
    return cls(kind=kind, regularisation=facts["regularisation"], **present)

  def digest(self) -> str:
    """SHA-256 of the whole map, arrays included, in hexadecimal."""
    arrays, facts = self.to_arrays()
    digest = hashlib.sha256(repr(sorted(facts.items())).encode())
    for name in sorted(arrays):
      digest.update(name.encode())
      digest.update(bytes_of(np.asarray(arrays[name], np.float32)))
    return digest.hexdigest()

  def same_as(self, other: "Preprocessing") -> bool:
    """Whether both are the same map, bit for bit."""
    return self.digest() == other.digest()


def as_pixels(images: np.ndarray, max_value: int) -> np.ndarray:
  """Stored images as pixels: u8[... h w c] to f32[... h w c] in [0, 1]."""
  return images.astype(np.float32) / np.float32(max_value)


def fit_preprocessing(
  kind: str,
  images: np.ndarray,
  max_value: int = 255,
  regularisation: float = 0.1,
  published: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
  fingerprint: str | None = None,
) -> Preprocessing:
  """Fits a preprocessing on train images.

  Args:
    kind: one of `KINDS`.
    images: u8[N h w c], train only.
    max_value: the stored value of a white pixel.
    regularisation: lam; > 0. Only whitening kinds use it.
    published: mean and std of each channel, for kind `published`.
    fingerprint: what identifies `images`; where given, a whitening is kept in the cache folder.
  Returns:
    the Preprocessing, NumPy leaves.
  Raises:
    ValueError: for an unknown kind, a regularisation that is not positive, or `published` where
      the data set has no published constants.
  """
  if _known(kind) == "none":
    return Preprocessing()
  if kind == "published":
    if published is None:
      raise ValueError("This data set has no published mean and std; take 'standardise'.")
    mean, std = np.asarray(published, np.float64)
  elif kind == "zca_kornia":
    mean = std = None
  else:
    mean, std = _channel_moments(images, max_value)
  if not kind.startswith("zca"):
    assert mean is not None and std is not None
    return Preprocessing(kind=kind, mean=mean.astype(np.float32), std=std.astype(np.float32))
  if not regularisation > 0:
    raise ValueError(f"zca_regularisation = {regularisation} must be positive.")

  def fit() -> Arrays:
    arrays = _fit_whitening(kind, images, max_value, regularisation, mean, std)
    return {name: arrays[name].astype(np.float32) for name in _needed(kind)}

  arrays: dict[str, Any] = dict(
    cached(_key(kind, regularisation, fingerprint), fit) if fingerprint else fit()
  )
  return Preprocessing(kind=kind, regularisation=float(regularisation), **arrays)


def is_fitted(kind: str, fingerprint: str, regularisation: float = 0.1) -> bool:
  """Whether the cache folder holds a whitening; True for kinds that take no time to fit."""
  return not kind.startswith("zca") or has(_key(kind, regularisation, fingerprint))


def _key(kind: str, regularisation: float, fingerprint: str) -> str:
  return f"{kind}-{regularisation}-{fingerprint}"


def _fit_whitening(kind, images, max_value, regularisation, mean, std) -> Arrays:
  """Every array of a whitening kind, float64."""
  num_images = len(images)
  dimension = images[0].size
  blocks = range(0, num_images, _ROWS_PER_BLOCK)

  def standardised(start: int) -> np.ndarray:
    block = images[start : start + _ROWS_PER_BLOCK].astype(np.float64) / max_value
    if mean is not None:
      block = (block - mean.reshape(1, 1, 1, -1)) / std.reshape(1, 1, 1, -1)
    return block.reshape(len(block), dimension)

  means, norms = [], []
  centre = np.zeros(dimension)
  if kind != "zca_kip":
    for start in blocks:
      centre += standardised(start).sum(axis=0)
    centre /= num_images
  covariance = np.zeros((dimension, dimension))
  for start in blocks:
    block = standardised(start) - centre[None]
    if kind == "zca_kip":
      means.append(block.mean(axis=1))
      block -= means[-1][:, None]
      norms.append(np.sqrt(np.maximum(np.sum(block**2, axis=1), _TINY)))
      block /= norms[-1][:, None]
    covariance += block.T @ block
  covariance /= num_images - 1 if kind == "zca_kornia" else num_images
  floor = regularisation
  if kind != "zca_kornia":
    floor *= np.trace(covariance) / dimension
  eigenvalues, vectors = np.linalg.eigh(covariance)
  scale = 1 / np.sqrt(np.maximum(eigenvalues, 0) + floor)
  arrays = dict(mean=mean, std=std, centre=centre, matrix=(vectors * scale[None]) @ vectors.T)
  if kind == "zca_kip":
    arrays["median_mean"] = np.median(np.concatenate(means))
    arrays["median_norm"] = np.median(np.concatenate(norms))
  return arrays


def _channel_moments(images: np.ndarray, max_value: int) -> tuple[np.ndarray, np.ndarray]:
  """Mean and std of each channel in pixels, from exact sums; a constant channel has std 1."""
  total = np.zeros(images.shape[1:])
  total_of_squares = np.zeros(images.shape[1:])
  for start in range(0, len(images), _ROWS_PER_SUM):
    block = images[start : start + _ROWS_PER_SUM].astype(np.uint16)  # 255^2 fits
    total += block.sum(axis=0, dtype=np.uint32)
    total_of_squares += (block * block).sum(axis=0, dtype=np.uint32)
  count = images[..., 0].size
  mean = total.sum(axis=(0, 1)) / count
  variance = total_of_squares.sum(axis=(0, 1)) / count - mean**2
  std = np.sqrt(np.where(variance > 0, variance, max_value**2))
  return mean / max_value, std / max_value


def _needed(kind: str) -> tuple[str, ...]:
  """Names of the arrays that a kind consists of."""
  standardised = ("mean", "std") if kind in _STANDARDISED else ()
  if kind == "zca_kip":
    return (*standardised, "matrix", "median_mean", "median_norm")
  whitened = ("centre", "matrix") if kind.startswith("zca") else ()
  return (*standardised, *whitened)


def check_kind(kind: str | None) -> None:
  """Raises ValueError for an unknown kind; None is none yet."""
  if kind is not None:
    _known(kind)


def _known(kind: str) -> str:
  """`kind` itself, or an error that helps."""
  if kind not in KINDS:
    raise ValueError(f"Unknown preprocessing {kind!r}. {nearest(kind, KINDS)}")
  return kind


def _as_channels(values: AnyArray, images: AnyArray) -> AnyArray:
  """f[c] shaped to broadcast over images [... h w c]."""
  return values.reshape((1,) * (images.ndim - 1) + (-1,))
