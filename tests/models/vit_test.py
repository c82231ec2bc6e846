import jax
import numpy as np
from scipy import special

from ddjax.models.build import build
from tests.models.draws import draw, draw_variables

HEADS, UNITS = 2, 3


def _linear(layer, x):
  return x @ layer["kernel"] + layer["bias"]


def _norm(layer, x):
  y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  return y * layer["scale"] + layer["bias"]


def _attention(block, tokens):
  """One token and one head at a time."""
  y = _linear(block["query_key_value"], _norm(block["norm_0"], tokens))
  query, key, value = (part.reshape(-1, HEADS, UNITS) for part in np.split(y, 3, axis=-1))
  out = np.zeros_like(query)
  for head in range(HEADS):
    for token in range(len(tokens)):
      weights = special.softmax(key[:, head] @ query[token, head] / np.sqrt(UNITS))
      out[token, head] = weights @ value[:, head]
  return _linear(block["projection"], out.reshape(len(tokens), -1))


def _features(params, image):
  patches = [image[i : i + 2, j : j + 2].ravel() for i in (0, 2) for j in (0, 2, 4)]
  tokens = _linear(params["embedding"], np.stack(patches)) + params["positions"][0]
  for number in range(2):
    block = params[f"block_{number}"]
    tokens = tokens + _attention(block, tokens)
    hidden = _linear(block["hidden"], _norm(block["norm_1"], tokens))
    tokens = tokens + _linear(block["output"], hidden * special.ndtr(hidden))
  return _norm(params["norm"], tokens).mean(0)


def test_vit_against_a_loop_over_tokens_and_heads():
  network = build(f"vit(depth=2,heads={HEADS},patch=2)", num_classes=4, width=HEADS * UNITS)
  x = draw((2, 4, 6, 3))
  params = draw_variables(network, x)["params"]
  logits, features = jax.jit(lambda x: network.apply({"params": params}, x, return_features=True))(
    x
  )
  expected = np.stack([_features(params, np.float64(image)) for image in x])
  np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
  np.testing.assert_allclose(logits, _linear(params["readout"], expected), rtol=1e-3, atol=1e-3)
