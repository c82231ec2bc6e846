"""ConvNet-D, the network of DC, DSA, DM, MTT and IDC (Gidaris, Komodakis 2018)."""

import math

import flax.linen as nn

from ddjax.models.layers import (
  Conv,
  Images,
  Mask,
  Output,
  as_dtype,
  check_side,
  choose,
  first_padding,
  make_norm,
  readout,
)


class ConvNet(nn.Module):
  """D blocks of [3x3 convolution, norm, activation, 2x2 pool], then a linear layer.

  28x28 images are padded to 32x32 by the first convolution.

  Attributes:
    num_classes: k.
    width: channels of every block; 128 in the papers.
    depth: number of blocks D; None takes the papers' 3 up to 32 px, 4 at 64, 5 at 128.
    norm: instance (the papers' default), batch, layer, group or none.
    activation: relu (the papers' default), leaky_relu, sigmoid, tanh, gelu or swish.
    pooling: average (the papers' default), max or none.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 128
  depth: int | None = None
  norm: str = "instance"
  activation: str = "relu"
  pooling: str = "average"
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
      ValueError: if the image is too small for so many halvings.
    """
    depth = self.depth or max(3, round(math.log2(min(x.shape[1:3]))) - 2)
    if self.pooling != "none":
      check_side(x, 2**depth, f"A ConvNet of {depth} blocks")
    activation, pool = choose("activation", self.activation), choose("pooling", self.pooling)
    normalise = make_norm(self.norm, is_training, mask)
    x = as_dtype(x, self.dtype)
    for block in range(depth):
      padding = 1 if block else first_padding(x, 1)
      x = Conv(self.width, padding=padding, name=f"conv_{block}")(x)
      x = pool(activation(normalise(x, f"norm_{block}")))
    return readout(x.reshape(len(x), -1), self.num_classes, return_features)
