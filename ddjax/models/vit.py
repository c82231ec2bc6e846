"""A small vision transformer (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.models.layers import Images, Mask, Output, as_dtype, choose, dense, readout, widen
from ddjax.types import Array


class ViT(nn.Module):
  """Pre-norm transformer over patches with learned positions; the readout sees the mean token.

  Distillation has no published size. This is half of the smallest common one, DeiT-Ti (Touvron et
  al. 2021): width 192, heads of 64 units and hidden layers of 4 * width as there, 6 blocks for its
  12; 2.7 million parameters, a quarter of a ResNet-18. Patches of 4 px make 64 tokens of a 32x32
  image, the pixels that two pools of a ConvNet leave, 49 of 28x28 (not padded) and 4 of 8x8.
  GELU, layer norm with eps 1e-6 and no dropout, as published; the mean over tokens stands for the
  class token (Beyer et al. 2022, https://arxiv.org/abs/2205.01580).

  Attributes:
    num_classes: k.
    width: units of a token; 192.
    depth: number of blocks; 6.
    heads: number of attention heads, a divisor of the width; None takes one for every 64 units.
    patch: side of a patch, pixels, a divisor of the image's; 4.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 192
  depth: int = 6
  heads: int | None = None
  patch: int = 4
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    x: Images,
    *,
    is_training: bool = False,
    mask: Mask = None,
    return_features: bool = False,
  ) -> Output:
    """f32[b h w c] as preprocessed -> logits f32[b k]; see `ddjax.models.build`.

    Raises:
      ValueError: if patches do not tile the image, or heads do not divide the width.
    """
    del is_training, mask  # every image is on its own
    heads = self.heads or max(1, self.width // 64)
    if self.width % heads:
      raise ValueError(f"width={self.width} of a ViT is not a multiple of heads={heads}.")
    patches = _patches(as_dtype(x, self.dtype), self.patch)
    tokens = dense(patches, self.width, "embedding")
    shape = (1, *tokens.shape[1:])
    positions = self.param("positions", nn.initializers.normal(0.02), shape, jnp.float32)
    tokens = tokens + positions.astype(tokens.dtype)
    for block in range(self.depth):
      tokens = _Block(heads, name=f"block_{block}")(tokens)
    features = widen(_layer_norm("norm", tokens)).mean(1)
    return readout(features, self.num_classes, return_features)


class _Block(nn.Module):
  """Self-attention and two linear layers, each behind a norm and added to its input."""

  heads: int

  @nn.compact
  def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
    b, t, d = x.shape
    y = dense(_layer_norm("norm_0", x), 3 * d, "query_key_value")
    query, key, value = jnp.moveaxis(y.reshape(b, t, 3, self.heads, d // self.heads), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) * (d // self.heads) ** -0.5
    weights = jax.nn.softmax(widen(scores)).astype(x.dtype)
    y = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(b, t, d)
    x = x + dense(y, d, "projection")
    y = dense(_layer_norm("norm_1", x), 4 * d, "hidden")
    return x + dense(choose("activation", "gelu")(y), d, "output")


def _layer_norm(name: str, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
  """Layer norm over the units of a token; means and variances of bf16 are taken in f32."""
  norm = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name=name)
  return norm(widen(x)).astype(x.dtype)


def _patches(x: Images, side: int) -> Float[Array, "b t p"]:
  """Square patches row by row, each flattened in the order row, column, channel."""
  b, h, w, c = x.shape
  if h % side or w % side:
    raise ValueError(f"Patches of {side} px do not tile an image of {h}x{w} px.")
  x = x.reshape(b, h // side, side, w // side, side, c)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, -1, side * side * c)
