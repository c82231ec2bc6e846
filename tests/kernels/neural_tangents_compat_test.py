"""What the project relies on in neural-tangents, on the JAX that is installed."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from ddjax.kernels import neural_tangents_compat

_IMPORT = """
import sys
import jax.core
from jax.interpreters import ad
before = [set(vars(module)) for module in (jax.core, ad)]
from ddjax.kernels import neural_tangents_compat
assert "neural_tangents" not in sys.modules
neural_tangents_compat.load()
assert before == [set(vars(module)) for module in (jax.core, ad)], "names left behind"
assert not hasattr(jax, "util")
heavy = {"tensorflow", "tf2jax", "keras", "jax.util", "neural_tangents.experimental"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def _images(seed, num_images):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(num_images, 4, 4, 2)), jnp.float32)


def test_load_leaves_jax_as_it_was_and_tensorflow_alone():
  run = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True)
  assert run.returncode == 0, run.stderr


def test_load_is_idempotent():
  assert neural_tangents_compat.load() is neural_tangents_compat.load()


def test_stax_kernels_and_their_gradients():
  stax = neural_tangents_compat.load().stax
  layers = (
    stax.Conv(1, (3, 3), padding="SAME"),
    stax.Relu(),
    stax.AvgPool((2, 2), strides=(2, 2)),
    stax.GlobalAvgPool(),
    stax.Dense(1),
  )
  kernel_fn = stax.serial(*layers)[2]
  kernels = kernel_fn(_images(0, 3), _images(1, 2), ("nngp", "ntk"))
  assert kernels.nngp.shape == kernels.ntk.shape == (3, 2)
  assert np.all(np.asarray(kernels.ntk) >= np.asarray(kernels.nngp))
  gradient = jax.jit(jax.grad(lambda x: jnp.sum(kernel_fn(x, None, "ntk"))))(_images(0, 3))
  assert np.all(np.isfinite(gradient)) and np.any(gradient)


def test_predict_is_kernel_regression():
  library = neural_tangents_compat.load()
  stax = library.stax
  kernel_fn = stax.serial(stax.Flatten(), stax.Dense(1), stax.Relu(), stax.Dense(1))[2]
  train, test = _images(0, 5), _images(1, 3)
  labels = jnp.asarray(np.random.default_rng(2).normal(size=(5, 2)), jnp.float32)
  predict_fn = library.predict.gradient_descent_mse_ensemble(
    kernel_fn, train, labels, diag_reg=1e-2, diag_reg_absolute_scale=True
  )
  ours = np.asarray(kernel_fn(test, train, "ntk"), np.float64) @ np.linalg.solve(
    np.asarray(kernel_fn(train, None, "ntk"), np.float64) + 1e-2 * np.eye(5), labels
  )
  np.testing.assert_allclose(predict_fn(x_test=test, get="ntk"), ours, rtol=1e-3, atol=1e-4)
