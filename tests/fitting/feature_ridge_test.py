import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config.groups import accuracy_evaluation
from ddjax.fitting import feature_ridge
from ddjax.fitting.fit import make_fit
from ddjax.types import DatasetInfo, DistilledSet, Models

RIDGE = 1e-3


class Pixels(nn.Module):
  """Features are the pixels times a learned number."""

  @nn.compact
  def __call__(self, images, return_features=False):
    features = self.param("factor", nn.initializers.ones, ()) * images.reshape(len(images), -1)
    return (features[:, :3], features) if return_features else features[:, :3]


class Halved:
  def forward(self, pixels):
    return pixels / 2


def _set(num_examples, label_kind="one_hot", num_entries=2):
  rng = np.random.default_rng(0)
  images = rng.normal(size=(num_entries, num_examples, 2, 2, 1)).astype(np.float32)
  labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=(num_entries, num_examples))]
  return DistilledSet(images, labels, {"label_kind": label_kind})


@pytest.mark.parametrize("num_examples", [3, 9])  # fewer and more than the features
@pytest.mark.parametrize("label_kind", ["one_hot", "centred"])
def test_scores_are_those_of_the_kernel_form(num_examples, label_kind):
  network, distilled = Pixels(), _set(num_examples, label_kind)
  factors = np.float32([1.0, 2.0, 3.0])
  trained = Models(None, {"params": {"factor": jnp.asarray(factors)}}, np.array([0, 0, 1]))
  predict_fn = feature_ridge.make_predict(network, Halved())
  models = feature_ridge.fit(network, predict_fn, trained, distilled, RIDGE)
  pixels = np.random.default_rng(1).uniform(size=(5, 2, 2, 1)).astype(np.float32)
  scores = jax.vmap(models.predict_fn, (0, None))(models.params, pixels)
  for row, (factor, entry) in enumerate(zip(factors, trained.group)):
    support = factor * distilled.images[entry].reshape(num_examples, -1).astype(np.float64)
    kernel = support @ support.T
    shifted = kernel + RIDGE * np.trace(kernel) / num_examples * np.eye(num_examples)
    labels = distilled.labels[entry] - (1 / 3 if label_kind == "one_hot" else 0)
    expected = factor * pixels.reshape(5, -1) / 2 @ support.T @ np.linalg.solve(shifted, labels)
    np.testing.assert_allclose(scores[row], expected, atol=1e-5)


def test_pieces_give_the_features_of_all_at_once(monkeypatch):
  monkeypatch.setattr(feature_ridge, "_IMAGES_AT_ONCE", 4)
  images = jnp.asarray(_set(10).images[0])
  features = feature_ridge._features(
    {"params": {"factor": jnp.float32(2)}}, images, network=Pixels()
  )
  np.testing.assert_array_equal(features, 2 * images.reshape(10, -1))


def test_every_network_has_its_predictor():
  info = DatasetInfo("toy", (2, 2, 1), 3, 9)
  config = accuracy_evaluation()
  config.update(dict(networks=("mlp",), width=4, num_seeds=2, num_epochs=2, feature_ridge=RIDGE))
  sets = {"distilled": _set(6), "random_subset": _set(6, num_entries=3)}
  models = make_fit(config, info, Halved())(sets, jax.random.key(0))
  for of_set, count in zip(models.values(), (4, 3), strict=True):
    assert list(of_set) == ["mlp", "mlp_feature_ridge"]
    ridge = of_set["mlp_feature_ridge"]
    np.testing.assert_array_equal(ridge.group, of_set["mlp"].group)
    assert ridge.params["weights"].shape[0] == count
  first, second = (of_set["mlp_feature_ridge"].predict_fn for of_set in models.values())
  assert first is second


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan")])
def test_a_ridge_that_is_not_positive_is_refused(ridge):
  config = accuracy_evaluation()
  config.update(dict(networks=("mlp",), feature_ridge=ridge))
  with pytest.raises(ValueError, match="accuracy_evaluation.feature_ridge=.* must be positive"):
    make_fit(config, DatasetInfo("toy", (2, 2, 1), 3, 9), Halved())
