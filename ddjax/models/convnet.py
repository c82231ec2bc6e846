"""ConvNet-D of DC, DSA, DM, MTT and IDC (Gidaris, Komodakis 2018), and its variant of FRePo."""

import math
from typing import ClassVar

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
    is_frepo: whether widths double by block and a norm comes before every convolution but the
      first; a variant's, not an option.
  """

  num_classes: int
  width: int = 128
  depth: int | None = None
  norm: str = "instance"
  activation: str = "relu"
  pooling: str = "average"
  dtype: str = "float32"
  is_frepo: ClassVar[bool] = False

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
      if self.is_frepo and block:
        x = normalise(x, f"norm_{block}")
      width = self.width * (2**block if self.is_frepo else 1)
      x = Conv(width, padding=padding, name=f"conv_{block}")(x)
      if not self.is_frepo:
        x = normalise(x, f"norm_{block}")
      x = pool(activation(x))
    return readout(x.reshape(len(x), -1), self.num_classes, return_features)


class FrepoConvNet(ConvNet):
  """D blocks of [norm, 3x3 convolution, activation, pool], each twice as wide as the one before.

  Of FRePo and RCIG (Zhou et al. 2022, https://arxiv.org/abs/2206.00719): batch norm in the
  published evaluation, none while FRePo distils, none before the first convolution. `width` is that
  of the first block. Initial values are those of all networks here.
  """

  norm: str = "batch"
  is_frepo: ClassVar[bool] = True
