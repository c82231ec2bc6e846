"""The multilayer perceptron of the accuracy evaluation (the one of DC's released networks)."""

import flax.linen as nn

from ddjax.models.layers import Images, Mask, Output, dense, readout


class MLP(nn.Module):
  """Two hidden layers of 4 * width ReLU units (128 at width 32, as published), then a readout.

  Attributes:
    num_classes: k.
    width: a quarter of each hidden layer, so that one figure sizes an MLP and a ConvNet alike.
  """

  num_classes: int
  width: int = 32

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
    x = x.reshape(len(x), -1)
    for layer in range(2):
      x = nn.relu(dense(x.shape[-1], 4 * self.width, name=f"hidden_{layer}")(x))
    return readout(x, self.num_classes, return_features)
