import jax
import numpy as np
import pytest
from scipy import special

from ddjax.models.build import build
from tests.models.draws import draw, draw_variables

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


def _apply(network, variables, x):
  """((logits, features), intermediates)."""
  return jax.jit(
    lambda x: network.apply(variables, x, return_features=True, capture_intermediates=True)
  )(x)


def _caught(state):
  return {
    name: np.asarray(values["__call__"][0])
    for name, values in state["intermediates"].items()
    if name != "__call__"
  }


@pytest.mark.parametrize(
  "activation,pooling",
  [(name, "average") for name in ACTIVATIONS] + [("leaky_relu", "max"), ("tanh", "none")],
)
def test_activation_then_pool_then_readout(activation, pooling):
  network = build(
    "convnet", num_classes=3, width=4, depth=1, activation=activation, pooling=pooling
  )
  x = draw((2, 4, 6, 1), 0)
  variables = draw_variables(network, x)
  (logits, features), state = _apply(network, variables, x)
  y = ACTIVATIONS[activation](_caught(state)["norm_0"])
  if pooling != "none":
    y = POOLINGS[pooling](y.reshape(2, 2, 2, 3, 2, 4))
  np.testing.assert_allclose(features, y.reshape(2, -1), rtol=1e-4, atol=1e-6)
  readout = variables["params"]["readout"]
  expected = y.reshape(2, -1) @ np.asarray(readout["kernel"]) + np.asarray(readout["bias"])
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_without_norm_a_block_is_affine_before_its_activation():
  network = build("convnet(norm=none,depth=1)", num_classes=3, width=4)
  x = draw((2, 4, 4, 1), 0)
  variables = draw_variables(network, x)
  assert set(variables["params"]) == {"conv_0", "readout"}
  (_, features), state = _apply(network, variables, x)
  y = np.maximum(_caught(state)["conv_0"], 0).reshape(2, 2, 2, 2, 2, 4).mean((2, 4))
  np.testing.assert_allclose(features, y.reshape(2, -1), rtol=1e-4, atol=1e-6)


def test_second_derivatives_as_in_gradient_matching():
  """d/dx of |d loss / d params|^2 against finite differences."""
  network = build(
    "convnet(activation=swish,norm=batch,pooling=max)", num_classes=2, width=2, depth=1
  )
  x = draw((2, 4, 4, 1), 0)
  variables = draw_variables(network, x)

  def gradient_norm(x):
    def loss(params):
      logits, _ = network.apply(
        variables | {"params": params}, x, is_training=True, mutable=["batch_stats"]
      )
      return -jax.nn.log_softmax(logits)[:, 0].sum()

    grads = jax.grad(loss)(variables["params"])
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(grads))

  second = np.asarray(jax.jit(jax.grad(gradient_norm))(x))
  assert np.linalg.norm(second) > 1e-2
  direction = second / np.linalg.norm(second)
  value = jax.jit(gradient_norm)
  for towards in (direction, draw(x.shape, 1)):
    slope = (value(x + 3e-3 * towards) - value(x - 3e-3 * towards)) / 6e-3
    np.testing.assert_allclose(slope, (second * towards).sum(), rtol=1e-2)
