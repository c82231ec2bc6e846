"""One way to every kernel: `make_kernel(config.kernel, image_shape)`."""

import functools
from typing import Any, Callable, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.backend import traits
from ddjax.kernels import classical
from ddjax.kernels.architectures import FAMILIES as NETWORKS
from ddjax.kernels.architectures import POOLED, hidden_layers, stax_kernel
from ddjax.kernels.pooled import pooled_kernel, pooled_stages
from ddjax.kernels.random_feature import num_activations, random_feature_kernel
from ddjax.kernels.recursion import network_kernel
from ddjax.types import Array
from ddjax.wording import nearest

KINDS = ("ntk", "nngp")
PRECISIONS = ("float32", "float64")


class Kernel(NamedTuple):
  """A kernel and what its cost depends on.

  Attributes:
    name: short, such as "fc2-ntk".
    kernel_fn: (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2], pure, matrix products at the highest
      precision. The diagonal is exact where x1 and x2 are one array (`x1 is x2`). Equal images that
      are two arrays are off there: a float32 NTK by up to 7e-4 of its value.
    layers: of the network, or () where there is none.
    engine: what computes the network's kernel, or "" where there is none.
    precision: of the arrays that it is meant for.
    values_per_image: how many it holds for each image at the peak, beside those for each pair.
  """

  name: str
  kernel_fn: Callable[[Array, Array], Array]
  layers: tuple[str, ...]
  engine: str
  precision: str
  values_per_image: int = 0

  @property
  def has_pixels(self) -> bool:
    """Whether a pair of images needs a covariance for each pixel."""
    return "conv" in self.layers

  @property
  def has_pooling(self) -> bool:
    """Whether it needs one for each pair of pixels."""
    return "pool" in self.layers


def make_kernel(
  config: ConfigDict, image_shape: tuple[int, int, int], *, precision: str = "float32"
) -> Kernel:
  """Builds the kernel that a config names.

  Args:
    config: as `ddjax.config.groups.kernel`.
    image_shape: (h, w, c) of what the kernel will see.
    precision: float32, or float64, which needs `jax_enable_x64`.
  Raises:
    ValueError: for an unknown family, kind, depth or precision, or a bandwidth or weight standard
      deviation that is not positive.
  """
  family, depth, kind = config.family, config.depth, config.kind
  _check(config, precision)
  layers, engine, values_per_image = (), "", 0
  if family in NETWORKS:
    layers = hidden_layers(family, depth, image_shape)
    name = f"{family}{depth}-{kind}"
    engine = choose_engine(config.engine, layers, image_shape)
    settings = (
      layers,
      kind,
      config.weight_std,
      config.bias_std,
      config.readout_weight_std,
      config.readout_bias_std,
    )
    kernel_fn = ENGINES[engine](*settings)
    if engine == "neural_tangents":
      kernel_fn = _exact_where_equal(kernel_fn, network_kernel(*settings), "pool" in layers)
  elif family == "random_feature":
    name = f"random_feature{depth}-{config.num_networks}x{config.num_features}"
    kernel_fn = random_feature_kernel(config, image_shape, precision)
    values_per_image = num_activations(config, image_shape)
  else:
    name = f"arccos{depth}" if family == "arccos" else family
    kernel_fn = _CLASSICAL[family](config)
  kernel_fn = _at_highest_precision(kernel_fn)
  return Kernel(name, kernel_fn, layers, engine, precision, values_per_image)


ENGINES = {
  "neural_tangents": stax_kernel,
  "closed_form": network_kernel,
  "pooled": pooled_kernel,
}


def choose_engine(wanted: str, layers: tuple[str, ...], image_shape: tuple[int, int, int]) -> str:
  """Which engine computes a network's kernel.

  Args:
    wanted: an engine, or "auto" for the one that is fastest here: pooled for networks with pooling
      on images that are not tiny, closed_form on tiny ones and on accelerators, neural_tangents
      without pooling.
    layers: from `hidden_layers`.
    image_shape: (h, w, c).
  Raises:
    ValueError: where the engine wanted does not have the network.
  """
  if wanted == "pooled" and pooled_stages(layers) is None:
    raise ValueError(
      "kernel.engine='pooled' computes networks with pooling, convnet and myrtle; "
      "kernel.engine='auto' chooses by itself."
    )
  if wanted != "auto":
    return wanted
  if pooled_stages(layers) is None:
    return "neural_tangents"
  is_large = image_shape[0] * image_shape[1] >= traits().pooled_from_pixels
  return "pooled" if is_large else "closed_form"


_CLASSICAL = {
  "rbf": lambda config: classical.rbf(config.bandwidth),
  "laplace": lambda config: classical.laplace(config.bandwidth),
  "linear": lambda config: classical.linear(config.weight_std, config.bias_std),
  "arccos": lambda config: classical.arccos(config.depth),
}


def _check(config: ConfigDict, precision: str) -> None:
  """Raises ValueError for what no kernel can be built from."""
  families = (*NETWORKS, *_CLASSICAL, "random_feature")
  for field, value, known in (
    ("kernel.family", config.family, families),
    ("kernel.kind", config.kind, KINDS),
    ("kernel.engine", config.engine, ("auto", *ENGINES)),
    ("precision", precision, PRECISIONS),
  ):
    if value not in known:
      raise ValueError(f"Unknown {field} {value!r}. {nearest(value, known)}")
  settings: Any = jax.config
  if precision == "float64" and not settings.jax_enable_x64:
    raise ValueError("precision='float64' needs JAX's 64-bit mode: set JAX_ENABLE_X64=1.")
  is_crashing = precision == "float64" and config.engine == "neural_tangents"
  if is_crashing and config.family in POOLED and traits().has_float64_crash:
    raise ValueError(
      f"kernel.family={config.family!r} in float64 on the CPU: neural-tangents' pooled kernels run "
      "into a crash of XLA's float64 convolution there. Use kernel.engine='auto'."
    )
  if config.depth < 1:
    raise ValueError(f"kernel.depth={config.depth} must be at least 1.")
  for field in ("bandwidth", "weight_std", "readout_weight_std"):
    if not config[field] > 0:
      raise ValueError(f"kernel.{field}={config[field]} must be positive.")


def _exact_where_equal(kernel_fn, exact_fn, has_pooling: bool):
  """The kernel with the diagonal of another one, where both arguments are one array.

  neural-tangents takes the angle between an image and itself for any other: rounding makes it as
  large as the root of the precision.
  """

  def of_itself(image: Array) -> Array:
    one = image[None]
    return exact_fn(one, one)[0, 0]

  @functools.wraps(kernel_fn)
  def wrapped(x1: Array, x2: Array) -> Array:
    matrix = kernel_fn(x1, x2)
    if x1 is not x2:
      return matrix
    # With pooling, each holds a covariance of all pairs of pixels.
    diagonal = jax.lax.map(of_itself, x1) if has_pooling else jax.vmap(of_itself)(x1)
    return jnp.where(jnp.eye(len(x1), dtype=bool), diagonal[:, None], matrix)

  return wrapped


def _at_highest_precision(kernel_fn):
  """The same function with float32 matrix products in float32, whatever the accelerator."""

  @functools.wraps(kernel_fn)
  def wrapped(x1, x2):
    with jax.default_matmul_precision("highest"):
      return kernel_fn(x1, x2)

  return wrapped
