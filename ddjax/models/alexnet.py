"""AlexNet for small images (Krizhevsky et al. 2012, as in DC's released networks)."""

import flax.linen as nn

from ddjax.models.layers import (
  Conv,
  Images,
  Mask,
  Output,
  as_dtype,
  check_side,
  first_padding,
  max_pool,
  readout,
)

_LAYERS = ((1, 5), (1.5, 5), (2, 3), (1.5, 3), (1.5, 3))
"""(channels in widths, side of the kernel) of the five convolutions."""


class AlexNet(nn.Module):
  """Five ReLU convolutions that keep the size, max pooling after 1, 2 and 5, a readout; no norm.

  28x28 images are padded to 32x32 by the first convolution. Images need 8 px a side.

  Attributes:
    num_classes: k.
    width: channels of the first layer, 128 as published; the others have 1.5, 2, 1.5 and 1.5 times
      as many.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 128
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
      ValueError: for images below 8 px.
    """
    del is_training, mask  # every image is on its own
    check_side(x, 8, "AlexNet")
    x = as_dtype(x, self.dtype)
    for layer, (multiple, size) in enumerate(_LAYERS):
      padding = size // 2 if layer else first_padding(x, size // 2)
      x = nn.relu(Conv(round(multiple * self.width), size, padding, name=f"conv_{layer}")(x))
      if layer in (0, 1, 4):
        x = max_pool(x)
    return readout(x.reshape(len(x), -1), self.num_classes, return_features)
