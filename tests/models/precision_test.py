"""Networks in bfloat16: what is rounded, what is not, and how far the results move."""

import functools

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

from ddjax.backend import changed_traits
from ddjax.config.precision import precision_of
from ddjax.models.build import MODELS, build
from ddjax.models.convolution import conv
from ddjax.stages.prepare import numerics


def _images(count=2, side=32):
  return jax.random.normal(jax.random.key(0), (count, side, side, 3))


@pytest.mark.parametrize("name", MODELS)
def test_a_network_in_bfloat16_has_the_same_parameters_and_gives_float32(name):
  x = _images()
  wide = build(name, num_classes=5, width=64)
  narrow = build(f"{name}(dtype=bfloat16)", num_classes=5, width=64)
  variables = jax.eval_shape(wide.init, jax.random.key(1), x)
  assert jax.eval_shape(narrow.init, jax.random.key(1), x) == variables
  run = functools.partial(narrow.apply, return_features=True)
  assert {leaf.dtype for leaf in jax.eval_shape(run, variables, x)} == {jnp.dtype("float32")}
  program = str(jax.make_jaxpr(run)(variables, x))
  assert "bf16" in program and "bf16" not in str(jax.make_jaxpr(wide.apply)(variables, x))


@pytest.mark.parametrize("name", ["convnet", "lenet", "vit(depth=1)"])
def test_a_network_in_bfloat16_is_rounded_and_by_little(name):
  x = _images(side=16)
  wide, narrow = (build(name, num_classes=5, width=8, dtype=d) for d in ("float32", "bfloat16"))
  variables = jax.jit(wide.init)(jax.random.key(1), x)
  expected, result = (jax.jit(network.apply)(variables, x) for network in (wide, narrow))
  error = np.linalg.norm(expected - result) / np.linalg.norm(expected)
  assert 1e-4 < error < 0.03  # 2^-9 a layer


def test_gradients_are_float32_and_close():
  x = _images(side=8)
  wide, narrow = (
    build("convnet", num_classes=5, width=16, dtype=dtype) for dtype in ("float32", "bfloat16")
  )
  params = jax.jit(wide.init)(jax.random.key(1), x)

  def gradient(network):
    def loss(params, x):
      return jnp.square(network.apply(params, x)).sum()

    return jax.jit(jax.grad(loss, (0, 1)))(params, x)

  expected, result = (jax.flatten_util.ravel_pytree(gradient(n))[0] for n in (wide, narrow))
  assert result.dtype == jnp.float32
  assert np.linalg.norm(expected - result) < 0.06 * np.linalg.norm(expected)


def test_convolutions_round_operands_and_result_only():
  x, kernel = _images(side=9), jax.random.normal(jax.random.key(2), (3, 3, 3, 4))
  result = conv(x.astype(jnp.bfloat16), kernel, 1)
  rounded = (array.astype(jnp.bfloat16).astype(jnp.float32) for array in (x, kernel))
  expected = conv(*rounded, 1)
  assert result.dtype == jnp.bfloat16
  # the sums are f32: all that is left is the rounding of the result, half of 2^-8
  np.testing.assert_allclose(result.astype(jnp.float32), expected, rtol=2**-8)


def test_forms_of_backends_with_and_without_bfloat16_agree():
  x, kernel = (
    _images(side=9).astype(jnp.bfloat16),
    jax.random.normal(jax.random.key(2), (3, 3, 3, 4)),
  )
  of_cpu = conv(x, kernel, 1)
  with changed_traits(has_bfloat16=True, convolution="primitive"):
    of_accelerator = conv(x, kernel, 1)
  assert of_accelerator.dtype == jnp.bfloat16
  a, b = (np.asarray(y, np.float32) for y in (of_cpu, of_accelerator))
  assert np.abs(a - b).max() <= 2**-7 * np.abs(a).max()


def test_what_a_precision_means():
  assert precision_of(ConfigDict(dict(precision="bfloat16"))) == ("float32", "bfloat16")
  assert precision_of(ConfigDict(dict(precision="float64"))) == ("float64", "float32")


def test_unknown_and_useless_precisions_are_refused():
  with pytest.raises(ValueError, match="'bfloat61'.*bfloat16"):
    precision_of(ConfigDict(dict(precision="bfloat61")))
  config = ConfigDict(dict(precision="bfloat16", method="kip"))
  with pytest.raises(ValueError, match="kip has none.*dtype=bfloat16"), numerics(config):
    pass
  with pytest.raises(ValueError, match="dtype='bfloat61'"):
    build("convnet(dtype=bfloat61)", num_classes=3)
