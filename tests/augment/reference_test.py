"""Augmentations against PyTorch's; `tests/reference/make_reference.py` made the arrays."""

import functools

import jax
import numpy as np
import pytest

from ddjax.augment import ops
from tests.reference.load import load

# From the parameters as PyTorch's definitions name them to ours.
OPERATIONS = {
  "scale": (ops.scale, lambda factors: factors[::-1]),
  "rotate": (ops.rotate, np.radians),
  "crop": (ops.crop, np.asarray),
  "cutout": (ops.cutout, np.asarray),
  "brightness": (ops.brightness, lambda u: u - np.float32(0.5)),
  "saturation": (ops.saturation, lambda u: 2 * u),
  "contrast": (ops.contrast, lambda u: u + np.float32(0.5)),
}


@functools.cache
def _of_all(name):
  """The stored arrays, and ours: operation -> value and gradient, compiled as one."""
  reference = load("augmentations")
  of_image, parameters = reference[name], reference["parameters"]
  cotangent = of_image.get("cotangent", np.zeros_like(of_image["image"]))

  @jax.jit
  def values_and_gradients(image, cotangent):
    results = {}
    for operation, (function, ours) in OPERATIONS.items():
      given = ours(parameters[operation])
      value, transpose = jax.vjp(lambda image, f=function, given=given: f(image, given), image)
      results[operation] = value, transpose(cotangent)[0]
    return results

  return of_image, values_and_gradients(of_image["image"], cotangent)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["rgb", "grey", "oblong"])
def test_values_and_gradients(name, operation):
  of_image, results = _of_all(name)
  value, gradient = results[operation]
  np.testing.assert_allclose(value, of_image["output"][operation], rtol=1e-4, atol=1e-5)
  if "gradient" in of_image:
    np.testing.assert_allclose(gradient, of_image["gradient"][operation], rtol=1e-4, atol=1e-5)
