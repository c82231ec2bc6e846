r"""Kernels of infinitely wide ReLU networks that pool, without the covariance of all pixels.

The recursion is that of `recursion.py`. There the layers before the first pooling hold a covariance
for each pair of pixels, (h w)^2 values a pair of images. Here that covariance never exists: two
rows of one image at a time meet all pixels of the other (`streamed.py`), and what comes out is the
covariance after pooling, 16 times smaller. The layers after it work on that, a few pairs of images
at a time, in the cache. The gradient does the same and stores the pooled covariance alone.

Covariances travel as a tuple (K,) or (K, K + T) with T the tangent kernel: a convolution or the
readout takes both to \sigma_w^2 A(.) + \sigma_b^2.
"""

import functools
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp

from ddjax.kernels import streamed
from ddjax.kernels.architectures import Layers
from ddjax.kernels.pairs import map_images, map_pairs, map_symmetric_pairs
from ddjax.kernels.streamed import Affine, Kernels
from ddjax.types import Array

_TINY = 1e-12  # a smaller variance counts as zero


class Network(NamedTuple):
  """Which network a kernel is of.

  Attributes:
    stages: the pairs of convolution and ReLU of each stage; all but the last end in a pooling.
    end: flatten or global_pool, after the last stage.
    affine: variances of the hidden layers.
    has_tangent: whether the tangent kernel is wanted beside the NNGP.
  """

  stages: tuple[int, ...]
  end: str
  affine: Affine
  has_tangent: bool


class Image(NamedTuple):
  """An image as the kernel sees it.

  Attributes:
    patches: f[h w d], unit vectors.
    deviations: of the pixels before each ReLU, a tuple of f[h w] for each stage.
  """

  patches: Array
  deviations: tuple[tuple[Array, ...], ...]


def pooled_stages(layers: Layers) -> tuple[int, ...] | None:
  """Pairs of convolution and ReLU before, between and after the poolings.

  Returns:
    such as (2, 1, 1, 0) for ConvNet-3, or None where the layers are no such network.
  """
  stages = []
  for stage in " ".join(layers[:-1]).split("pool"):
    names = stage.split()
    if names != ["conv", "relu"] * (len(names) // 2):
      return None
    stages.append(len(names) // 2)
  is_known = layers[-1] in ("flatten", "global_pool") and len(stages) > 1 and stages[0] > 0
  return tuple(stages) if is_known else None


def pooled_kernel(
  layers: Layers,
  kind: str,
  weight_std: float,
  bias_std: float,
  readout_weight_std: float,
  readout_bias_std: float,
) -> Callable[[Array, Array], Array]:
  """The kernel of an infinitely wide convolutional network with pooling.

  Args:
    layers: from `architectures.hidden_layers`; see `pooled_stages`.
    kind: "ntk" or "nngp".
    weight_std, bias_std: of the hidden layers, in the NTK parameterisation.
    readout_weight_std, readout_bias_std: of the readout.
  Returns:
    (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2], float32 or float64 as its arguments. Where x1 is
    x2, half of the matrix is computed, and its diagonal is exact.
  Raises:
    ValueError: for layers without pooling, or without convolution and ReLU before the first.
  """
  stages = pooled_stages(layers)
  if stages is None:
    raise ValueError(f"The pooled engine computes stages of conv and relu with pool, not {layers}.")
  network = Network(stages, layers[-1], Affine(weight_std**2, bias_std**2), kind == "ntk")
  without_tangent = network._replace(has_tangent=False)

  def readout(kernels: Kernels) -> Array:
    return readout_weight_std**2 * kernels[-1] + readout_bias_std**2

  def cross(image1: Image, image2: Image) -> Array:
    return readout(_of_pair(network, image1, image2))

  def own(image: Array) -> tuple[Image, Array]:
    seen, kernels = _of_itself(network, image)
    return seen, readout(kernels)

  def seen(image: Array) -> Image:
    return _of_itself(without_tangent, image)[0]

  def kernel_fn(x1: Array, x2: Array) -> Array:
    num_pixels = x1.shape[1] * x1.shape[2]
    if x1 is x2:
      images, diagonal = map_images(own, x1, num_pixels)
      return map_symmetric_pairs(cross, images, diagonal, num_pixels)
    images1, images2 = (map_images(seen, x, num_pixels) for x in (x1, x2))
    if len(x1) < len(x2):
      # The gradient of a pair's second image takes a tenth less time than that of its first, and
      # the shorter side is as a rule the support set.
      return map_pairs(cross, images2, images1, num_pixels).T
    return map_pairs(cross, images1, images2, num_pixels)

  return kernel_fn


def _of_pair(network: Network, image1: Image, image2: Image) -> Kernels:
  """The covariances of two images before the readout, f[] each."""
  kernels = _first_stage(network, image1, image2, is_same=False)
  return _later_stages(network, kernels, image1.deviations[1:], image2.deviations[1:])


def _first_stage(network: Network, image1: Image, image2: Image, is_same: bool) -> Kernels:
  """After the first pooling, f[h w h' w'] each."""
  side1, side2 = ((image.patches, image.deviations[0]) for image in (image1, image2))
  form = streamed.Form(network.affine, network.has_tangent, is_same)
  return streamed.first_stage(form, side1, side2)


@functools.partial(jax.checkpoint, static_argnums=0)
def _later_stages(network: Network, kernels: Kernels, deviations1, deviations2) -> Kernels:
  """From the first pooling to the end."""
  last = len(network.stages) - 2
  for index, stage in enumerate(zip(deviations1, deviations2)):
    kernels = _stage(network.affine, kernels, *stage, is_same=False)
    if index < last:
      kernels = tuple(_pool(kernel) for kernel in kernels)
  return _end(network, kernels)


def _of_itself(network: Network, image: Array) -> tuple[Image, Kernels]:
  """What an image looks like to the kernel, and its covariances with itself, f[] each."""
  patches, variance = _patches(image, network.affine)
  stages = _deviations(variance, network.stages[0], network.affine, is_input=False)
  seen = Image(patches, (stages,))
  kernels = _first_stage(network, seen, seen, is_same=True)
  for index, num_convs in enumerate(network.stages[1:]):
    if index > 0:
      kernels = tuple(_pool(kernel) for kernel in kernels)
    variance = jnp.einsum("hwhw->hw", kernels[0])
    stages = _deviations(variance, num_convs, network.affine, is_input=True)
    kernels = _stage(network.affine, kernels, stages, stages, is_same=True)
    seen = seen._replace(deviations=(*seen.deviations, stages))
  return seen, _end(network, kernels)


def _patches(image: Array, affine: Affine) -> tuple[Array, Array]:
  """Unit vectors f[h w 9c+1] whose products are correlations after a convolution; variances f[h w].

  A window's values and, at the end, the bias.
  """
  height, width, num_channels = image.shape
  padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
  windows = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
  values = jnp.concatenate(windows, axis=-1) * (affine.weight / (9 * num_channels)) ** 0.5
  bias = jnp.full((height, width, 1), affine.bias**0.5, image.dtype)
  patches = jnp.concatenate([values, bias], axis=-1)
  variance = jnp.sum(patches * patches, axis=-1)
  return patches / _root(variance)[..., None], variance


def _deviations(
  variance: Array, num_convs: int, affine: Affine, is_input: bool
) -> tuple[Array, ...]:
  """Standard deviations before each ReLU of a stage, f[h w] each.

  `variance` is that of the stage's input, or else that after its first convolution.
  """
  found = []
  for index in range(num_convs):
    if index > 0 or is_input:
      height, width = variance.shape
      padded = jnp.pad(variance, 1)
      shifts = (padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
      total: Any = sum(shifts)
      variance = affine.weight / 9 * total + affine.bias
    found.append(_root(variance))
    variance = variance / 2
  return tuple(found)


def _root(variance: Array) -> Array:
  """The square root, of at least a tiny variance."""
  # Not `maximum`, whose gradient hangs on an equality of floats.
  return jnp.sqrt(jnp.where(variance < _TINY, _TINY, variance))


def _stage(affine: Affine, kernels: Kernels, deviations1, deviations2, is_same: bool) -> Kernels:
  """Convolutions and ReLUs on covariances that are held whole, f[h w h' w'] each."""
  height, width = kernels[0].shape[:2]
  pixels = jnp.arange(height * width).reshape(height, width)
  for deviation1, deviation2 in zip(deviations1, deviations2):
    grids = [streamed.flat(jnp.pad(kernel, 1), num_axes=2) for kernel in kernels]
    rows = [[grid[i : i + height] for grid in grids] for i in range(3)]
    own = streamed.same_pixel(pixels, streamed.wide(pixels, fill=-1)) if is_same else None
    kernels = streamed.conv_relu(
      affine, rows, deviation1, streamed.wide(deviation2, fill=1.0), width + 2, own
    )
    kernels = tuple(kernel.reshape(height, width, height, -1)[..., :width] for kernel in kernels)
  return kernels


def _pool(kernel: Array) -> Array:
  """Mean over 2x2 pixels of both images; an odd last row or column is dropped."""
  for axis in range(4):
    half = kernel.shape[axis] // 2
    kernel = jax.lax.slice_in_dim(kernel, 0, 2 * half, axis=axis)
    shape = kernel.shape[:axis] + (half, 2) + kernel.shape[axis + 1 :]
    kernel = kernel.reshape(shape).mean(axis + 1)
  return kernel


def _end(network: Network, kernels: Kernels) -> Kernels:
  """Flattened, the mean over equal pixels; pooled globally, over all pairs of pixels."""
  if network.end == "global_pool":
    return tuple(kernel.mean() for kernel in kernels)
  return tuple(jnp.einsum("hwhw->hw", kernel).mean() for kernel in kernels)
