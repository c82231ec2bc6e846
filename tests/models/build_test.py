import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.models.build import build


def _shapes(name, image_shape, **options):
  network = build(name, num_classes=10, **options)
  images = jnp.zeros((2, *image_shape))
  params = jax.eval_shape(network.init, jax.random.key(0), images)
  return params, jax.eval_shape(network.apply, params, images)


@pytest.mark.parametrize(
  "name,image_shape,width,count",
  [
    ("convnet", (32, 32, 3), 128, 320_010),  # as published
    ("convnet", (28, 28, 1), 128, 317_706),  # padded to 32: 3 * 3 * 2 * 128 fewer
    ("convnet", (8, 8, 1), 32, 9 * 32 + 32 + 2 * (9 * 32 * 32 + 32) + 3 * 64 + 33 * 10),
    ("mlp", (8, 8, 1), 32, 65 * 128 + 129 * 128 + 129 * 10),
  ],
)
def test_parameter_counts(name, image_shape, width, count):
  params, logits = _shapes(name, image_shape, width=width)
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
  assert logits.shape == (2, 10)


@pytest.mark.parametrize("side,blocks", [(8, 3), (32, 3), (64, 4), (128, 5)])
def test_depth_follows_the_image(side, blocks):
  params, _ = _shapes("convnet", (side, side, 3), width=2)
  assert sum(name.startswith("conv_") for name in params["params"]) == blocks


@pytest.mark.parametrize("name", ["convnet", "mlp"])
def test_weights_and_biases_are_uniform_in_one_over_root_fan_in(name):
  network = build(name, num_classes=50, width=32)
  params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
  for layer, values in params.items():
    if layer.startswith("norm"):
      continue
    bound = np.prod(values["kernel"].shape[:-1]) ** -0.5
    kernel, bias = np.asarray(values["kernel"]), np.asarray(values["bias"])
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    assert 0.7 * bound < np.abs(bias).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.1)


def test_norm_is_per_image_and_channel_with_the_papers_epsilon():
  network = build("convnet", num_classes=3, width=4, depth=1)
  x = jax.random.normal(jax.random.key(0), (2, 4, 4, 2), jnp.float32)
  params = jax.jit(network.init)(jax.random.key(1), x)
  _, state = network.apply(params, x, capture_intermediates=True)
  caught = {
    name: np.asarray(v["__call__"][0])
    for name, v in state["intermediates"].items()
    if name != "__call__"
  }
  before = caught["conv_0"]
  mean, variance = before.mean((1, 2), keepdims=True), before.var((1, 2), keepdims=True)
  np.testing.assert_allclose(
    caught["norm_0"], (before - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5
  )


def test_what_cannot_be_built_says_why():
  with pytest.raises(ValueError, match="'convent'.*Did you mean 'convnet'"):
    build("convent", num_classes=10, width=32)
  with pytest.raises(ValueError, match="width=0"):
    build("mlp", num_classes=10, width=0)
  with pytest.raises(ValueError, match="needs 8 px a side, not 4"):
    _shapes("convnet", (4, 4, 1), width=2)
