import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config.groups import accuracy_evaluation
from ddjax.data.load import RealData
from ddjax.evaluators import accuracy
from ddjax.types import DatasetInfo, Models

INFO = DatasetInfo("fake", (1, 1, 1), 2, 0)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1], np.int32)


def _threshold(threshold, pixels):
  """Class 1 above the model's threshold."""
  return jnp.stack([jnp.full(len(pixels), threshold), pixels[:, 0, 0, 0]], axis=1)


def _other_threshold(threshold, pixels):
  return _threshold(threshold, pixels)


@pytest.fixture
def dataset():
  """Ten grey images, 0 to 90 of 100, of which the first four are of class 0."""
  images = np.arange(0, 100, 10, np.uint8).reshape(-1, 1, 1, 1)
  fields = dict.fromkeys(RealData._fields)
  return RealData(**fields | dict(info=INFO, max_value=100, test_images=images, test_labels=LABELS))


def _models(thresholds, group, predict_fn=_threshold):
  return {"mlp": Models(predict_fn, jnp.array(thresholds), np.array(group))}


def _measure(models, dataset, **fields):
  config = accuracy_evaluation()
  config.update(dict(num_bootstrap=200, **fields))
  return accuracy.make_accuracy_evaluator(config, INFO)(models, dataset, jax.random.key(0))


def test_exact_figures(dataset):
  models = {
    "distilled": _models([0.35, 0.35, 0.55, 0.55], [0, 0, 1, 1]),  # 1, 1, .8, .8
    "initial": _models([0.55, 0.75, 0.55, 0.75], [0, 0, 1, 1]),  # .8, .6, .8, .6
    "random_subset": _models([0.75, 0.05], [0, 1], _other_threshold),  # .6, .7
  }
  report = _measure(models, dataset)
  assert report.kind == "accuracy"
  assert report.per_model == {
    "mlp": [1.0, 1.0, 0.8, 0.8],
    "initial_mlp": [0.8, 0.6, 0.8, 0.6],
    "random_subset_mlp": [0.6, 0.7],
  }
  expected = {
    "mlp": 0.9,
    "initial_mlp": 0.7,
    "random_subset_mlp": 0.65,
    "gain_over_random_mlp": 0.25,
    "gain_over_initial_mlp": 0.2,
  }
  assert report.scalars == pytest.approx(expected)
  np.testing.assert_allclose(report.per_class["mlp"], [1.0, 5 / 6])
  np.testing.assert_allclose(report.per_class["random_subset_mlp"], [5 / 8, 2 / 3])
  assert report.spread["mlp"] == pytest.approx(np.std([1, 1, 0.8, 0.8], ddof=1))
  assert report.spread["gain_over_initial_mlp"] == pytest.approx(np.std([2, 4, 0, 2], ddof=1) / 10)
  assert "gain_over_random_mlp" not in report.spread
  for key, (low, high) in report.interval.items():
    assert low <= report.scalars[key] <= high
  assert report.settings["num_models"] == {"distilled": 4, "initial": 4, "random_subset": 2}
  assert report.settings["protocol"] == "quick"
  assert "2 distillations" in report.settings["interval_over"]["mlp"]
  assert json.loads(json.dumps(report._asdict()))["settings"]["not_measured"] == {}


@pytest.mark.parametrize("images_times_models", [1, 6, 9, 100])
def test_blocks_do_not_change_the_figures(dataset, images_times_models, monkeypatch):
  monkeypatch.setattr(accuracy, "IMAGES_TIMES_MODELS", images_times_models)
  fits = {
    "distilled": _models([0.35, 0.55], [0, 1])["mlp"],
    "random_subset": _models([0.75], [0])["mlp"],
  }
  correct = accuracy.correctness(fits, dataset)
  grey = np.arange(10) / 10
  for name, thresholds in (("distilled", [0.35, 0.55]), ("random_subset", [0.75])):
    expected = (grey > np.array(thresholds)[:, None]) == LABELS
    np.testing.assert_array_equal(correct[name], expected)


def test_what_was_not_fitted_is_null_with_a_reason(dataset):
  report = _measure({"distilled": _models([0.35], [0])}, dataset)
  assert report.scalars["mlp"] == 1.0
  missing = {key for key, value in report.scalars.items() if value is None}
  assert (
    missing
    == set(report.settings["not_measured"])
    == {
      "initial_mlp",
      "random_subset_mlp",
      "gain_over_initial_mlp",
      "gain_over_random_mlp",
    }
  )


def test_without_a_distilled_set(dataset):
  with pytest.raises(ValueError, match="no set 'distilled'.*initial"):
    _measure({"initial": _models([0.35], [0])}, dataset)


def test_a_class_without_test_examples_is_null(dataset):
  dataset = dataset._replace(test_images=dataset.test_images[:4], test_labels=LABELS[:4])
  assert _measure({"distilled": _models([0.35], [0])}, dataset).per_class["mlp"] == [1.0, None]
