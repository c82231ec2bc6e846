r"""Ridge regression on a network's features: the predictor of FRePo and RCIG.

Zhou, Nezhadarya, Ba 2022 (https://arxiv.org/abs/2206.00719): with features f of a network, trained
on a set (x_s, y_s), an image x gets f(x) f(x_s)' (K + \lambda I)^{-1} y_s, where K = f(x_s) f(x_s)'
and \lambda = ridge * tr(K) / n.
"""

import functools
from typing import Any, Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ddjax.kernels.ridge import check_ridge
from ddjax.models.build import features_of
from ddjax.models.pieces import map_pieces
from ddjax.types import Array, DistilledSet, Models

SUFFIX = "_feature_ridge"
"""What a network's name ends with where its last layer is replaced by the regression."""
_IMAGES_AT_ONCE = 256
_CENTRED_AT_ZERO = ("centred", "logits")
"""Kinds of labels that are regressed on as they are; 1/k is taken from distributions."""


def make_predict(network: nn.Module, preprocessing: Any) -> Callable[[Any, Array], Array]:
  """(params of one predictor, pixels f32[b h w c] in [0, 1]) -> scores f32[b k].

  Params hold the `network`'s variables and the `weights` f32[d k] of its features.
  """

  def predict(params: Any, pixels: Array) -> Array:
    images = preprocessing.forward(pixels)
    features = features_of(network, params["network"], images)
    return jnp.matmul(features, params["weights"], precision="highest")

  return predict


def fit(
  network: nn.Module,
  predict_fn: Callable[[Any, Array], Array],
  trained: Models,
  distilled: DistilledSet,
  ridge: float,
) -> Models:
  """Replaces the last layer of trained networks by ridge regression on what they learned from.

  Args:
    network: their architecture.
    predict_fn: of `make_predict`, for the same network.
    trained: m networks; `group` names the entry of the set that each learned from.
    distilled: decoded; images f32[r n h w c] in the space the networks see, labels f32[r n k] of
      the kind in `info`.
    ridge: relative to the mean diagonal of K; > 0.
  Returns:
    m predictors. Features are float32, the solve is in float64.
  Raises:
    ValueError: if ridge <= 0.
  """
  check_ridge(ridge)
  labels = np.asarray(distilled.labels, np.float64)
  if distilled.info["label_kind"] not in _CENTRED_AT_ZERO:
    labels = labels - 1 / labels.shape[-1]
  images = jnp.asarray(distilled.images)
  weights = []
  for row, entry in enumerate(trained.group):
    variables = jax.tree.map(lambda leaf, row=row: leaf[row], trained.params)
    features = np.asarray(_features(variables, images[entry], network=network), np.float64)
    weights.append(_solve(features, labels[entry], ridge).astype(np.float32))
  params = {"network": trained.params, "weights": jnp.asarray(np.stack(weights))}
  return trained._replace(predict_fn=predict_fn, params=params)


@functools.partial(jax.jit, static_argnames="network")
def _features(variables: Any, images: Array, *, network: nn.Module) -> Array:
  """Features f32[n d] of images [n h w c], piece after piece."""

  def of_piece(piece: Array) -> Array:
    return features_of(network, variables, piece)

  return map_pieces(of_piece, images, _IMAGES_AT_ONCE)


def _solve(features: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
  r"""f' (f f' + \lambda I)^{-1} y, f64[d k]; by the smaller of the two equal systems."""
  num_examples, num_features = features.shape
  shift = ridge * np.square(features).sum() / num_examples
  if num_examples <= num_features:
    matrix = features @ features.T + shift * np.eye(num_examples)
    return features.T @ scipy.linalg.solve(matrix, labels, assume_a="pos")
  matrix = features.T @ features + shift * np.eye(num_features)
  return scipy.linalg.solve(matrix, features.T @ labels, assume_a="pos")
