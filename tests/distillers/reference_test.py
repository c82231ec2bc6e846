"""A step of DM and of gradient matching against the same step in PyTorch, from stored arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import siamese
from ddjax.distillers import class_batches, matching
from ddjax.models.build import build
from ddjax.types import DataSplit, Synthetic
from tests.reference.load import load


def _problem():
  """(stored arrays, network, variables, real set and batch, draws that change nothing)."""
  stored = load("matching")
  num_classes, size = stored["real"].shape[:2]
  rows = np.arange(num_classes * size)
  data = DataSplit(
    images=jnp.asarray(stored["real"].reshape(-1, 8, 8, 3)),
    labels=jnp.asarray(rows // size),
    mask=jnp.ones(len(rows), bool),
    class_index=jnp.asarray(rows.reshape(num_classes, size)),
    class_counts=jnp.full(num_classes, size),
    mean=jnp.zeros(3),
    std=jnp.ones(3),
  )
  batch = class_batches.ClassBatch(data.class_index, jnp.ones((num_classes, size)))
  draws = class_batches.draw_siamese(
    jax.random.key(0), siamese.Augmentation(), num_classes, (8, 8, 3)
  )
  network = build("convnet(depth=2)", num_classes=num_classes, width=4)
  return stored, network, {"params": stored["params"]}, data, batch, draws


@pytest.mark.parametrize("classes_at_once", [1, 5])
def test_loss_and_image_gradient_are_those_of_pytorch(classes_at_once):
  stored, network, variables, data, batch, draws = _problem()
  cosine = matching.Matcher(network, siamese.Augmentation(), classes_at_once, 4, None)
  squared = cosine._replace(distance=matching.squared_distance, only_convolutions=True)
  absolute = squared._replace(distance=matching.absolute_distance)
  matchers = {"cosine": cosine, "squared": squared, "absolute": absolute}
  labels = jnp.broadcast_to(jnp.eye(5)[:, None], (5, 2, 5))

  @jax.jit
  def match(images):
    args = variables, data, batch, draws, images
    found = {"means": matching.match_means(cosine, *args)}
    for name, matcher in matchers.items():
      learned = Synthetic(images, labels)
      each, (gradient, _) = matching.match_gradients(matcher, *args[:-1], learned)
      found[name] = each, gradient
    return found

  for kind, (each, gradient) in match(jnp.asarray(stored["synthetic"])).items():
    np.testing.assert_allclose(each.sum(), stored["losses"][kind], rtol=1e-4)
    expected = stored["gradients"][kind]
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    assert error < 1e-3, kind
