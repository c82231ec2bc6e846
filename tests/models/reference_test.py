"""Networks against PyTorch's, weight for weight; `tests/reference/make_reference.py` made them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.fitting.protocols import make_loss
from ddjax.models.build import build
from tests.reference.load import load


def _assert_close(ours, reference, relative):
  """Error of each leaf relative to its greatest entry, at least a tenth of the tree's.

  For a bias before a norm has no gradient, only rounding.
  """
  assert jax.tree.structure(ours) == jax.tree.structure(reference)
  floor = 0.1 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(reference))
  for ours_leaf, leaf in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
    error = np.abs(np.asarray(ours_leaf) - leaf).max()
    assert error <= relative * max(np.abs(leaf).max(), floor)


def _mean_loss(logits, labels):
  return make_loss("cross_entropy")(logits, jax.nn.one_hot(labels, logits.shape[1])).mean()


@pytest.mark.parametrize("name", ["convnet_rgb", "convnet_grey"])
def test_convnet_and_its_first_and_second_gradients(name):
  reference = load(name)
  network = build("convnet", num_classes=5, width=4)

  def loss_fn(params, images):
    logits = network.apply({"params": params}, images)
    return _mean_loss(logits, reference["labels"]), logits

  def squared_norm(images):
    gradient, _ = jax.grad(loss_fn, has_aux=True)(reference["params"], images)
    return optax.tree.norm(gradient, squared=True)

  @jax.jit
  def ours(params, images):
    values, gradients = jax.value_and_grad(loss_fn, (0, 1), has_aux=True)(params, images)
    return values, gradients, jax.value_and_grad(squared_norm)(images)

  first, second = 1e-4, 1e-3
  (loss, logits), (gradient, of_images), (norm, second_gradient) = ours(
    reference["params"], reference["images"]
  )
  _assert_close(logits, reference["logits"], first)
  _assert_close(loss, reference["loss"], first)
  _assert_close(gradient, reference["gradient"], first)
  _assert_close(of_images, reference["gradient_of_images"], first)
  _assert_close(norm, reference["squared_norm"], first)
  _assert_close(second_gradient, reference["second_gradient_of_images"], second)


def test_batch_norm_trains_and_keeps_its_statistics():
  reference = load("batch_norm")
  network = build("convnet", num_classes=5, width=4, depth=2, norm="batch")

  @jax.jit
  def train(params, batch_stats, images, labels):
    def loss_fn(params):
      logits, updated = network.apply(
        {"params": params, "batch_stats": batch_stats},
        images,
        is_training=True,
        mutable=["batch_stats"],
      )
      return _mean_loss(logits, labels), (logits, updated["batch_stats"])

    gradient, (logits, batch_stats) = jax.grad(loss_fn, has_aux=True)(params)
    return gradient, logits, batch_stats

  params = reference["params"]
  ones = jnp.ones(4)
  batch_stats = {f"norm_{block}": {"mean": 0 * ones, "var": ones} for block in range(2)}
  for number in range(2):
    gradient, logits, batch_stats = train(
      params, batch_stats, reference[f"images_{number}"], reference[f"labels_{number}"]
    )
    _assert_close(logits, reference[f"logits_{number}"], 1e-4)
    _assert_close(gradient, reference[f"gradient_{number}"], 1e-4)
  for block in range(2):
    statistics = batch_stats[f"norm_{block}"]
    _assert_close(statistics["mean"], reference[f"mean_{block}"], 1e-4)
    _assert_close(statistics["var"], reference[f"variance_{block}"], 1e-4)
  logits = jax.jit(network.apply)(
    {"params": params, "batch_stats": batch_stats}, reference["images_1"]
  )
  _assert_close(logits, reference["logits_in_evaluation"], 1e-4)


def test_initial_values_spread_as_in_pytorch():
  reference = load("initial_values")
  network = build("convnet", num_classes=1024, width=1024, depth=1)
  params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2, 2, 4)))["params"]
  for layer, kinds in reference.items():
    for kind, (greatest, std) in kinds.items():
      values = np.asarray(params[layer][kind])
      np.testing.assert_allclose(np.abs(values).max(), greatest, rtol=0.02)
      np.testing.assert_allclose(values.std(), std, rtol=0.08)  # 1024 draws on either side
