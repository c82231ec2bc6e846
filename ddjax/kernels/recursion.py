r"""Kernels of infinitely wide ReLU networks, layer by layer in closed form.

The recursion is that of Jacot, Gabriel, Hongler, 2018 (https://arxiv.org/abs/1806.07572) and, for
convolutions, of Novak et al., 2019 (https://arxiv.org/abs/1810.05148), in the NTK parameterisation.
An affine layer takes the covariance K and the tangent kernel T to

  K <- \sigma_w^2 A(K) + \sigma_b^2,    T <- K_new + \sigma_w^2 A(T),

with A the identity (dense) or the mean over the 3x3 window (convolution); a ReLU takes them to

  K <- s \kappa_1(K / s),    T <- T \kappa_0(K / s),    s = sqrt(K(x, x) K(x', x')).

Every array has the axes [h h' w w' n1 n2]: pixels first and images last, so that a shift by a pixel
moves whole blocks of pairs. Only pooling mixes pixels and needs the covariance of unequal ones;
without it h' and w' have length 1 and stand for the pixel h, w itself, and after flattening h and w
have length 1 too.
"""

import functools
from typing import Any, Callable, NamedTuple, Sequence

import jax
import jax.numpy as jnp

from ddjax.kernels.arccosine import kappa_0, kappa_1
from ddjax.kernels.architectures import Layers
from ddjax.types import Array

_TINY = 1e-12  # a smaller variance counts as zero


class Covariance(NamedTuple):
  """The kernels of one layer.

  Attributes:
    cross: f[h h' w w' n1 n2], covariance of x1 with x2.
    tangent: the same of the tangent kernel, or None where only the NNGP is wanted.
    self1: f[h h' w w' n1 1], covariance of each image of x1 with itself.
    self2: f[h h' w w' n2 1].
    is_full: whether h' and w' are axes of their own.
    is_same: whether x1 is x2, so that equal images are known to have a correlation of one.
  """

  cross: Array
  tangent: Array | None
  self1: Array
  self2: Array
  is_full: bool
  is_same: bool


def network_kernel(
  layers: Layers,
  kind: str,
  weight_std: float,
  bias_std: float,
  readout_weight_std: float,
  readout_bias_std: float,
) -> Callable[[Array, Array], Array]:
  """The kernel of an infinitely wide network.

  Args:
    layers: from `architectures.hidden_layers`.
    kind: "ntk" or "nngp".
    weight_std, bias_std: of the hidden layers, in the NTK parameterisation.
    readout_weight_std, readout_bias_std: of the readout.
  Returns:
    (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2], in the precision of its arguments. Passing the
    same array twice makes the diagonal exact, which rounding puts off by up to 1e-4 in float32.
  """
  has_tangent = kind == "ntk"

  def kernel_fn(x1: Array, x2: Array) -> Array:
    if layers[0] == "flatten":
      covariance = _flat(x1, x2, has_tangent)
    else:
      covariance = _of_pixels(x1, x2, has_tangent, is_full="pool" in layers)
    for layer in layers:
      if layer in ("dense", "conv"):
        covariance = _affine(covariance, weight_std, bias_std, is_window=layer == "conv")
      else:
        covariance = _LAYERS[layer](covariance)
    output = _affine(covariance, readout_weight_std, readout_bias_std, is_window=False)
    made = output.tangent if has_tangent else output.cross
    assert made is not None
    return made[0, 0, 0, 0]

  return kernel_fn


def _flat(x1: Array, x2: Array, has_tangent: bool) -> Covariance:
  """Of flattened images: inner products over the number of values."""
  x1_flat, x2_flat = (x.reshape(x.shape[0], -1) for x in (x1, x2))
  size = x1_flat.shape[1]
  cross = (x1_flat @ x2_flat.T / size)[None, None, None, None]
  self1, self2 = (
    jnp.sum(x * x, axis=1)[None, None, None, None, :, None] / size for x in (x1_flat, x2_flat)
  )
  tangent = jnp.zeros_like(cross) if has_tangent else None
  return Covariance(cross, tangent, self1, self2, is_full=False, is_same=x1 is x2)


def _of_pixels(x1: Array, x2: Array, has_tangent: bool, is_full: bool) -> Covariance:
  """Of the pixels' channels: inner products over the number of channels."""
  num_channels = x1.shape[-1]
  pixels1, pixels2 = (
    x.transpose(3, 1, 2, 0)[:, :, None, :, None, :, None]
    for x in (x1, x2)  # [c h 1 w 1 n 1]
  )

  def product(first: Array, second: Sequence[Array]) -> Array:
    # A sum of broadcast products: matrix products over a few channels are 20 times slower on CPUs.
    total: Any = sum(first[c] * second[c] for c in range(num_channels))
    return total / num_channels

  partner1, partner2 = (
    [_swap_pixels(channel, is_full) for channel in pixels] for pixels in (pixels1, pixels2)
  )
  cross = product(pixels1, [channel.swapaxes(4, 5) for channel in partner2])
  self1, self2 = product(pixels1, partner1), product(pixels2, partner2)
  tangent = jnp.zeros_like(cross) if has_tangent else None
  return Covariance(cross, tangent, self1, self2, is_full, is_same=x1 is x2)


def _map(fn: Callable[[Array], Array], covariance: Covariance) -> Covariance:
  """Applies a linear map over pixels to all kernels."""
  cross, tangent, self1, self2, is_full, is_same = covariance
  tangent = None if tangent is None else fn(tangent)
  return Covariance(fn(cross), tangent, fn(self1), fn(self2), is_full, is_same)


def _affine(
  covariance: Covariance, weight_std: float, bias_std: float, is_window: bool
) -> Covariance:
  """A dense layer or, with `is_window`, a 3x3 convolution with zeros around the image."""
  average = (
    functools.partial(_window_mean, is_full=covariance.is_full) if is_window else lambda x: x
  )
  scaled = _map(lambda x: weight_std**2 * average(x), covariance)
  cross = scaled.cross + bias_std**2
  return scaled._replace(
    cross=cross,
    tangent=None if scaled.tangent is None else scaled.tangent + cross,
    self1=scaled.self1 + bias_std**2,
    self2=scaled.self2 + bias_std**2,
  )


def _window_mean(array: Array, is_full: bool) -> Array:
  """Mean over 3x3 shifts, the same for both pixels of a pair.

  The barriers keep the compiler from computing what comes before anew for each of the shifts.
  """
  for axes in ((0, 1), (2, 3)):
    axes = axes if is_full else axes[:1]
    size = array.shape[axes[0]]
    pads = [(1, 1) if axis in axes else (0, 0) for axis in range(array.ndim)]
    padded = jax.lax.optimization_barrier(jnp.pad(jax.lax.optimization_barrier(array), pads))
    shifts = (
      tuple(slice(i, i + size) if axis in axes else slice(None) for axis in range(array.ndim))
      for i in range(3)
    )
    total: Any = sum(padded[shift] for shift in shifts)
    array = total / 3
  return array


def _relu(covariance: Covariance) -> Covariance:
  """A ReLU after every pixel."""
  cross, tangent, self1, self2, is_full, is_same = covariance
  deviation1, deviation2 = _deviation(self1, is_full), _deviation(self2, is_full)
  partner = _swap_pixels(deviation2, is_full)
  cross, kappa_0 = _relu_pair(
    cross, deviation1, partner.swapaxes(4, 5), _is_same_point(cross, is_full) if is_same else None
  )
  if is_full:
    self1, self2 = (
      _relu_pair(x, deviation, _swap_pixels(deviation, is_full), _is_same_pixel(x))[0]
      for x, deviation in ((self1, deviation1), (self2, deviation2))
    )
  else:
    self1, self2 = self1 / 2, self2 / 2
  tangent = None if tangent is None else tangent * kappa_0
  return Covariance(cross, tangent, self1, self2, is_full, is_same)


def _relu_pair(
  covariance: Array, deviation1: Array, deviation2: Array, is_certain: Array | None
) -> tuple[Array, Array]:
  """The covariance after a ReLU, and kappa_0; `is_certain` marks correlations of exactly one."""
  cosine = covariance * (1 / deviation1) * (1 / deviation2)
  if is_certain is not None:
    cosine = jnp.where(is_certain, 1.0, cosine)
  return deviation1 * deviation2 * kappa_1(cosine), kappa_0(cosine)


def _deviation(self_covariance: Array, is_full: bool) -> Array:
  """Standard deviation of each pixel of each image, f[h 1 w 1 n 1]."""
  if is_full:
    variance = jnp.einsum("hhwwab->hwab", self_covariance)[:, None, :, None]
  else:
    variance = self_covariance
  # Not `maximum`, whose gradient hangs on an equality of floats.
  return jnp.sqrt(jnp.where(variance < _TINY, _TINY, variance))


def _swap_pixels(array: Array, is_full: bool) -> Array:
  """f[h 1 w 1 n 1] of the pixels h', w': f[1 h' 1 w' n 1]; where they are h, w, as it is."""
  return array.swapaxes(0, 1).swapaxes(2, 3) if is_full else array


def _is_same_pixel(array: Array) -> Array:
  """bool[h h' w w' 1 1], where h, w is h', w'."""
  rows, columns = jnp.eye(array.shape[0], dtype=bool), jnp.eye(array.shape[2], dtype=bool)
  return (rows[:, :, None, None] & columns[None, None])[..., None, None]


def _is_same_point(array: Array, is_full: bool) -> Array:
  """bool[h h' w w' n1 n2] or broadcast to it, where pixel and image are the same."""
  is_same_image = jnp.eye(array.shape[4], dtype=bool)[None, None, None, None]
  return is_same_image & _is_same_pixel(array) if is_full else is_same_image


def _pool(covariance: Covariance) -> Covariance:
  """Mean over 2x2 pixels, of both pixels of a pair; an odd last row or column is dropped."""

  def halve(array: Array) -> Array:
    for axis in range(4):
      half = array.shape[axis] // 2
      array = jax.lax.slice_in_dim(array, 0, 2 * half, axis=axis)
      array = array.reshape(array.shape[:axis] + (half, 2) + array.shape[axis + 1 :]).mean(axis + 1)
    return array

  return _map(halve, covariance)


def _global_pool(covariance: Covariance) -> Covariance:
  """Mean over all pixels, of both pixels of a pair."""
  return _map(lambda x: x.mean((0, 1, 2, 3), keepdims=True), covariance)


def _flatten(covariance: Covariance) -> Covariance:
  """Mean over pixels: the inner product of flattened features over their number."""

  def mean_over_equal_pixels(array: Array) -> Array:
    if covariance.is_full:
      array = jnp.einsum("hhwwab->hwab", array)[:, None, :, None]
    return array.mean((0, 1, 2, 3), keepdims=True)

  return _map(mean_over_equal_pixels, covariance)._replace(is_full=False)


_LAYERS = dict(relu=_relu, pool=_pool, flatten=_flatten, global_pool=_global_pool)
