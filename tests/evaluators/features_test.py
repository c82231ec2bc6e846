"""Features that are the pixels themselves, so that distances and tests are known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config.audit import features
from ddjax.data.load import RealData
from ddjax.data.preprocess import Preprocessing
from ddjax.evaluators.features import make_features_evaluator
from ddjax.types import DatasetInfo, DistilledSet, Models

INFO = DatasetInfo("fake", (2, 2, 1), 2, 120)
STD = 0.05


def _images(rng, classes, shift=0.0):
  """Grey images about .3 and .7, in pixels."""
  mean = np.where(np.asarray(classes) == 0, 0.3, 0.7)[:, None, None, None]
  return np.clip(rng.normal(mean + shift, STD, (len(classes), 2, 2, 1)), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def dataset():
  labels = np.repeat([0, 1], 60).astype(np.int32)
  images = np.round(255 * _images(np.random.default_rng(0), labels)).astype(np.uint8)
  fields = dict.fromkeys(RealData._fields) | dict(
    info=INFO, max_value=255, train_images=images, train_labels=labels,
    preprocessing=Preprocessing(),
  )  # fmt: skip
  return RealData(**fields)


def _flat(scale, images):
  return scale * images.reshape(len(images), -1)


def _set(images, classes, **info):
  return DistilledSet(images[None], np.eye(2, dtype=np.float32)[classes][None], info)


def _models(*names):
  one = {"mlp": Models(None, jnp.ones(1), np.zeros(1, np.int32))}
  return dict.fromkeys(("distilled", *names), one)


def _measure(dataset, sets, models=None, feature_fn=_flat, **fields):
  config = features()
  config.update(dict(num_real_shown=20, perplexity=5.0, num_permutations=199) | fields)
  measure = make_features_evaluator(config, INFO, feature_fn)
  context = SimpleNamespace(sets=sets)
  return measure(models or _models("full"), dataset, jax.random.key(0), context)


CLASSES = np.repeat([0, 1], 3)


@pytest.fixture(scope="module")
def report(dataset):
  rng = np.random.default_rng(1)
  sets = {
    "distilled": _set(
      _images(rng, CLASSES, np.array([0, 0.1])[CLASSES][:, None, None, None]), CLASSES
    ),
    "random_subset": _set(dataset.train_images[[0, 1, 2, 60, 61, 62]] / np.float32(255), CLASSES),
  }
  return _measure(dataset, sets)


def test_a_shifted_class_is_found_and_real_images_are_not(report):
  distances, p_values = report.per_class["distance"], report.per_class["p_value"]
  assert distances[1] == pytest.approx(0.1 / STD, abs=0.7) and distances[0] < 1
  assert p_values[1] <= 0.02 and p_values[0] > 0.05
  assert report.scalars["classes_apart"] == 0.5
  assert report.scalars["distance"] == pytest.approx(np.mean(distances))
  assert max(report.per_class["random_subset_distance"]) < 1
  assert min(report.per_class["random_subset_p_value"]) > 0.05
  assert report.scalars["random_subset_classes_apart"] == 0.0


def test_intervals_run_over_the_classes(report):
  distances = np.array(report.per_class["distance"])
  half = 12.706 * distances.std(ddof=1) / np.sqrt(2)  # Student, one degree of freedom
  np.testing.assert_allclose(
    report.interval["distance"], distances.mean() + np.array([-half, half]), rtol=1e-3
  )
  low, high = report.interval["classes_apart"]  # one of two classes
  assert (low, high) == pytest.approx((0.0126, 0.9874), abs=1e-3)
  difference = distances - report.per_class["random_subset_distance"]
  assert report.scalars["gain_over_random_distance"] == pytest.approx(difference.mean())
  assert report.settings["interval_over"]["distance"] == "classes"


def test_images_of_a_set_are_not_among_those_it_is_held_against(report):
  assert report.settings["num_left_out"] == 6
  assert report.settings["num_real_per_class"] == [57, 57]


def test_pictures_have_a_point_for_every_image(report):
  for kind in ("pca", "tsne"):
    points = report.settings["coordinates"][kind]
    assert {name: np.shape(of) for name, of in points.items()} == {
      "real": (20, 2), "distilled": (6, 2), "random_subset": (6, 2)
    }  # fmt: skip
  classes = report.settings["classes"]
  assert classes["distilled"] == CLASSES.tolist() and len(classes["real"]) == 20
  first = np.array(report.settings["coordinates"]["pca"]["real"])[:, 0]
  by_class = [first[np.array(classes["real"]) == label].mean() for label in range(2)]
  assert abs(by_class[0] - by_class[1]) > 5  # in a pixel 8 deviations
  assert report.settings["explained_variance"][0] > 0.8
  assert report.settings["features_of"] == "mlp, trained on the full set"


def test_grids_are_decoded_and_one_image_is_enough(dataset):
  grid = np.full((2, 2, 2, 1), 0.3, np.float32)
  grid[1] = 0.7
  report = _measure(dataset, {"distilled": _set(grid, np.array([0, 1]), decode_factor=2)})
  assert len(report.settings["classes"]["distilled"]) == 8
  assert report.settings["classes"]["distilled"] == [0, 1] * 4
  random = {"random_subset": _set(grid, np.array([0, 1]))}
  both = _measure(dataset, {"distilled": _set(grid, np.array([0, 1]), decode_factor=2)} | random)
  assert both.scalars["gain_over_random_distance"] is None
  reason = both.settings["not_measured"]["gain_over_random_distance"]
  assert "has 8 images, a random subset 2" in reason
  one = _measure(dataset, {"distilled": _set(grid, np.array([0, 1]))}, _models("random_subset"))
  assert min(one.per_class["p_value"]) >= 1 / 61 - 1e-12
  assert one.settings["features_of"] == "mlp, trained on a random subset"


def test_what_cannot_be_estimated_says_why(dataset):
  lone = {"distilled": _set(np.full((1, 2, 2, 1), 0.3, np.float32), np.array([0]))}
  report = _measure(dataset, lone, num_real_per_class=10)
  assert report.per_class["p_value"] == [None, None]
  assert report.per_class["distance"][1] is None
  assert report.scalars["classes_apart"] is None
  assert "classes_apart" in report.settings["not_measured"]
  reasons = report.settings["not_estimable"]["p_value"]
  assert "cannot reach .05" in reasons["0"] and "0 images of the set" in reasons["1"]

  dead = _measure(dataset, lone, feature_fn=lambda scale, images: 0 * _flat(scale, images))
  assert dead.scalars == {"distance": None, "classes_apart": None}
  assert "do not vary" in dead.settings["not_measured"]["distance"]
  assert "coordinates" not in dead.settings


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(num_real_per_class=1), "features.num_real_per_class=1"),
    (dict(num_permutations=18), "features.num_permutations=18"),
    (dict(num_real_shown=0), "features.num_real_shown=0"),
    (dict(perplexity=0.5), "features.perplexity=0.5"),
  ],
)
def test_bad_settings_are_named(fields, message):
  config = features()
  config.update(fields)
  with pytest.raises(ValueError, match=message):
    make_features_evaluator(config, INFO, _flat)


def test_without_a_set_or_a_network(dataset):
  with pytest.raises(ValueError, match="no set 'distilled'"):
    _measure(dataset, {})
  lone = {"distilled": _set(np.full((1, 2, 2, 1), 0.3, np.float32), np.array([0]))}
  with pytest.raises(ValueError, match="full set or a random subset"):
    _measure(dataset, lone, {"distilled": _models()["distilled"]})
