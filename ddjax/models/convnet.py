"""ConvNet-D, the network of DC, DSA, DM, MTT and IDC (Gidaris, Komodakis 2018)."""

import math

import flax.linen as nn
from jaxtyping import Float

from ddjax.models.convolution import average_pool
from ddjax.models.layers import Conv3x3, dense
from ddjax.types import Array


class ConvNet(nn.Module):
  """D blocks of [3x3 convolution, instance norm, ReLU, 2x2 average pool], then a linear layer.

  28x28 images are padded to 32x32 by the first convolution. Instance norm is affine, eps 1e-5.

  Attributes:
    num_classes: k.
    width: channels of every block; 128 in the papers.
    depth: number of blocks D; None takes the papers' 3 up to 32 px, 4 at 64, 5 at 128.
  """

  num_classes: int
  width: int = 128
  depth: int | None = None

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
    """f32[b h w c] as preprocessed -> logits f32[b k].

    Raises:
      ValueError: if the image is too small for so many halvings.
    """
    side = min(x.shape[1:3])
    depth = self.depth or max(3, round(math.log2(side)) - 2)
    if side < 2**depth:
      raise ValueError(f"A ConvNet of {depth} blocks needs {2**depth} px a side, not {side}.")
    for block in range(depth):
      padding = 3 if block == 0 and x.shape[1:3] == (28, 28) else 1
      x = Conv3x3(self.width, padding, name=f"conv_{block}")(x)
      x = nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False, name=f"norm_{block}")(x)
      x = average_pool(nn.relu(x))
    x = x.reshape(len(x), -1)
    return dense(x.shape[-1], self.num_classes, name="readout")(x)
