"""Reports of fairness from models that say what a table tells them to: exact figures."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config.audit import fairness
from ddjax.data.load import RealData
from ddjax.evaluators import fairness as evaluator
from ddjax.io.comparisons import comparisons
from ddjax.io.report import report_to_json
from ddjax.types import DatasetInfo, Models

INFO = DatasetInfo("fake", (1, 1, 1), 3, 0)


def _dataset(labels, groups=None):
  """Images whose one pixel says which image it is."""
  images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
  fields = dict.fromkeys(RealData._fields) | dict(
    info=INFO, max_value=255, test_images=images, test_labels=np.asarray(labels, np.int32),
    test_groups=groups, is_coloured=groups is not None,
  )  # fmt: skip
  return RealData(**fields)


def _predict(table, pixels):
  """One model's answers i[T], as logits."""
  index = jnp.round(pixels[:, 0, 0, 0] * 255).astype(jnp.int32)
  return jax.nn.one_hot(table[index], 3)


def _models(answers, group=None):
  answers = np.asarray(answers, np.int32)
  group = np.arange(len(answers)) if group is None else np.array(group)
  return Models(_predict, jnp.asarray(answers), group)


def _measure(models, dataset, num_bootstrap=100):
  config = fairness()
  config.num_bootstrap = num_bootstrap
  models = {name: of if isinstance(of, dict) else {"mlp": of} for name, of in models.items()}
  measure = evaluator.make_fairness_evaluator(config, INFO)
  return measure(models, dataset, jax.random.key(0))


LABELS = np.repeat([0, 1, 2], 4)
RIGHT = LABELS.copy()
HALF = np.array([0, 0, 0, 0, 1, 1, 0, 0, 2, 2, 2, 0])  # 1, .5, .75
POOR = np.array([0, 0, 1, 1, 0, 0, 0, 1, 2, 2, 2, 2])  # .5, .25, 1


def test_exact_figures():
  models = {
    "distilled": {"mlp": _models([HALF, POOR]), "convnet": _models([RIGHT, RIGHT])},
    "random_subset": {"mlp": _models([POOR, POOR, POOR])},
    "initial": {"mlp": _models([RIGHT, POOR])},
    "full": {"mlp": _models([RIGHT], [0])},
  }
  report = _measure(models, _dataset(LABELS))
  assert report.kind == "fairness"
  expected = {
    "worst_class_accuracy": 0.375,
    "random_subset_worst_class_accuracy": 0.25,
    "initial_worst_class_accuracy": 0.625,
    "full_worst_class_accuracy": 1.0,
    "gain_over_random_worst_class_accuracy": 0.125,
    "gain_over_initial_worst_class_accuracy": -0.25,
    "gain_over_full_worst_class_accuracy": -0.625,
    "accuracy_gap": 0.625,
    "random_subset_accuracy_gap": 0.75,
    "full_accuracy_gap": 0.0,
    "gain_over_random_accuracy_gap": -0.125,
    "accuracy_ratio": 0.375,
    "accuracy_std": np.mean([np.std([1, 0.5, 0.75]), np.std([0.5, 0.25, 1])]),
    "worst_class_accuracy_convnet": 1.0,
    "accuracy_gap_convnet": 0.0,
  }
  assert {key: report.scalars[key] for key in expected} == pytest.approx(expected)
  assert report.per_model["worst_class_accuracy"] == [0.5, 0.25]
  assert report.per_model["initial_accuracy_gap"] == [0.0, 0.75]
  assert report.spread["accuracy_gap"] == pytest.approx(np.std([0.5, 0.75], ddof=1))
  assert report.spread["gain_over_initial_accuracy_gap"] == pytest.approx(np.std([0.5, 0], ddof=1))
  assert report.per_class["accuracy"] == [0.75, 0.375, 0.875]
  assert report.per_class["full_accuracy"] == [1.0, 1.0, 1.0]
  assert report.per_class["gain_over_full_accuracy"] == [-0.25, -0.625, -0.125]
  assert report.settings["worst_class"]["worst_class_accuracy"] == 1
  assert len(report.settings["class_intervals"]["gain_over_random_accuracy"]) == 3
  missing = report.settings["not_measured"]
  assert report.scalars["full_accuracy_gap_convnet"] is None
  assert "full_set='train'" in missing["gain_over_full_accuracy_gap_convnet"]
  assert "random_subset_worst_class_accuracy_convnet" in missing
  assert {key for key, value in report.scalars.items() if value is None} == missing.keys()


def test_the_report_is_plain_and_its_comparisons_are_found():
  models = {"distilled": _models([HALF, POOR]), "random_subset": _models([POOR, POOR])}
  written = report_to_json({}, {"fairness": _measure(models, _dataset(LABELS))})
  json.dumps(written, allow_nan=False)
  rows = {row.key: row for row in comparisons(written["reports"])}
  assert rows.keys() == {
    "worst_class_accuracy", "accuracy_gap", "accuracy_std", "accuracy_ratio"
  }  # fmt: skip
  row = rows["worst_class_accuracy"]
  assert [level.label for level in row.baselines] == ["random subset"]
  assert row.gains[0].value == pytest.approx(0.125) and row.gains[0].interval is not None


def test_unfairness_is_claimed_where_it_is_and_only_there():
  labels = np.repeat([0, 1, 2], 60)
  rng = np.random.default_rng(0)

  def answers(*accuracies):
    right = rng.random((5, 180)) < np.repeat(accuracies, 60)
    return _models(np.where(right, labels, (labels + 1) % 3))

  unfair = {"distilled": answers(0.95, 0.9, 0.3), "random_subset": answers(0.9, 0.9, 0.9)}
  verdicts = _measure(unfair, _dataset(labels), 300).settings["amplified"]
  assert {of["random_subset"] for of in verdicts.values()} == {"amplified"}
  fairer = {"distilled": unfair["random_subset"], "random_subset": unfair["distilled"]}
  verdicts = _measure(fairer, _dataset(labels), 300).settings["amplified"]
  assert {of["random_subset"] for of in verdicts.values()} == {"reduced"}
  alike = {"distilled": answers(0.6, 0.6, 0.6), "random_subset": answers(0.9, 0.9, 0.9)}
  verdicts = _measure(alike, _dataset(labels), 300).settings["amplified"]
  assert verdicts["accuracy_gap"] == verdicts["accuracy_std"] == {"random_subset": "not shown"}


@pytest.mark.parametrize(
  ("low", "high", "lower_is_unfair", "expected"),
  [
    (0.1, 0.2, False, "amplified"),
    (0.1, 0.2, True, "reduced"),
    (-0.2, -0.1, False, "reduced"),
    (-0.2, -0.1, True, "amplified"),
    (-0.1, 0.1, True, "not shown"),
    (0.0, 0.1, False, "not shown"),
  ],
)
def test_verdicts(low, high, lower_is_unfair, expected):
  assert evaluator.verdict(low, high, lower_is_unfair) == expected


def test_groups():
  """Colours: one model sees them only, one is always right."""
  groups = np.tile([0, 1, 2, 0], 3).astype(np.int32)
  models = {"distilled": _models([groups]), "random_subset": _models([RIGHT])}
  report = _measure(models, _dataset(LABELS, groups))
  expected = {
    "aligned_accuracy": 1.0,
    "conflicting_accuracy": 0.0,
    "alignment_gap": 1.0,
    "deo_max": 1.0,
    "deo_mean": 1.0,
    "demographic_parity": 1.0,
    "equalised_odds": 1.0,
    "random_subset_alignment_gap": 0.0,
    "random_subset_deo_max": 0.0,
    "random_subset_equalised_odds": 0.0,
    "gain_over_random_alignment_gap": 1.0,
    "gain_over_random_deo_mean": 1.0,
    "accuracy_gap": 0.25,
  }
  assert {key: report.scalars[key] for key in expected} == pytest.approx(expected)
  assert report.settings["amplified"]["alignment_gap"] == {"random_subset": "amplified"}
  assert "fewer than 20" in report.settings["without_interval"]["deo_max"]
  assert "deo_max" not in report.interval and "deo_max" not in report.settings["amplified"]
  assert report.settings["accuracy_by_class_and_group"]["accuracy"] == np.eye(3).tolist()

  many = np.tile(np.arange(3), 80).astype(np.int32)
  labels = np.repeat(np.arange(3), 80)
  models = {"distilled": _models([many]), "random_subset": _models([labels])}
  report = _measure(models, _dataset(labels, many))
  assert "deo_max" in report.interval
  assert report.settings["amplified"]["deo_mean"] == {"random_subset": "amplified"}


def test_a_class_without_test_examples_does_not_count():
  models = {"distilled": _models([HALF, HALF])}
  dataset = _dataset(LABELS)
  cut = dataset._replace(test_images=dataset.test_images[:8], test_labels=dataset.test_labels[:8])
  report = _measure(models, cut)
  assert report.per_class["accuracy"] == [1.0, 0.5, None]
  assert report.scalars["worst_class_accuracy"] == report.scalars["accuracy_gap"] == 0.5


def test_without_a_distilled_set():
  with pytest.raises(ValueError, match="no set 'distilled'.*full"):
    _measure({"full": _models([RIGHT])}, _dataset(LABELS))
