"""The ConvNet of FRePo and RCIG (Zhou et al. 2022, https://arxiv.org/abs/2206.00719)."""

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


class FrepoConvNet(nn.Module):
  """D blocks of [norm, 3x3 convolution, activation, 2x2 pool] of doubling widths, a linear layer.

  The first block has no norm. 28x28 images are padded to 32x32 by the first convolution. Initial
  values are those of all networks here.

  Attributes:
    num_classes: k.
    width: channels of the first block, 128 as published; each further block has twice as many.
    depth: number of blocks D; None takes the published 3 up to 32 px, 4 at 64, 5 at 128.
    norm: batch (in the published evaluation), none (while FRePo distils), instance, layer or group.
    activation: relu as published, leaky_relu, sigmoid, tanh, gelu or swish.
    pooling: average as published, max or none.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 128
  depth: int | None = None
  norm: str = "batch"
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
      x = normalise(x, f"norm_{block}") if block else x
      x = Conv(self.width * 2**block, padding=padding, name=f"conv_{block}")(x)
      x = pool(activation(x))
    return readout(x.reshape(len(x), -1), self.num_classes, return_features)
