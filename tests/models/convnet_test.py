import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest
from scipy import special

from ddjax.models.build import build

ACTIVATIONS = {
  "relu": lambda x: np.maximum(x, 0),
  "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
  "sigmoid": special.expit,
  "tanh": np.tanh,
  "gelu": lambda x: x * special.ndtr(x),
  "swish": lambda x: x * special.expit(x),
}
POOLINGS = {
  "average": lambda x: x.mean((2, 4)),
  "max": lambda x: x.max((2, 4)),
}


def _draw(shape, seed):
  return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def _caught(state):
  return {
    name: np.asarray(values["__call__"][0])
    for name, values in state["intermediates"].items()
    if name != "__call__"
  }


def test_norm_is_per_image_and_channel_with_the_papers_epsilon():
  network = build("convnet", num_classes=3, width=4, depth=1)
  x = _draw((2, 4, 4, 2), 0)
  params = jax.jit(network.init)(jax.random.key(1), x)
  _, state = network.apply(params, x, capture_intermediates=True)
  before, after = (_caught(state)[name] for name in ("conv_0", "norm_0"))
  mean, variance = before.mean((1, 2), keepdims=True), before.var((1, 2), keepdims=True)
  np.testing.assert_allclose(
    after, (before - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("pooling", ["average", "max", "none"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "swish"])
def test_activation_then_pool_then_readout(activation, pooling):
  if activation not in ("leaky_relu", "tanh") and pooling != "average":
    pytest.skip("each activation once, each pooling twice")
  network = build(
    "convnet", num_classes=3, width=4, depth=1, activation=activation, pooling=pooling
  )
  x = _draw((2, 4, 6, 1), 0)
  variables = jax.jit(network.init)(jax.random.key(1), x)
  (logits, features), state = network.apply(
    variables, x, return_features=True, capture_intermediates=True
  )
  y = ACTIVATIONS[activation](_caught(state)["norm_0"])
  if pooling != "none":
    y = POOLINGS[pooling](y.reshape(2, 2, 2, 3, 2, 4))
  np.testing.assert_allclose(features, y.reshape(2, -1), rtol=1e-4, atol=1e-6)
  readout = variables["params"]["readout"]
  expected = y.reshape(2, -1) @ np.asarray(readout["kernel"]) + np.asarray(readout["bias"])
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_without_norm_a_block_is_affine_before_its_activation():
  network = build("convnet(norm=none,depth=1)", num_classes=3, width=4)
  x = _draw((2, 4, 4, 1), 0)
  variables = jax.jit(network.init)(jax.random.key(1), x)
  assert set(variables["params"]) == {"conv_0", "readout"}
  _, features = network.apply(variables, x, return_features=True)
  _, state = network.apply(variables, x, capture_intermediates=True)
  y = np.maximum(_caught(state)["conv_0"], 0).reshape(2, 2, 2, 2, 2, 4).mean((2, 4))
  np.testing.assert_allclose(features, y.reshape(2, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  "name",
  ["convnet(activation=swish)", "convnet(activation=tanh,norm=batch,pooling=max)"],
)
def test_second_derivatives_as_in_gradient_matching(name):
  """d/dx of |d loss / d params|^2 against finite differences."""
  network = build(name, num_classes=2, width=2, depth=1)
  x = _draw((2, 4, 4, 1), 0)
  variables = jax.jit(network.init)(jax.random.key(1), x)

  def gradient_norm(x):
    def loss(params):
      logits, _ = network.apply(
        variables | {"params": params}, x, is_training=True, mutable=["batch_stats"]
      )
      return -jax.nn.log_softmax(logits)[:, 0].sum()

    grads = jax.grad(loss)(variables["params"])
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(grads))

  check_grads(jax.jit(gradient_norm), (x,), order=1, modes=["rev"], eps=3e-3, rtol=2e-2, atol=1e-3)
  assert float(jnp.abs(jax.grad(gradient_norm)(x)).max()) > 1e-2
