"""The privacy report on models whose leak is known."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.config import audit
from ddjax.data.load import load_real_data
from ddjax.evaluators import privacy
from ddjax.evaluators.privacy import make_privacy_evaluator
from ddjax.stages.shadows import Shadows
from ddjax.types import DistilledSet, EvaluationContext, Models, Report


class _Setting(NamedTuple):
  config: object
  real: object
  context: EvaluationContext


@pytest.fixture(scope="module")
def setting():
  from ddjax.config import groups

  real = load_real_data(groups.data("fake"))
  config = audit.privacy()
  config.num_bootstrap = 60
  pixels = real.train_images / np.float32(real.max_value)
  images = np.asarray(real.preprocessing.forward(pixels))
  sets = {
    "distilled": DistilledSet(images[None, :4] + 1e-4, np.eye(4)[None], {}),
    "random_subset": DistilledSet(images[None, 4:8], np.eye(4)[None], {}),
  }
  return _Setting(config, real, EvaluationContext(sets, None, "made elsewhere"))


def _shadows(leak, num_splits=8, num_examples=160, num_classes=4):
  rng = np.random.default_rng(0)
  labels = rng.integers(num_classes, size=num_examples)
  is_member = np.stack(
    [rng.permutation(num_examples) < num_examples // 2 for _ in range(num_splits)]
  )
  hardness = rng.normal(size=num_examples)

  def logits(leak):
    rows = rng.normal(size=(num_splits, num_examples, num_classes))
    rows[:, np.arange(num_examples), labels] += hardness + leak * is_member
    return rows

  every = {"distilled": logits(leak), "random_subset": logits(0.0), "full": logits(0.0)}
  return Shadows(every, is_member, labels, {"num_splits": num_splits})


def _measure(setting, shadows):
  context = setting.context._replace(run_shadows=lambda: shadows)
  measure = make_privacy_evaluator(setting.config)
  return measure({}, setting.real, jax.random.key(0), context)


def test_a_leak_is_found_and_none_where_there_is_none(setting):
  leaking = _measure(setting, _shadows(5.0))
  for attack in privacy.ATTACKS:
    threshold = 0.75 if attack in ("confidence", "entropy") else 0.9
    assert leaking.scalars[f"{attack}_auc"] > threshold, attack
    low, high = leaking.interval[f"random_subset_{attack}_auc"]
    assert low < 0.5 < high, attack
    assert leaking.interval[f"gain_over_random_{attack}_auc"][0] > 0.1, attack
  assert leaking.settings["wrong_direction"] == []
  assert leaking.scalars["lira_epsilon_lower_bound"] > 0.5
  harmless = _measure(setting, _shadows(0.0))
  for attack in privacy.ATTACKS:
    low, high = harmless.interval[f"{attack}_auc"]
    assert low < 0.5 < high, attack
  assert harmless.scalars["full_lira_epsilon_lower_bound"] == 0.0


@pytest.mark.parametrize(
  "leak, epsilon, said", [(0.0, 1.0, "which is no more"), (5.0, 0.1, "do not publish the set")]
)
def test_the_promise_of_a_private_set_is_held_against_the_attacks(setting, leak, epsilon, said):
  shadows = _shadows(leak)
  promise = {"epsilon": epsilon, "delta": 1e-5}
  report = _measure(setting, shadows._replace(settings=shadows.settings | {"promise": promise}))
  promised = report.settings["promise"]
  assert promised["tpr"][0] == pytest.approx(np.exp(epsilon) * 1e-4 + 1e-5, rel=1e-6)
  (sentence,) = [check for check in report.settings["checks"] if "promises" in check]
  assert f"epsilon {epsilon:g} at delta 1e-05" in sentence and said in sentence


def test_scores_of_the_wrong_sign_are_named(setting):
  report = _measure(setting, _shadows(-5.0))
  assert "loss_auc" in report.settings["wrong_direction"]
  assert "random_subset_loss_auc" not in report.settings["wrong_direction"]
  # shadow models show the attacker which way a score goes
  assert report.scalars["lira_auc"] > 0.9 and report.scalars["shadow_logistic_auc"] > 0.9


def test_rates_that_cannot_be_estimated_say_so(setting):
  report = _measure(setting, _shadows(1.0))
  key = "lira_tpr_at_0.1_percent_fpr"  # .64 of 640 non-members
  assert report.scalars[key] is None
  assert "not estimable" in report.settings["not_measured"][key]
  assert key not in report.settings["clopper_pearson"]


def _overfitted(images, labels, num_classes, max_value):
  """A model that is sure of exactly these images."""
  known = jnp.asarray(images, jnp.float32) / max_value

  def predict(params, pixels):
    gaps = jnp.abs(pixels[:, None] - known[None]).sum(axis=(2, 3, 4))
    is_known = (gaps < 1e-4).astype(jnp.float32)
    return params["scale"] * is_known @ jax.nn.one_hot(jnp.asarray(labels), num_classes)

  return Models(predict, {"scale": jnp.array([9.0, 5.0])}, np.arange(2))


def test_a_foreign_set_is_attacked_without_shadows_and_says_what_is_left_out(setting):
  real = setting.real
  leaking = _overfitted(real.train_images, real.train_labels, real.info.num_classes, real.max_value)
  blind = leaking._replace(predict_fn=lambda params, x: jnp.zeros((len(x), 4)) * params["scale"])
  models = {"distilled": {"net": leaking}, "random_subset": {"net": blind}}
  measure = make_privacy_evaluator(setting.config)
  report = measure(models, real, jax.random.key(0), setting.context)
  assert report.scalars["loss_auc"] == pytest.approx(1.0)
  assert report.scalars["random_subset_loss_auc"] == pytest.approx(0.5)
  assert report.scalars["lira_auc"] is None
  assert report.settings["not_measured"]["lira_auc"] == "made elsewhere"
  assert set(report.settings["left_out"]) == {
    "lira", "lira_offline", "lira_fixed", "lira_offline_fixed", "shadow_logistic", "shadow_mlp",
  }  # fmt: skip


def test_copies_are_reported_with_their_pairs(setting):
  report = _measure(setting, _shadows(0.0))
  assert report.scalars["nearest_is_train_pixels"] == 1.0
  assert report.scalars["random_subset_nearest_is_train_pixels"] == 1.0
  assert report.scalars["held_out_nearest_is_train_pixels"] < 1.0
  pairs = report.settings["closest_pairs_pixels"]
  assert sorted(pair["train"] for pair in pairs) == [0, 1, 2, 3]
  assert all(pair["distance_to_train"] < pair["distance_to_held_out"] for pair in pairs)
  assert "features" in report.settings["not_measured"]["nearest_is_train_features"]


def test_an_unknown_attack_is_refused():
  config = audit.privacy()
  config.attacks = ("lirra",)
  with pytest.raises(ValueError, match="'lirra'.*'lira'"):
    make_privacy_evaluator(config)


def test_coloured_images_are_not_compared_with_those_of_other_colours(setting):
  real = setting.real._replace(train_groups=np.zeros(len(setting.real.train_labels), np.int32))
  report = make_privacy_evaluator(setting.config)({}, real, jax.random.key(0), setting.context)
  assert report.scalars["lira_auc"] is None and report.scalars["nearest_is_train_pixels"] is None
  assert "not of one distribution" in report.settings["not_measured"]["loss_auc"]
  assert "not of one distribution" in report.settings["checks"][0]
  report = _measure(setting._replace(real=real), _shadows(2.0))  # members of both colours
  assert report.scalars["lira_auc"] > 0.6 and report.scalars["nearest_is_train_pixels"] is None
  assert "the copy check" in report.settings["checks"][0]


def test_what_cells_share_is_scored_once(setting, monkeypatch):
  known, calls, score = {}, [], privacy.score
  monkeypatch.setattr(privacy, "score", lambda *args: calls.append(args) or score(*args))
  first, second = _shadows(0.0), _shadows(1.0)
  second.logits.update({name: first.logits[name] for name in ("random_subset", "full")})
  for shadows in (first, second):
    report = Report("privacy", {}, {}, {}, {}, {}, {"interval_over": {}, "not_measured": {}})
    found = privacy.with_shadows(report, shadows, setting.config, 0, known)
    alone = score(shadows.logits["full"], shadows, ("loss",), 0)["loss"]
    np.testing.assert_array_equal(found["full", "loss"].values, alone)
  assert len(calls) == 4  # three sets, and the distilled one of the second


def test_scores_are_left_for_comparisons_between_runs(setting):
  left = {}
  shadows = _shadows(5.0)
  context = setting.context._replace(
    run_shadows=lambda: shadows, leave=lambda name, arrays: left.update({name: arrays})
  )
  make_privacy_evaluator(setting.config)({}, setting.real, jax.random.key(0), context)
  arrays = left["privacy"]
  expected = {f"{name}/{attack}" for name in shadows.logits for attack in privacy.ATTACKS}
  assert set(arrays) == expected | {"is_member"}
  assert (arrays["is_member"] == shadows.is_member).all()
  assert all(rows.shape == shadows.is_member.shape for rows in arrays.values())
  assert arrays["distilled/lira"].dtype == np.float32
