"""LeNet with ReLU and max pooling (LeCun et al. 1998, as in DC's released networks)."""

import flax.linen as nn

from ddjax.models.layers import (
  Conv,
  Images,
  Mask,
  Output,
  as_dtype,
  check_side,
  dense,
  first_padding,
  max_pool,
  readout,
)


class LeNet(nn.Module):
  """Two blocks of [5x5 convolution, ReLU, 2x2 max pool], two hidden ReLU layers, a readout.

  The convolutions do not pad, but for 28x28 images, which the first one pads to 32x32. Images need
  16 px a side.

  Attributes:
    num_classes: k.
    width: channels of the first layer, 6 as published; the others keep its proportions, 6 to 16
      channels, 120 and 84 units.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 6
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
      ValueError: for images below 16 px.
    """
    del is_training, mask  # every image is on its own
    check_side(x, 16, "LeNet")
    x = as_dtype(x, self.dtype)
    for block, channels in enumerate((self.width, round(self.width * 16 / 6))):
      padding = 0 if block else first_padding(x, 0)
      x = max_pool(nn.relu(Conv(channels, 5, padding, name=f"conv_{block}")(x)))
    x = x.reshape(len(x), -1)
    for layer, units in enumerate((20 * self.width, 14 * self.width)):
      x = nn.relu(dense(x, units, f"hidden_{layer}"))
    return readout(x, self.num_classes, return_features)
