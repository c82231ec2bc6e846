"""The published architectures, restated in NumPy, against the modules."""

import jax
import numpy as np
import pytest

from ddjax.models.build import build
from tests.models.draws import draw, draw_variables


def _conv(layer, x, padding, stride=1):
  x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(x, layer["kernel"].shape[:2], (1, 2))
  windows = windows[:, ::stride, ::stride]
  return np.tensordot(windows, layer["kernel"], ([4, 5, 3], [0, 1, 2])) + layer.get("bias", 0)


def _linear(layer, x):
  return x @ layer["kernel"] + layer["bias"]


def _pool(x, take):
  b, h, w, c = x.shape
  return take(x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c), (2, 4))


def _norm(layer, x, axes):
  y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
  return y * layer["scale"] + layer["bias"]


def _relu(x):
  return np.maximum(x, 0)


def _lenet(params, x, axes):
  x = _pool(_relu(_conv(params["conv_0"], x, 2 if x.shape[1] == 28 else 0)), np.max)
  x = _pool(_relu(_conv(params["conv_1"], x, 0)), np.max).reshape(len(x), -1)
  return _relu(_linear(params["hidden_1"], _relu(_linear(params["hidden_0"], x))))


def _alexnet(params, x, axes):
  x = _pool(_relu(_conv(params["conv_0"], x, 4 if x.shape[1] == 28 else 2)), np.max)
  x = _pool(_relu(_conv(params["conv_1"], x, 2)), np.max)
  for layer in (2, 3, 4):
    x = _relu(_conv(params[f"conv_{layer}"], x, 1))
  return _pool(x, np.max).reshape(len(x), -1)


def _vgg11(params, x, axes):
  for layer in range(8):
    x = _conv(params[f"conv_{layer}"], x, 3 if layer == 0 and x.shape[1] == 28 else 1)
    x = _relu(_norm(params[f"norm_{layer}"], x, axes))
    if layer in (0, 1, 3, 5, 7):
      x = _pool(x, np.max)
  return x.reshape(len(x), -1)


def _resnet18(params, x, axes, averages=False):
  x = _relu(_norm(params["norm_0"], _conv(params["conv_0"], x, 1), axes))
  for number in range(8):
    block = params[f"block_{number}"]
    halves = number in (2, 4, 6)
    stride = 2 if halves and not averages else 1
    y = _relu(_norm(block["norm_0"], _conv(block["conv_0"], x, 1, stride), axes))
    y = _pool(y, np.mean) if halves and averages else y
    y = _norm(block["norm_1"], _conv(block["conv_1"], y, 1), axes)
    if halves:
      x = _conv(block["shortcut_conv"], x, 0, stride)
      x = _norm(block["shortcut_norm"], _pool(x, np.mean) if averages else x, axes)
    x = _relu(x + y)
  return x.reshape(len(x), -1) if averages else x.mean((1, 2))


def _resnet18_ap(params, x, axes):
  return _resnet18(params, x, axes, averages=True)


@pytest.mark.parametrize(
  "name,features_fn,side,width",
  [
    ("lenet", _lenet, 16, 3),
    ("lenet", _lenet, 28, 3),
    ("alexnet", _alexnet, 9, 2),
    ("alexnet", _alexnet, 28, 2),
    ("vgg11", _vgg11, 32, 2),
    ("vgg11(norm=batch)", _vgg11, 28, 2),
    ("resnet18", _resnet18, 13, 2),
    ("resnet18(norm=batch)", _resnet18, 8, 2),
    ("resnet18_ap", _resnet18_ap, 28, 2),
  ],
)
def test_network_is_the_published_one(name, features_fn, side, width):
  network = build(name, num_classes=5, width=width)
  x = draw((3, side, side, 1), 0)
  variables = draw_variables(network, x)

  @jax.jit
  def apply(variables, x):
    return network.apply(
      variables, x, is_training=True, return_features=True, mutable=["batch_stats"]
    )[0]

  logits, features = apply(variables, x)
  params = variables["params"]
  axes = (0, 1, 2) if "batch" in name else (1, 2)
  expected = features_fn(params, x, axes)
  assert np.abs(expected).max() > 1e-2
  np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
  expected = _linear(params["readout"], np.asarray(features))
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_padding_rows_change_neither_logits_nor_statistics():
  network = build("resnet18_ap(norm=batch)", num_classes=5, width=2)
  x, other = draw((4, 8, 8, 1), 0), draw((4, 8, 8, 1), 1)
  other[:3] = x[:3]
  variables = draw_variables(network, x)
  params = variables["params"]

  @jax.jit
  def train(x, mask):
    return network.apply(variables, x, is_training=True, mask=mask, mutable=["batch_stats"])

  mask = np.arange(4) < 3
  logits, statistics = train(x, mask)
  expected = _linear(params["readout"], _resnet18_ap(params, x[:3], (0, 1, 2)))
  np.testing.assert_allclose(logits[:3], expected, rtol=1e-3, atol=1e-4)
  _, also_statistics = train(other, mask)
  ours, theirs = jax.tree.leaves(statistics), jax.tree.leaves(also_statistics)
  assert len(ours) == len(theirs) == 2 * 20  # mean and variance of 1 + 8 * 2 + 3 norms
  for one, same in zip(ours, theirs):
    np.testing.assert_array_equal(one, same)
