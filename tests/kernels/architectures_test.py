"""Which layers a name stands for, and what is refused."""

import pytest

from ddjax.kernels.architectures import hidden_layers

SHAPE = (32, 32, 3)


@pytest.mark.parametrize(("depth", "blocks"), [(5, (2, 1, 1)), (7, (2, 2, 2)), (10, (3, 3, 3))])
def test_myrtle_has_as_many_weight_layers_as_its_name_says(depth, blocks):
  layers = hidden_layers("myrtle", depth, SHAPE)
  assert layers.count("conv") == sum(blocks) == depth - 1
  parts = " ".join(layers).split("pool")
  assert tuple(part.count("conv") for part in parts[:3]) == blocks
  assert layers[-1] == "global_pool"


def test_convnet_pools_once_a_block():
  layers = hidden_layers("convnet", 3, SHAPE)
  assert layers.count("pool") == 3
  assert layers[:2] == ("conv", "relu") and layers.count("conv") == 4


@pytest.mark.parametrize(
  ("family", "depth", "shape", "message"),
  [
    ("convnt", 3, SHAPE, "convnet"),
    ("myrtle", 6, SHAPE, "10, 5, 7"),
    ("fc", 0, SHAPE, "not 0"),
    ("convnet", 4, (8, 8, 1), "8x8"),
  ],
)
def test_refusals_name_the_value(family, depth, shape, message):
  with pytest.raises(ValueError, match=message):
    hidden_layers(family, depth, shape)
