"""ResNet-18 for small images (He et al. 2016; without the first stride and pool of ImageNet's).

The variant with average pooling is that of DC's released networks: where a strided convolution
skips pixels, whose gradients a distilled image then lacks, the mean over all of them is taken.
"""

from typing import ClassVar

import flax.linen as nn

from ddjax.models.convolution import average_pool
from ddjax.models.layers import (
  Conv,
  Images,
  Mask,
  Output,
  as_dtype,
  check_side,
  make_norm,
  readout,
  widen,
)


class ResNet18(nn.Module):
  """A 3x3 convolution, four stages of two basic blocks, the mean over pixels, a readout.

  The stages have 1, 2, 4 and 8 times `width` channels; all but the first begin by halving the size.
  No convolution has a bias. 28x28 images are not padded, they halve to 14, 7 and 4. The published
  4x4 pool before the readout is the mean over all pixels at 28 and 32 px, and so here at any size.

  Attributes:
    num_classes: k.
    width: channels of the first stage; 64 as published.
    norm: instance (the default in DC's code), batch (He et al.), layer, group or none.
    dtype: float32 or bfloat16, what layers compute in.
    averages: whether stages halve by average pooling and the readout sees every pixel; a variant's,
      not an option.
  """

  num_classes: int
  width: int = 64
  norm: str = "instance"
  dtype: str = "float32"
  averages: ClassVar[bool] = False

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
      ValueError: if the last stage would be left without a pixel, or instance norm with one, of
        which it would leave nothing.
    """
    left = 2 if self.norm == "instance" else 1
    least = 8 * left if self.averages else 8 * left - 7  # averaging rounds halves down, strides up
    check_side(x, least, f"{type(self).__name__} with norm={self.norm}")
    x = as_dtype(x, self.dtype)
    x = Conv(self.width, use_bias=False, name="conv_0")(x)
    x = nn.relu(make_norm(self.norm, is_training, mask)(x, "norm_0"))
    for stage in range(4):
      for block in range(2):
        halves = stage > 0 and block == 0
        layer = _BasicBlock(
          self.width * 2**stage, halves, self.averages, self.norm, name=f"block_{2 * stage + block}"
        )
        x = layer(x, is_training, mask)
    x = x.reshape(len(x), -1) if self.averages else widen(x).mean((1, 2))
    return readout(x, self.num_classes, return_features)


class ResNet18AP(ResNet18):
  """ResNet-18 with average pooling for strides, as used in distillation.

  A stage halves by a convolution of stride 1 (in the block: and its norm and ReLU), then a 2x2
  average pool, which cuts an odd last row: 28x28 images halve to 14, 7 and 3. The readout sees
  every pixel of the last stage, 8192 features at 32x32 and width 64.
  """

  averages: ClassVar[bool] = True


class _BasicBlock(nn.Module):
  """Two 3x3 convolutions with norms beside a shortcut, a 1x1 convolution where the size changes."""

  features: int
  halves: bool
  averages: bool
  norm: str

  @nn.compact
  def __call__(self, x: Images, is_training: bool, mask: Mask) -> Images:
    normalise = make_norm(self.norm, is_training, mask)
    stride = 2 if self.halves and not self.averages else 1

    def pool(x):
      return average_pool(x) if self.halves and self.averages else x

    def convolve(size, stride, name):
      return Conv(self.features, size, size // 2, stride, use_bias=False, name=name)

    y = pool(nn.relu(normalise(convolve(3, stride, "conv_0")(x), "norm_0")))
    y = normalise(convolve(3, 1, "conv_1")(y), "norm_1")
    if self.halves:
      x = normalise(pool(convolve(1, stride, "shortcut_conv")(x)), "shortcut_norm")
    return nn.relu(y + x)
