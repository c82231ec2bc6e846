import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.models.layers import BatchNorm, Conv, choose, max_pool
from tests.models.draws import draw, draw_variables


def _batch_norm(x, mean, var, scale, bias):
  return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


@pytest.mark.parametrize("rows", [4, 3])
def test_batch_norm_is_that_of_the_reference_framework(rows):
  """Two training steps and a prediction; rows past `rows` are padding."""
  layer = BatchNorm()
  scale, bias = np.float32([1.5, -0.5, 2.0]), np.float32([0.1, 0.2, -0.3])
  variables = layer.init(jax.random.key(0), jnp.zeros((1, 2, 2, 3)))
  stats = variables["batch_stats"]
  np.testing.assert_array_equal(stats["mean"], np.zeros(3))
  np.testing.assert_array_equal(stats["var"], np.ones(3))
  params = {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}
  mask = None if rows == 4 else jnp.arange(4) < rows

  @jax.jit
  def train(stats, x):
    variables = {"params": params, "batch_stats": stats}
    y, updated = layer.apply(variables, x, True, mask, mutable=["batch_stats"])
    return y, updated["batch_stats"]

  mean, var = np.zeros(3), np.ones(3)
  for seed in range(2):
    x = draw((4, 2, 2, 3), seed) * 3 + 5
    y, stats = train(stats, x)
    counted = np.float64(x[:rows]).reshape(-1, 3)
    expected = _batch_norm(counted, counted.mean(0), counted.var(0), scale, bias)
    np.testing.assert_allclose(y[:rows].reshape(-1, 3), expected, rtol=1e-4, atol=1e-5)
    mean = 0.9 * mean + 0.1 * counted.mean(0)
    var = 0.9 * var + 0.1 * counted.var(0, ddof=1)
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-5)
  y = jax.jit(layer.apply)({"params": params, "batch_stats": stats}, x)
  expected = _batch_norm(np.float64(x), mean, var, scale, bias)
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_keeps_digits_of_a_small_spread():
  x = 30 + 1e-3 * draw((8, 4, 4, 1), 0)
  variables = draw_variables(BatchNorm(), x)
  y, _ = jax.jit(lambda x: BatchNorm().apply(variables, x, True, mutable=["batch_stats"]))(x)
  values = np.float64(x)
  expected = _batch_norm(values, values.mean(), values.var(), **variables["params"])
  np.testing.assert_allclose(y, expected, atol=2e-3)


def test_padding_rows_get_no_gradient_through_the_statistics():
  x = draw((4, 2, 2, 3), 0)
  variables = draw_variables(BatchNorm(), x)
  mask = jnp.array([True, False, True, False])

  def loss(x):
    y, _ = BatchNorm().apply(variables, x, True, mask, mutable=["batch_stats"])
    return (y[::2] ** 3).sum()

  grads = np.asarray(jax.jit(jax.grad(loss))(x))
  assert np.abs(grads[::2]).min() > 0
  np.testing.assert_array_equal(grads[1::2], 0)


def test_training_needs_mutable_statistics():
  x = draw((4, 2, 2, 3), 0)
  variables = draw_variables(BatchNorm(), x)
  with pytest.raises(flax.errors.ModifyScopeVariableError):
    BatchNorm().apply(variables, x, True)


@pytest.mark.parametrize(
  "kind,axes", [("instance", (1, 2)), ("layer", (1, 2, 3)), ("group", (1, 2, 4))]
)
def test_norms_of_one_image(kind, axes):
  x = draw((2, 3, 3, 8), 0) * 0.01 + 4  # the epsilon is seen
  layer = choose("norm", kind)()
  params = draw_variables(layer, x)["params"]
  shape = (3, 3, 8) if kind == "layer" else (8,)
  assert params["scale"].shape == params["bias"].shape == shape
  values = np.float64(x).reshape(2, 3, 3, 4, 2) if kind == "group" else np.float64(x)
  mean, var = values.mean(axes, keepdims=True), values.var(axes, keepdims=True)
  expected = ((values - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
  expected = expected * params["scale"] + params["bias"]
  y = jax.jit(layer.apply)({"params": params}, x)
  np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


def test_max_pool_and_its_gradient():
  x = np.float32(np.random.default_rng(0).permutation(30).reshape(1, 5, 3, 2))
  windows = [x[0, 0:2, 0:2], x[0, 2:4, 0:2]]
  expected = np.stack([window.max((0, 1)) for window in windows])[None, :, None]
  np.testing.assert_array_equal(jax.jit(max_pool)(x), expected)
  grads = np.asarray(jax.jit(jax.grad(lambda x: (max_pool(x) ** 2).sum()))(x))
  np.testing.assert_array_equal(grads, np.where(np.isin(x, expected), 2 * x, 0))


def test_max_pool_gives_its_gradient_to_the_first_of_equals_and_hides_no_nan():
  x = np.float32([[0, 3], [3, 3]]).reshape(1, 2, 2, 1)
  grads = np.asarray(jax.jit(jax.grad(lambda x: max_pool(x).sum()))(x))
  np.testing.assert_array_equal(grads.reshape(2, 2), [[0, 1], [0, 0]])
  for place in range(4):
    wrong = x.copy()
    wrong.reshape(-1)[place] = np.nan
    assert np.isnan(jax.jit(max_pool)(wrong)).all(), place


@pytest.mark.parametrize("size,padding,stride,use_bias", [(5, 2, 1, True), (1, 0, 2, False)])
def test_conv_sums_over_its_window(size, padding, stride, use_bias):
  x = draw((1, 6, 6, 2), 0)
  layer = Conv(3, size, padding, stride, use_bias)
  params = draw_variables(layer, x)["params"]
  assert set(params) == ({"kernel", "bias"} if use_bias else {"kernel"})
  padded = np.pad(np.asarray(x), ((0, 0), (padding, padding), (padding, padding), (0, 0)))[0]
  window = padded[stride : stride + size, 2 * stride : 2 * stride + size]
  expected = np.einsum("ijc,ijco->o", window, params["kernel"])
  y = jax.jit(layer.apply)({"params": params}, x)
  np.testing.assert_allclose(y[0, 1, 2], expected + params.get("bias", 0), rtol=1e-4, atol=1e-5)
