"""The multilayer perceptron of the accuracy evaluation."""

import flax.linen as nn
from jaxtyping import Float

from ddjax.models.layers import dense
from ddjax.types import Array


class MLP(nn.Module):
  """Two hidden layers of 4 * width ReLU units (128 at the evaluation's width 32), then a readout.

  Attributes:
    num_classes: k.
    width: a quarter of each hidden layer, so that one figure sizes an MLP and a ConvNet alike.
  """

  num_classes: int
  width: int = 32

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
    """f32[b h w c] as preprocessed -> logits f32[b k]."""
    x = x.reshape(len(x), -1)
    for layer in range(2):
      x = nn.relu(dense(x.shape[-1], 4 * self.width, name=f"hidden_{layer}")(x))
    return dense(x.shape[-1], self.num_classes, name="readout")(x)
