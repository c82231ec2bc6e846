"""make_kernel: every family, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax import backend, tuning
from ddjax.config import groups
from ddjax.kernels import make_kernel
from ddjax.kernels.architectures import hidden_layers
from ddjax.kernels.make import choose_engine

SHAPE = (4, 4, 1)
FAMILIES = {
  "fc": 1, "conv": 1, "convnet": 1, "myrtle": 5, "rbf": 1, "laplace": 1, "linear": 1, "arccos": 2,
  "random_feature": 1,
}  # fmt: skip


def _config(family="fc", **fields):
  config = groups.kernel(family, FAMILIES.get(family, 1))
  config.update({"num_features": 8} | fields)
  return config


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_dtypes_and_names(family):
  kernel = make_kernel(_config(family), SHAPE)
  images = [jax.ShapeDtypeStruct((n, *SHAPE), jnp.float32) for n in (3, 5)]
  matrix = jax.eval_shape(kernel.kernel_fn, *images)
  assert matrix.shape == (3, 5) and matrix.dtype == jnp.float32
  assert kernel.name.startswith(family)
  assert kernel.has_pooling == (family in ("convnet", "myrtle"))


def test_names_tell_depth_and_kind():
  config = _config("conv", kind="nngp")
  assert make_kernel(config, SHAPE).name == "conv1-nngp"


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(family="fcc"), "'fcc'. Did you mean 'fc'"),
    (dict(engine="closed"), "'closed'. Did you mean 'closed_form'"),
    (dict(kind="ntkk"), "'ntkk'. Did you mean 'ntk'"),
    (dict(depth=0), "kernel.depth=0"),
    (dict(family="rbf", bandwidth=-1.0), "kernel.bandwidth=-1.0"),
    (dict(weight_std=0.0), "kernel.weight_std=0.0"),
  ],
)
def test_refusals_name_the_value(fields, message):
  with pytest.raises(ValueError, match=message):
    make_kernel(_config(**fields), SHAPE)


def test_engines_give_the_same_numbers():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(6, *SHAPE)), jnp.float32)
  ours, theirs = (
    jax.jit(make_kernel(_config("conv", engine=engine), SHAPE).kernel_fn)(x[:3], x[3:])
    for engine in ("closed_form", "neural_tangents")
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(
  ("family", "depth", "engine", "kind"),
  [
    ("fc", 1, "neural_tangents", "nngp"),
    ("fc", 3, "auto", "ntk"),
    ("conv", 2, "auto", "ntk"),
    ("conv", 1, "closed_form", "ntk"),
    ("convnet", 1, "neural_tangents", "ntk"),
    ("arccos", 2, "auto", "nngp"),
  ],
)
def test_the_diagonal_is_exact_whatever_the_engine(family, depth, engine, kind):
  """Of one array; neural-tangents alone is off by up to 7e-4."""
  config = _config(family, kind=kind, engine=engine)
  config.depth = depth
  images = np.random.default_rng(0).normal(size=(20, *SHAPE))
  single = make_kernel(config, SHAPE).kernel_fn
  with jax.enable_x64(True):
    config.engine = "closed_form"
    double = make_kernel(config, SHAPE, precision="float64").kernel_fn
    expected, of_double = _matrix_and_slope(double)(jnp.asarray(images))
  x = jnp.asarray(images, jnp.float32)
  matrix, of_sum = _matrix_and_slope(single)(x)
  np.testing.assert_allclose(np.diag(matrix), np.diag(expected), rtol=1e-6)
  apart = jax.jit(single)(x, x + 0.0)
  np.testing.assert_allclose(matrix, apart, rtol=2e-3)  # the rest is untouched
  np.testing.assert_allclose(of_sum, of_double, rtol=1e-4, atol=1e-5)


def _matrix_and_slope(kernel_fn):
  """(x f[n h w c]) -> the matrix f[n n] of one array, and the gradient of its trace."""

  def trace(x):
    matrix = kernel_fn(x, x)
    return jnp.trace(matrix), matrix

  def both(x):
    (_, matrix), slope = jax.value_and_grad(trace, has_aux=True)(x)
    return matrix, slope

  return jax.jit(both)


def test_auto_takes_the_fastest_engine():
  engines = [
    make_kernel(_config(family, engine="auto"), shape).engine
    for family, shape in (("fc", SHAPE), ("convnet", SHAPE), ("convnet", (32, 32, 3)))
  ]
  assert engines == ["neural_tangents", "closed_form", "pooled"]
  with pytest.raises(ValueError, match="kernel.engine='pooled' computes networks with pooling"):
    make_kernel(_config("fc", engine="pooled"), SHAPE)


def test_pooling_in_float64_needs_an_engine_of_ours():
  with jax.enable_x64(True):
    with pytest.raises(ValueError, match="'convnet' in float64"):
      make_kernel(_config("convnet", engine="neural_tangents"), SHAPE, precision="float64")
    make_kernel(_config("convnet", engine="closed_form"), SHAPE, precision="float64")


def test_precision_is_checked():
  with pytest.raises(ValueError, match="'float46'. Did you mean 'float64'"):
    make_kernel(_config(), SHAPE, precision="float46")
  with pytest.raises(ValueError, match="64-bit"):
    make_kernel(_config(), SHAPE, precision="float64")


def test_products_are_exact_whatever_the_default_precision():
  kernel = make_kernel(_config("linear"), SHAPE)
  images = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)
  with jax.default_matmul_precision("bfloat16"):
    text = str(jax.make_jaxpr(kernel.kernel_fn)(images, images))
  assert "Precision.HIGHEST" in text


def test_float32_and_float64_networks_agree():
  x = np.random.default_rng(0).normal(size=(5, *SHAPE))
  with jax.enable_x64(True):
    double = make_kernel(_config(), SHAPE, precision="float64").kernel_fn
    exact = jax.jit(lambda x: double(x, x))(jnp.asarray(x, jnp.float64))
    assert exact.dtype == jnp.float64
  single = make_kernel(_config(), SHAPE).kernel_fn
  found = jax.jit(lambda x: single(x, x))(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_the_engine_that_is_fastest_is_chosen_by_backend_and_size():
  layers = {family: hidden_layers(family, 1, (32, 32, 3)) for family in ("fc", "convnet")}
  assert choose_engine("auto", layers["fc"], (32, 32, 3)) == "neural_tangents"
  assert choose_engine("auto", layers["convnet"], (32, 32, 3)) == "pooled"
  assert choose_engine("auto", layers["convnet"], (4, 4, 3)) == "closed_form"
  with backend.changed_traits(pooled_from_pixels=tuning.TRAITS["gpu"].pooled_from_pixels):
    assert choose_engine("auto", layers["convnet"], (32, 32, 3)) == "closed_form"
  assert choose_engine("neural_tangents", layers["convnet"], (32, 32, 3)) == "neural_tangents"
