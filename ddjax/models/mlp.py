"""The multilayer perceptron of the accuracy evaluation (the one of DC's released networks)."""

import flax.linen as nn

from ddjax.models.layers import Images, Mask, Output, as_dtype, dense, readout


class MLP(nn.Module):
  """Two hidden layers of 4 * width ReLU units (128 at width 32, as published), then a readout.

  Attributes:
    num_classes: k.
    width: a quarter of each hidden layer, so that one figure sizes an MLP and a ConvNet alike.
    dtype: float32 or bfloat16, what layers compute in.
  """

  num_classes: int
  width: int = 32
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
    """f32[b h w c] as preprocessed -> logits f32[b k]; see `ddjax.models.build`."""
    del is_training, mask  # every image is on its own
    x = as_dtype(x, self.dtype).reshape(len(x), -1)
    for layer in range(2):
      x = nn.relu(dense(x, 4 * self.width, f"hidden_{layer}"))
    return readout(x, self.num_classes, return_features)
