"""Augmentations against PyTorch's; `tests/reference/make_reference.py` made the arrays."""

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


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["rgb", "grey", "oblong"])
def test_values_and_gradients(name, operation):
  reference = load("augmentations")
  of_image = reference[name]
  function, ours = OPERATIONS[operation]
  parameters = ours(reference["parameters"][operation])

  @jax.jit
  def value_and_gradient(image, parameters, cotangent):
    value, transpose = jax.vjp(lambda image: function(image, parameters), image)
    return value, transpose(cotangent)[0]

  cotangent = of_image.get("cotangent", np.zeros_like(of_image["image"]))
  value, gradient = value_and_gradient(of_image["image"], parameters, cotangent)
  np.testing.assert_allclose(value, of_image["output"][operation], rtol=1e-4, atol=1e-5)
  if "gradient" in of_image:
    np.testing.assert_allclose(gradient, of_image["gradient"][operation], rtol=1e-4, atol=1e-5)
