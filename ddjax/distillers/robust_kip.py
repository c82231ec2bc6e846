"""Robust KIP: a support set on which kernel regression predicts attacked images, too.

Tsilivis, Su, Kempe 2022, "Can we achieve robustness from data alone?" (arXiv 2207.11727): KIP
(Nguyen, Chen, Lee 2021) whose target batch is moved, before each update, by steps of signed
gradient within an l_inf ball against the predictor of the present support set. Images and labels of
the support set then learn to predict the moved batch.

The adversary climbs the loss that the support set descends: half the mean squared error of an
example. Standardisation or whitening, and the augmentation that the example was drawn with, lie
inside of what it attacks.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from ddjax.augment import targets
from ddjax.distillers.adversaries import read_adversary
from ddjax.distillers.kip import Drawn, MoveFn, Parts, make_kip
from ddjax.kernels.ridge import Targets, coefficients
from ddjax.training.parallel import num_shards, own_rows
from ddjax.types import DatasetInfo, Distiller


def make_robust_kip(
  config: ConfigDict, info: DatasetInfo, axis_name: str | None = None
) -> Distiller:
  """Builds robust KIP from its config; see `configs/robust_kip.py` for the fields.

  Raises:
    ValueError: for an impossible adversary, and for what KIP refuses.
  """
  adversary = read_adversary(config, info)

  def make_move(parts: Parts) -> MoveFn:
    def move(rng, support, data, drawn: Drawn, batch: Targets) -> Targets:
      numbers = jnp.arange(len(drawn.index) * num_shards(axis_name), dtype=jnp.int32)
      numbers = own_rows(numbers, axis_name)
      pixels = adversary.pixels(data, drawn.index).astype(parts.dtype)
      solved = coefficients(parts.kernel_fn, support.images, support.labels, parts.ridge)
      solved = jax.lax.stop_gradient(solved)

      def seen(pixels):
        images = adversary.to_network(pixels, data)
        if drawn.draws is not None:
          images = targets.augment(images, drawn.draws, parts.augmentation)
        return images.astype(parts.dtype)

      def losses(pixels):
        with jax.default_matmul_precision("highest"):
          predicted = solved.T @ parts.kernel_fn(support.images, seen(pixels))  # as the loss does
        return 0.5 * jnp.mean((predicted - batch.labels.T) ** 2, axis=0)

      return batch._replace(images=seen(adversary.attack(rng, numbers, pixels, losses)))

    return move

  distiller = make_kip(config, info, axis_name, make_move=make_move)
  return distiller._replace(needs_pixels=True)
