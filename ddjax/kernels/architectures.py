"""Which layers the infinitely wide networks have, and the same networks in neural-tangents' terms.

The networks are those of Nguyen, Novak, Xiao, Lee, "Dataset Distillation with Infinitely Wide
Convolutional Networks", 2021 (https://arxiv.org/abs/2107.13034): FC-d, Conv-d, ConvNet and Myrtle.
`stax_kernel` has neural-tangents compute their kernels; `recursion.py` is our own closed form of
the same ones, `pooled.py` the fast form of those with pooling (`benchmarks/kernels.py`).
"""

from typing import Callable

from ddjax.kernels import neural_tangents_compat
from ddjax.wording import nearest

MYRTLE_BLOCKS = {5: (1, 1, 1), 7: (1, 2, 2), 10: (2, 3, 3)}  # convs, after a first one
FAMILIES = ("fc", "conv", "convnet", "myrtle")
POOLED = ("convnet", "myrtle")
"""Those with pooling."""

Layers = tuple[str, ...]
"""Hidden layers in order, each of dense, conv, relu, pool; then flatten or global_pool. The readout
is a dense layer of its own and is not listed."""


def hidden_layers(family: str, depth: int, image_shape: tuple[int, int, int]) -> Layers:
  """The layers of a network, from the image to the vector that the readout sees.

  Args:
    family: fc (dense layers), conv (3x3, no pooling, flattened), convnet (conv and ReLU, then
      `depth` blocks of conv, ReLU, 2x2 average pooling, flattened) or myrtle (conv and ReLU, then
      three blocks of convs with pooling between and global pooling at the end).
    depth: hidden layers of fc and conv; blocks of convnet; 5, 7 or 10 for myrtle.
    image_shape: (h, w, c).
  Raises:
    ValueError: for an unknown family, a depth that the family does not have, or an image that is
      too small for the pooling.
  """
  if family not in FAMILIES:
    raise ValueError(f"Unknown network family {family!r}. {nearest(family, FAMILIES)}")
  if family == "myrtle":
    if depth not in MYRTLE_BLOCKS:
      raise ValueError(f"Unknown Myrtle depth {depth}. {nearest(str(depth), MYRTLE_BLOCKS)}")
    first, second, third = (("conv", "relu") * count for count in MYRTLE_BLOCKS[depth])
    blocks = first + ("pool",) + second + ("pool",) + third
    layers = ("conv", "relu") + blocks + ("global_pool",)
  elif depth < 1:
    raise ValueError(f"The {family} kernel needs a depth of at least 1, not {depth}.")
  elif family == "fc":
    layers = ("flatten",) + ("dense", "relu") * depth
  elif family == "conv":
    layers = ("conv", "relu") * depth + ("flatten",)
  else:
    layers = ("conv", "relu") + ("conv", "relu", "pool") * depth + ("flatten",)
  shrink = 2 ** layers.count("pool")
  if min(image_shape[:2]) < shrink:
    raise ValueError(
      f"Images of {image_shape[0]}x{image_shape[1]} are too small for {family} of depth {depth}, "
      f"which pools them by {shrink}."
    )
  return layers


def stax_kernel(
  layers: Layers,
  kind: str,
  weight_std: float,
  bias_std: float,
  readout_weight_std: float,
  readout_bias_std: float,
) -> Callable:
  """The network's kernel by neural-tangents: (x1 f32[n1 h w c], x2 f32[n2 h w c]) -> f32[n1 n2].

  Args:
    layers: from `hidden_layers`.
    kind: "ntk" or "nngp".
    weight_std, bias_std: of the hidden layers, in the NTK parameterisation.
    readout_weight_std, readout_bias_std: of the readout.
  """
  stax = neural_tangents_compat.load().stax
  hidden = dict(W_std=weight_std, b_std=bias_std)
  make_layer = dict(
    dense=lambda: stax.Dense(1, **hidden),
    conv=lambda: stax.Conv(1, (3, 3), padding="SAME", **hidden),
    relu=stax.Relu,
    pool=lambda: stax.AvgPool((2, 2), strides=(2, 2)),
    flatten=stax.Flatten,
    global_pool=stax.GlobalAvgPool,
  )
  readout = stax.Dense(1, W_std=readout_weight_std, b_std=readout_bias_std)
  kernel_fn = stax.serial(*(make_layer[name]() for name in layers), readout)[2]
  return lambda x1, x2: kernel_fn(x1, None if x1 is x2 else x2, kind)
