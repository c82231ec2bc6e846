import json
import math

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
    "chosen": _models([0.45, 0.45, 0.35, 0.35], [0, 0, 1, 1]),  # .9, .9, 1, 1
    "random_subset": _models([0.75, 0.05], [0, 1], _other_threshold),  # .6, .7
    "full": _models([0.35, 0.45], [0, 1]),  # 1, .9
  }
  report = _measure(models, dataset)
  assert report.kind == "accuracy"
  assert report.per_model == {
    "mlp": [1.0, 1.0, 0.8, 0.8],
    "initial_mlp": [0.8, 0.6, 0.8, 0.6],
    "random_subset_mlp": [0.6, 0.7],
    "chosen_mlp": [0.9, 0.9, 1.0, 1.0],
    "full_mlp": [1.0, 0.9],
  }
  expected = {
    "mlp": 0.9,
    "initial_mlp": 0.7,
    "random_subset_mlp": 0.65,
    "gain_over_random_mlp": 0.25,
    "gain_over_initial_mlp": 0.2,
    "chosen_mlp": 0.95,
    "gain_over_random_chosen_mlp": 0.3,
    "gain_over_initial_chosen_mlp": 0.25,
    "full_mlp": 0.95,
    "relative_mlp": 0.9 / 0.95,
  }
  assert report.scalars == pytest.approx(expected)
  np.testing.assert_allclose(report.per_class["mlp"], [1.0, 5 / 6])
  np.testing.assert_allclose(report.per_class["random_subset_mlp"], [5 / 8, 2 / 3])
  assert report.spread["mlp"] == pytest.approx(np.std([1, 1, 0.8, 0.8], ddof=1))
  assert report.spread["gain_over_initial_mlp"] == pytest.approx(np.std([2, 4, 0, 2], ddof=1) / 10)
  assert "gain_over_random_mlp" not in report.spread
  assert report.interval.keys() == expected.keys() - {"relative_mlp"}
  for key, (low, high) in report.interval.items():
    assert low <= report.scalars[key] <= high
  assert report.settings["num_models"] == {
    "distilled": 4, "initial": 4, "chosen": 4, "random_subset": 2, "full": 2
  }  # fmt: skip
  assert report.settings["protocol"] == "quick"
  assert "2 distillations" in report.settings["interval_over"]["mlp"]
  assert json.loads(json.dumps(report._asdict()))["settings"]["not_measured"] == {}


@pytest.mark.parametrize(
  "images_times_models,images_in_a_call,images_at_once",
  [(1, 1024, None), (6, 4, None), (9, 1024, 2), (100, 3, 4), (100, 1024, None)],
)
def test_blocks_do_not_change_the_figures(
  dataset, images_times_models, images_in_a_call, images_at_once, monkeypatch
):
  monkeypatch.setattr(accuracy, "IMAGES_TIMES_MODELS", images_times_models)
  monkeypatch.setattr(accuracy, "IMAGES_IN_A_CALL", images_in_a_call)
  fits = {
    "distilled": _models([0.35, 0.55], [0, 1])["mlp"],
    "random_subset": _models([0.75], [0])["mlp"],
  }
  fits = {name: fit._replace(images_at_once=images_at_once) for name, fit in fits.items()}
  correct = accuracy.correctness(fits, dataset)
  grey = np.arange(10) / 10
  for name, thresholds in (("distilled", [0.35, 0.55]), ("random_subset", [0.75])):
    expected = (grey > np.array(thresholds)[:, None]) == LABELS
    np.testing.assert_array_equal(correct[name], expected)


def test_what_was_not_fitted_is_null_with_a_reason(dataset):
  report = _measure({"distilled": _models([0.35], [0])}, dataset)
  assert report.scalars["mlp"] == 1.0
  reasons = report.settings["not_measured"]
  assert {key for key, value in report.scalars.items() if value is None} == reasons.keys()
  subset, initial, full = "set 'random_subset'", "set 'initial'", "full_set='train'"
  expected = {
    "random_subset_mlp": subset,
    "gain_over_random_mlp": subset,
    "initial_mlp": initial,
    "gain_over_initial_mlp": initial,
    "full_mlp": full,
    "relative_mlp": full,
  }
  assert reasons.keys() == expected.keys()
  assert all(expected[key] in reason for key, reason in reasons.items())


def _squash(value):
  return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


@pytest.mark.parametrize("kind", ["with", "without"])
def test_robust_scores(dataset, kind):
  """The fits that a score lacks are the set's own: its labels are hard, or it augments already."""
  models = {
    "distilled": _models([0.35], [0]),  # 1
    "random_subset": _models([0.75], [0]),  # .6
    "full": _models([0.45], [0]),  # .9
    f"distilled_{kind}_augmentation": _models([0.55], [0]),  # .8
    f"random_subset_{kind}_augmentation": _models([0.05], [0]),  # .7
  }
  scalars = _measure(models, dataset, use_robust_scores=True).scalars
  assert scalars["augmentation_robust_score_mlp"] == pytest.approx(_squash((0.1 + 0.4) / 2))
  assert scalars["label_robust_score_mlp"] == pytest.approx(_squash((0.4 - (0.9 - 1.0)) / 2))
  assert scalars[f"distilled_{kind}_augmentation_mlp"] == pytest.approx(0.8)

  models["distilled_hard_labels"] = _models([0.75], [0])  # .6
  scalars = _measure(models, dataset, use_robust_scores=True).scalars
  assert scalars["label_robust_score_mlp"] == pytest.approx(_squash((0.4 - (0.9 - 0.6)) / 2))

  del models["full"]
  report = _measure(models, dataset, use_robust_scores=True)
  assert report.scalars["label_robust_score_mlp"] is None
  assert "full_set='train'" in report.settings["not_measured"]["label_robust_score_mlp"]
  assert report.scalars["augmentation_robust_score_mlp"] == pytest.approx(_squash(0.25))


def test_settings_say_what_the_config_changes(dataset):
  changes = dict(learning_rate=0.5, labels="hard", ema_decay=0.9)
  settings = _measure({"distilled": _models([0.35], [0])}, dataset, **changes).settings
  assert settings["changes_to_protocol"] == changes


def test_without_a_distilled_set(dataset):
  with pytest.raises(ValueError, match="no set 'distilled'.*initial"):
    _measure({"initial": _models([0.35], [0])}, dataset)


def test_a_class_without_test_examples_is_null(dataset):
  dataset = dataset._replace(test_images=dataset.test_images[:4], test_labels=LABELS[:4])
  assert _measure({"distilled": _models([0.35], [0])}, dataset).per_class["mlp"] == [1.0, None]
