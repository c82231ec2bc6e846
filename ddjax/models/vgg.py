"""VGG-11 for small images (Simonyan, Zisserman 2015, as in DC's released networks)."""

import flax.linen as nn

from ddjax.models.layers import (
  Conv,
  Images,
  Mask,
  Output,
  as_dtype,
  check_side,
  first_padding,
  make_norm,
  max_pool,
  readout,
)

_STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))
"""Channels of every convolution, in widths; each stage ends with a max pool."""


class VGG11(nn.Module):
  """Eight [3x3 convolution, norm, ReLU] in five stages, a 2x2 max pool after each, a readout.

  One linear layer reads the 8 * width channels of the one pixel that 32x32 leaves; of larger images
  it reads all that are left. 28x28 images are padded to 32x32 by the first convolution.

  Attributes:
    num_classes: k.
    width: channels of the first layer; 64 as published.
    norm: instance (the default in DC's code), batch, layer, group or none.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 64
  norm: str = "instance"
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
      ValueError: for images below 32 px that are not 28x28.
    """
    check_side(x, 32, "VGG-11")
    normalise = make_norm(self.norm, is_training, mask)
    layer = 0
    x = as_dtype(x, self.dtype)
    for stage in _STAGES:
      for multiple in stage:
        padding = 1 if layer else first_padding(x, 1)
        x = Conv(multiple * self.width, padding=padding, name=f"conv_{layer}")(x)
        x = nn.relu(normalise(x, f"norm_{layer}"))
        layer += 1
      x = max_pool(x)
    return readout(x.reshape(len(x), -1), self.num_classes, return_features)
