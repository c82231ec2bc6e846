"""Kernels of finite random networks, averaged: the NNGP by Monte Carlo.

Loo, Hasani, Amini, Rus, "Efficient Dataset Distillation Using Random Feature Approximation", 2022
(https://arxiv.org/abs/2210.12067). The networks are ConvNets of [3x3 convolution, ReLU, 2x2 average
pool] blocks, flattened; their cost per image is linear in the number of images, where that of the
infinite network grows with the pairs.

The paper draws new networks at every step; here `feature_seed` fixes them, so that the kernel is a
kernel like the others, the same at every step, in every run and on every device.
"""

import math
from typing import Callable

import jax
from ml_collections import ConfigDict

from ddjax.models.convolution import average_pool, conv
from ddjax.types import Array


def random_feature_kernel(
  config: ConfigDict, image_shape: tuple[int, int, int], precision: str = "float32"
) -> Callable[[Array, Array], Array]:
  """The mean over random networks of the inner products of their features.

  Args:
    config: with `depth` (blocks), `num_features` (width), `num_networks`, `feature_seed`, the
      standard deviations of the hidden layers and those of the readout.
    image_shape: (h, w, c).
    precision: float32 or float64, of the weights.
  Returns:
    (x1 f[n1 h w c], x2 f[n2 h w c]) -> f[n1 n2]; its limit for many or wide networks is the NNGP
    kernel of the same layers.
  Raises:
    ValueError: if the image is too small for the pooling, or a count is below one.
  """
  depth, num_features, num_networks = config.depth, config.num_features, config.num_networks
  if min(num_features, num_networks) < 1:
    raise ValueError(
      f"kernel.num_features={num_features} and kernel.num_networks={num_networks} must be at "
      "least 1."
    )
  if min(image_shape[:2]) < 2**depth:
    raise ValueError(
      f"Images of {image_shape[0]}x{image_shape[1]} are too small for {depth} blocks of a random "
      f"network, which pool them by {2**depth}."
    )
  bias_std = config.bias_std

  def draw(rng: Array) -> list[tuple[Array, Array]]:
    layers, channels = [], image_shape[-1]
    for layer_rng in jax.random.split(rng, depth):
      weight_rng, bias_rng = jax.random.split(layer_rng)
      scale = config.weight_std / math.sqrt(9 * channels)
      weights = scale * jax.random.normal(weight_rng, (3, 3, channels, num_features), precision)
      layers.append((weights, bias_std * jax.random.normal(bias_rng, (num_features,), precision)))
      channels = num_features
    return layers

  def features(layers: list[tuple[Array, Array]], x: Array) -> Array:
    for weights, bias in layers:
      x = average_pool(jax.nn.relu(conv(x, weights, 1) + bias[None, None, None]))
    return x.reshape(x.shape[0], -1) / math.sqrt(x[0].size)

  networks = [
    draw(rng) for rng in jax.random.split(jax.random.key(config.feature_seed), num_networks)
  ]
  weight_variance, bias_variance = config.readout_weight_std**2, config.readout_bias_std**2

  def kernel_fn(x1: Array, x2: Array) -> Array:
    products = (features(layers, x1) @ features(layers, x2).T for layers in networks)
    return weight_variance * sum(products) / num_networks + bias_variance

  return kernel_fn


def num_activations(config: ConfigDict, image_shape: tuple[int, int, int]) -> int:
  """Values alive at the peak of one network on one image: patches, convolution and its ReLU."""
  height, width, channels = image_shape
  first = height * width * (9 * channels + 2 * config.num_features)
  second = (height // 2) * (width // 2) * 11 * config.num_features if config.depth > 1 else 0
  return max(first, second)
