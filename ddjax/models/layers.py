"""Layers that the networks share, with the initial values of the framework that published them.

There, weights and biases alike are uniform in +-1/sqrt(fan_in); gradient and trajectory matching
are sensitive to it. Norms start at scale 1 and shift 0, with eps 1e-5.
"""

import functools
from typing import Any, Callable, Mapping

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from ddjax.models.convolution import average_pool, conv
from ddjax.models.instance_norm import InstanceNorm
from ddjax.types import Array
from ddjax.wording import nearest

Images = Float[Array, "b h w c"]
Mask = Bool[Array, " b"] | None
Output = Float[Array, "b k"] | tuple[Float[Array, "b k"], Float[Array, "b d"]]
"""What every network returns: logits, or (logits, features)."""

_EPSILON = 1e-5


def uniform_fan_in(fan_in: int) -> nn.initializers.Initializer:
  """Initial values uniform in +-1/sqrt(fan_in), whatever the shape asked for."""
  bound = fan_in**-0.5

  def init(rng, shape, dtype=jnp.float32, out_sharding=None):
    del out_sharding
    return jax.random.uniform(rng, shape, dtype, -bound, bound)

  return init


def as_dtype(x: Array, dtype: str) -> Array:
  """The images that a network computes with, for use as the first thing in its `__call__`.

  A layer computes in the dtype of its input, and rounds its f32 parameters to it.

  Args:
    x: as given to the network.
    dtype: a dtype in `CHOICES`: "bfloat16" rounds x; "float32" leaves x as it is, f64 too.
  """
  return x.astype(jnp.bfloat16) if choose("dtype", dtype) == jnp.bfloat16 else x


def widen(x: Array) -> Array:
  """bf16 -> f32, for what is summed or normalised; others as they are."""
  return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


def dense(x: Float[Array, "... d"], units: int, name: str) -> Float[Array, "... units"]:
  """A linear layer inside a compact `__call__`, initial values by `uniform_fan_in`."""
  init = uniform_fan_in(x.shape[-1])
  dtype = x.dtype if x.dtype == jnp.bfloat16 else None  # None: the wider one of x and parameters
  return nn.Dense(units, kernel_init=init, bias_init=init, dtype=dtype, name=name)(x)


def readout(
  features: Float[Array, "b d"], num_classes: int, return_features: bool = False
) -> Output:
  """The last linear layer, named `readout`: logits f32[b k], with its inputs where asked for.

  It computes in f32 where the layers before it compute in bf16.
  """
  features = widen(features)
  logits = dense(features, num_classes, "readout")
  return (logits, features) if return_features else logits


class Conv(nn.Module):
  """A square convolution, f32[b h w c] -> f32[b y x features].

  Attributes:
    features: channels of the output.
    size: side of the kernel, pixels.
    padding: zeros on each side, pixels.
    stride: pixels from one window to the next.
    use_bias: whether a bias is added.
  """

  features: int
  size: int = 3
  padding: int = 1
  stride: int = 1
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: Images) -> Float[Array, "b y x o"]:
    channels = x.shape[-1]
    init = uniform_fan_in(self.size**2 * channels)
    shape = (self.size, self.size, channels, self.features)
    y = conv(x, self.param("kernel", init, shape, jnp.float32), self.padding, self.stride)
    if not self.use_bias:
      return y
    bias = self.param("bias", init, (self.features,), jnp.float32)
    return y + jnp.broadcast_to(bias, y.shape).astype(y.dtype)


class BatchNorm(nn.Module):
  """Batch norm with the running statistics of the reference framework (Ioffe, Szegedy 2015).

  In training the batch's mean and biased variance normalise; the running mean and the running
  *unbiased* variance, n / (n - 1) times that one over n = rows * h * w values, take a tenth of the
  new value. `flax.linen.BatchNorm` keeps the biased one: 1/16 less at 4 rows of 2x2 pixels.

  Attributes:
    momentum: weight of the new value in the running statistics.
  """

  momentum: float = 0.1

  @nn.compact
  def __call__(self, x: Images, is_training: bool = False, mask: Mask = None) -> Images:
    """f32[b h w c] -> same shape.

    Args:
      x: f32[b h w c].
      is_training: normalise by this batch, and update the collection `batch_stats` (which must be
        mutable); otherwise by the running statistics.
      mask: bool[b], the rows that count in the batch's statistics; at least one. None = all.
    """
    b, h, w, c = x.shape
    scale = self.param("scale", nn.initializers.ones, (c,), jnp.float32)
    bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,), jnp.float32)
    running_var = self.variable("batch_stats", "var", jnp.ones, (c,), jnp.float32)
    if is_training:
      rows = None if mask is None else mask.reshape(b, 1, 1, 1)
      mean = jnp.mean(x, (0, 1, 2), where=rows)
      centred = x - jnp.broadcast_to(mean, x.shape)
      var = jnp.mean(centred**2, (0, 1, 2), where=rows)
      if not self.is_initializing():
        count = (b if mask is None else mask.sum()) * h * w
        unbiased = var * count / jnp.maximum(count - 1, 1)
        running_mean.value += self.momentum * (mean - running_mean.value)
        running_var.value += self.momentum * (unbiased - running_var.value)
    else:
      var = running_var.value
      centred = x - jnp.broadcast_to(running_mean.value, x.shape)
    factor = jnp.broadcast_to(scale * lax.rsqrt(var + _EPSILON), x.shape)
    return centred * factor + jnp.broadcast_to(bias, x.shape)


def max_pool(x: Images) -> Float[Array, "b y x c"]:
  """Maxima of 2x2 windows, f32[b h w c] -> f32[b h//2 w//2 c]; an odd last row is cut.

  Of equal maxima the first by rows has the gradient, as in PyTorch. JAX's own `max` looks for what
  equals the maximum and divides by how many do; where XLA computes an input twice and rounds it
  differently, that is none, and the gradient NaN.
  """
  b, h, w, c = x.shape
  windows = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
  columns = _larger(windows[..., 0, :], windows[..., 1, :])
  return _larger(columns[:, :, 0], columns[:, :, 1])


def _larger(a: Array, b: Array) -> Array:
  """The larger one, the first of equals; NaN where either is."""
  return jnp.where((a >= b) | jnp.isnan(a), a, b)


_NORM = dict(epsilon=_EPSILON, use_fast_variance=False)

CHOICES: Mapping[str, Mapping[str, Any]] = {
  "norm": {
    "instance": InstanceNorm,
    "batch": BatchNorm,
    "layer": functools.partial(
      nn.LayerNorm, reduction_axes=(1, 2, 3), feature_axes=(1, 2, 3), **_NORM
    ),
    "group": functools.partial(nn.GroupNorm, num_groups=4, **_NORM),
    "none": None,
  },
  "activation": {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "gelu": functools.partial(nn.gelu, approximate=False),
    "swish": nn.swish,
  },
  "pooling": {"average": average_pool, "max": max_pool, "none": lambda x: x},
  "dtype": {"float32": jnp.float32, "bfloat16": jnp.bfloat16},
}
"""{option: {its value: what it stands for}}, the options that networks share.

Layer norm runs over a whole image, with a scale and a shift for each of its h * w * c values, as in
DC's networks; group norm has four groups; leaky ReLU has slope .01; GELU is the exact one. In
"bfloat16" convolutions and linear layers, but for the readout, take and give bf16; their sums, the
norms' means and variances, softmax and the parameters stay f32.
"""


def choose(option: str, value: str) -> Any:
  """What a value of a shared option stands for.

  Raises:
    ValueError: for an unknown value, with the nearest known one.
  """
  if value not in CHOICES[option]:
    raise ValueError(f"Unknown {option}={value!r}. {nearest(value, CHOICES[option])}")
  return CHOICES[option][value]


def make_norm(
  kind: str, is_training: bool, mask: Mask
) -> Callable[[Float[Array, "b h w c"], str], Float[Array, "b h w c"]]:
  """(x f[b h w c], layer name) -> x normalised, for use inside a compact `__call__`.

  Means and variances of bf16 are taken in f32.

  Args:
    kind: a norm in `CHOICES`.
    is_training: as for `BatchNorm`; the other norms look at one image at a time.
    mask: likewise.
  """
  layer = choose("norm", kind)

  def normalise(x, name):
    if kind == "none":
      return x
    rest = (is_training, mask) if kind == "batch" else ()
    return layer(name=name)(widen(x), *rest).astype(x.dtype)

  return normalise


def first_padding(x: Images, padding: int) -> int:
  """Padding of a first convolution: 2 more for 28x28 images, which so count as 32x32."""
  return padding + 2 if x.shape[1:3] == (28, 28) else padding


def check_side(x: Images, least: int, network: str) -> None:
  """Raises ValueError for an image with a side below `least` pixels; 28x28 passes for 32x32."""
  side = min(x.shape[1:3])
  if side < least and not (x.shape[1:3] == (28, 28) and least <= 32):
    raise ValueError(f"{network} needs {least} px a side, not {side}.")
