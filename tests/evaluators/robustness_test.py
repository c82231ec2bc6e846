"""Robustness of networks whose boundary is known, of the kernel predictor, and what is reported."""

import json
import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax import backend
from ddjax.config import audit
from ddjax.config.groups import base, data, kernel, kip
from ddjax.data.load import RealData, load_real_data
from ddjax.evaluators import attack_runs, battery
from ddjax.evaluators import robustness as robustness_lib
from ddjax.evaluators.kernel import make_kernel_fit
from ddjax.types import DatasetInfo, DistilledSet, EvaluationContext, Models, Report

INFO = DatasetInfo("fake", (1, 1, 1), 2, 0)
PIXELS = np.arange(5, 100, 10)  # .05 to .95
LABELS = np.repeat([0, 1], 5).astype(np.int32)


def _threshold(threshold, pixels):
  """Class 1 where the only pixel is brighter than the network's threshold."""
  return jnp.stack([jnp.full(len(pixels), 4 * threshold), 4 * pixels[:, 0, 0, 0]], axis=1)


def _models(thresholds, group=None):
  group = np.arange(len(thresholds)) if group is None else np.array(group)
  return {"convnet": Models(_threshold, jnp.array(thresholds), group)}


def _config(**fields):
  config = audit.robustness()
  config.update(
    dict(
      num_bootstrap=100,
      linf_255=0.11 * 255,
      l2_255=0.18 * 255,
      curve_255=(0.0, 0.04 * 255, 0.24 * 255),
      corruptions=("brightness",),
      attacks=("fgsm_linf", "pgd_linf", "apgd_ce_linf", "apgd_t_linf", "square_linf", "deepfool"),
    )
  )
  config.update(fields)
  return config


@pytest.fixture(scope="module")
def report():
  """One pixel an image; the distilled networks have their thresholds at .5 and .43."""
  images = PIXELS.astype(np.uint8).reshape(-1, 1, 1, 1)
  fields = dict.fromkeys(RealData._fields)
  dataset = RealData(
    **fields | dict(info=INFO, max_value=100, test_images=images, test_labels=LABELS)
  )
  models = {"distilled": _models([0.5, 0.43]), "random_subset": _models([0.32, 0.32, 0.32])}
  config = _config(sets=("distilled", "random_subset", "full"), square=dict(num_queries=20))
  measure = robustness_lib.make_robustness_evaluator(config, INFO)
  return measure(models, dataset, jax.random.key(0))


def _within(threshold, epsilon):
  """Of the images that the threshold has right, which are farther than epsilon from it."""
  pixels = PIXELS / 100
  return ((pixels > threshold) == LABELS) & (np.abs(pixels - threshold) > epsilon)


def _mean(thresholds, epsilon):
  return np.mean([_within(threshold, epsilon) for threshold in thresholds])


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd_ce", "square", "worst_case"])
def test_accuracy_is_the_share_beyond_epsilon(report, name):
  key = f"{name}_linf_{0.11 * 255:g}_255"
  assert report.scalars[key] == pytest.approx(_mean([0.5, 0.43], 0.11))
  assert report.scalars[f"random_subset_{key}"] == pytest.approx(_mean([0.32], 0.11))
  gain = _mean([0.5, 0.43], 0.11) - _mean([0.32], 0.11)
  assert report.scalars[f"gain_over_random_{key}"] == pytest.approx(gain)
  low, high = report.interval[key]
  assert low <= report.scalars[key] <= high
  assert len(report.per_model[f"random_subset_{key}"]) == 3


def test_clean_and_unbounded_attacks(report):
  assert report.scalars["clean"] == pytest.approx(_mean([0.5, 0.43], 0))
  assert report.scalars[f"deepfool_l2_{0.18 * 255:g}_255"] == pytest.approx(
    _mean([0.5, 0.43], 0.18 / 1.02)
  )
  pixels = PIXELS / 100
  relative = [  # over the correctly classified images of each network
    np.mean((1.02 * np.abs(pixels - t) / pixels)[_within(t, 0)]) for t in (0.5, 0.43)
  ]
  found = report.per_model["deepfool_relative_perturbation"]
  np.testing.assert_allclose(found, relative, rtol=2e-3)
  assert report.scalars["deepfool_relative_perturbation"] == pytest.approx(np.mean(found))


def test_curve_and_corruptions(report):
  curve = report.settings["curve"]["distilled"]
  np.testing.assert_allclose(curve["epsilon"], [0, 0.04, 0.11, 0.24])
  expected = [_mean([0.5, 0.43], epsilon) for epsilon in (0, 0.04, 0.11, 0.24)]
  np.testing.assert_allclose(curve["accuracy"], expected)
  pixels = PIXELS / 100
  brighter = [
    np.mean([((pixels + shift > t) == LABELS).mean() for t in (0.5, 0.43)])
    for shift in (0.05 + 1e-6, 0.1 + 1e-6, 0.15 + 1e-6, 0.2 + 1e-6, 0.3 + 1e-6)
  ]
  found = report.settings["corruption_by_severity"]["distilled"]["brightness"]
  np.testing.assert_allclose(found, brighter, atol=0.05 + 1e-6)  # an image may lie on the boundary
  assert report.scalars["corruption_mean"] == pytest.approx(np.mean(found))


def test_checks_and_costs(report):
  settings = report.settings
  assert settings["converged"] is True and settings["convergence_verdict"].startswith("converged")
  assert settings["masking_suspected"] is False
  clean = report.scalars["clean"]
  assert settings["cost"]["distilled"]["fgsm_linf"] == pytest.approx(
    {"gradients": clean, "forwards": 1 + clean}
  )
  assert settings["share_perturbed"]["distilled"] == {"deepfool_relative_perturbation": 1.0}
  assert settings["num_models"] == {"distilled": 2, "random_subset": 3}
  assert 0 <= report.scalars["robustness_ratio"] <= 1
  assert 0 < report.scalars["attack_efficiency"] < 1
  json.dumps(report._asdict())


def test_what_is_missing_has_a_reason(report):
  reasons = report.settings["not_measured"]
  assert {key for key, value in report.scalars.items() if value is None} == reasons.keys()
  linf = f"linf_{0.11 * 255:g}_255"
  assert "needs 4 classes; there are 2" in reasons[f"apgd_t_{linf}"]
  assert "apgd_t_linf" in reasons[f"autoattack_{linf}"]
  assert "full_set='train'" in reasons[f"full_pgd_{linf}"]
  assert "full_set='train'" in reasons["full_crei"]


def test_the_kernel_predictor_is_attacked_by_the_same_code():
  real = load_real_data(data("digits"))
  config = base("kip", "digits")
  config.update(kip(ipc=10, num_steps=1, learning_rate=0.1, target_batch_size=10))
  config.kernel = kernel()
  config.kernel.engine = "closed_form"
  rows = np.concatenate([np.flatnonzero(real.train_labels == c)[:10] for c in range(10)])
  pixels = np.float32(real.train_images[rows] / real.max_value)
  labels = np.eye(10, dtype=np.float32)[real.train_labels[rows]] - 0.1
  images = np.asarray(real.preprocessing.forward(pixels))
  distilled = DistilledSet(images[None], labels[None], {"label_kind": "centred"})
  models = make_kernel_fit(config, real.info, real.preprocessing)({"distilled": distilled})
  attacks = dict(attacks=("pgd_linf",), corruptions=(), curve_255=(0.0,), linf_255=32.0)
  config = _config(**attacks, num_test=40, pgd=dict(num_steps=5))
  report = robustness_lib.make_robustness_evaluator(config, real.info)(
    models, real, jax.random.key(0)
  )
  scalars = report.scalars
  assert scalars["clean"] > 0.7 and scalars["pgd_linf_32_255"] < scalars["clean"] - 0.2
  assert report.settings["architectures"] == ["kernel"]
  assert scalars["random_subset_clean"] is None and scalars["gain_over_random_clean"] is None


def test_models_are_taken_from_as_many_groups_as_there_are():
  models = Models(None, {"w": jnp.arange(6)}, np.array([0, 0, 0, 1, 1, 2]))
  chosen = robustness_lib.first_models(models, 4)
  np.testing.assert_array_equal(chosen.params["w"], [0, 1, 3, 5])
  np.testing.assert_array_equal(chosen.group, [0, 0, 1, 2])
  assert len(robustness_lib.first_models(models, 9).group) == 6


def test_verdicts_against_the_networks():
  settings = {
    "convergence": {
      "distilled": {"steps": 20, "accuracy": 0.5, "doubled_accuracy": 0.495},
      "full": {"steps": 20, "accuracy": 0.5, "doubled_accuracy": 0.45},
    },
    "gradient_masking": {
      "distilled": {"square": 0.5, "white_box": 0.4},
      "full": {"square": 0.3, "white_box": 0.4},
    },
  }
  report = Report("robustness", {}, {}, {}, {}, {}, settings)
  robustness_lib._add_verdicts(report, _config())
  assert settings["converged"] is False and settings["masking_suspected"] is True
  assert settings["convergence_verdict"].startswith("not converged: doubling the 20 steps")
  assert "by up to -0.050" in settings["convergence_verdict"]
  assert settings["masking_verdict"].endswith("white-box attacks: full")


def test_blocks_of_images_change_no_exact_figure():
  pixels = (PIXELS / 100).astype(np.float32).reshape(-1, 1, 1, 1)
  forms = attack_runs.make_forms(_config())
  trial = attack_runs.pgd_trial(forms, _config(), "linf", 0.11)
  for at_once in (None, 4):
    fits = {
      "distilled": _models([0.5, 0.43])["convnet"]._replace(images_at_once=at_once),
      "full": _models([0.32])["convnet"]._replace(images_at_once=at_once),
    }
    outcomes = attack_runs.run_trial(trial, fits, pixels, LABELS, jax.random.key(0))
    for name, thresholds in (("distilled", [0.5, 0.43]), ("full", [0.32])):
      expected = [_within(threshold, 0.11) for threshold in thresholds]
      np.testing.assert_array_equal(~outcomes[name].is_fooled, expected)


@pytest.mark.parametrize("passes_at_once,calls", [(None, 1), (10**6, 1), (1, 3)])
def test_networks_that_are_attacked_together_fit_in_memory(passes_at_once, calls):
  """As on an accelerator, which takes all networks at once where nothing forbids it."""
  pixels = (PIXELS / 100).astype(np.float32).reshape(-1, 1, 1, 1)
  forms = attack_runs.make_forms(_config())
  trial = attack_runs.pgd_trial(forms, _config(), "linf", 0.11)
  models = {
    "distilled": _models([0.5, 0.43])["convnet"]._replace(passes_at_once=passes_at_once),
    "full": _models([0.32])["convnet"]._replace(passes_at_once=passes_at_once),
  }
  looks = []
  with backend.changed_traits(attacked_at_once=None), jax.debug_key_reuse(False):  # false alarm
    outcomes = attack_runs.run_trial(
      trial, models, pixels, LABELS, jax.random.key(0), lambda: looks.append(1)
    )
  assert len(looks) == calls
  for name, thresholds in (("distilled", [0.5, 0.43]), ("full", [0.32])):
    expected = [_within(threshold, 0.11) for threshold in thresholds]
    np.testing.assert_array_equal(~outcomes[name].is_fooled, expected)


def test_a_stop_is_heard_between_networks_and_finished_trials_are_kept():
  config = _config(attacks=("fgsm_linf",), corruptions=())
  models = {"distilled": {"convnet": _models([0.5, 0.43])["convnet"]}}
  images = PIXELS.astype(np.uint8).reshape(-1, 1, 1, 1)
  fields = dict.fromkeys(RealData._fields)
  dataset = RealData(
    **fields | dict(info=INFO, max_value=100, test_images=images, test_labels=LABELS)
  )
  measure = robustness_lib.make_robustness_evaluator(config, INFO)
  kept, looks = {}, []

  def keep(name, make):
    kept[name] = kept.get(name) or make()
    return kept[name]

  def check_stop():
    looks.append(len(kept))
    if len(looks) == 4:
      raise RuntimeError("stop")

  with pytest.raises(RuntimeError, match="stop"):
    context = EvaluationContext({}, keep=keep, check_stop=check_stop)
    measure(models, dataset, jax.random.key(0), context)
  assert looks == [0, 0, 1, 1]  # two networks as they are, then FGSM stopped at the second
  (name,) = kept
  assert name.startswith("convnet clean on ")
  resumed = measure(models, dataset, jax.random.key(0), EvaluationContext({}, keep=keep))
  assert resumed.scalars == measure(models, dataset, jax.random.key(0)).scalars
  others = models | {"full": {"convnet": _models([0.32])["convnet"]}}  # what was kept is not theirs
  again = measure(others, dataset, jax.random.key(0), EvaluationContext({}, keep=keep))
  assert again.scalars == measure(others, dataset, jax.random.key(0)).scalars


def test_once_an_attack_has_failed_those_beside_it_are_stopped():
  begun, failures, heard = threading.Event(), [], []

  def run(name, _):
    if name == "bad":
      assert begun.wait(20)
      raise OSError("disk full")
    begun.set()
    while not failures:  # an attack looks between networks
      time.sleep(0.01)
    heard.append(name)
    raise RuntimeError("stopped")

  trials = {name: attack_runs.Trial(lambda name=name: name, {}) for name in ("long", "bad")}
  with pytest.raises(OSError, match="disk full"):
    battery._side_by_side(run, trials, failures)
  assert heard == ["long"]


def test_an_interrupt_stops_what_runs_and_cancels_what_waits():
  failures, heard = [], []

  def run(name, _):
    heard.append(name)
    if name == "attack 0":
      signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    end = time.monotonic() + 20
    while not failures and time.monotonic() < end:
      time.sleep(0.01)
    raise RuntimeError("stopped")

  names = [f"attack {i}" for i in range(os.cpu_count() + 2)]
  trials = {name: attack_runs.Trial(lambda name=name: name, {}) for name in names}
  # Shells start what runs in the background with this signal ignored.
  previous = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    with pytest.raises(KeyboardInterrupt):
      battery._side_by_side(run, trials, failures)
  finally:
    signal.signal(signal.SIGINT, previous)
  assert 1 <= len(heard) <= os.cpu_count()


def test_cost_of_an_ensemble_ends_with_the_attack_that_fools():
  def outcome(gradients):
    zeros = np.zeros((1, 2), np.int32)
    return {"full": attack_runs.Outcome(zeros > 0, zeros + gradients, zeros + 1, zeros)}

  survivors = {"a": {"full": np.array([[0.0, 1.0]])}, "b": {"full": np.array([[0.0, 0.0]])}}
  costs = battery._costs(
    {"a": outcome(4), "b": outcome(6)}, {"both": ["a", "b"]}, survivors, "full"
  )
  assert costs == {"a": (4.0, 1.0), "b": (6.0, 1.0), "both": (7.0, 1.5)}


@pytest.mark.parametrize(
  "fields,message",
  [
    (dict(attacks=("pgd_lin",)), "'pgd_lin' in robustness.attacks. Did you mean 'pgd_linf'"),
    (dict(corruptions=("jpg",)), "'jpg' in robustness.corruptions. Did you mean 'jpeg'"),
    (dict(attacks=("deepfool", "deepfool")), "names one twice"),
    (dict(sets=("full",)), "must hold 'distilled'"),
    (dict(linf_255=0.0), "robustness.linf_255=0.0"),
    (dict(curve_255=(-1.0,)), "robustness.curve_255"),
    (dict(num_networks=0), "num_networks=0"),
    (dict(apgd=dict(num_steps=0)), "robustness.apgd.num_steps=0"),
  ],
)
def test_refuses(fields, message):
  with pytest.raises(ValueError, match=message):
    robustness_lib.make_robustness_evaluator(_config(**fields), INFO)


def test_refuses_unknown_networks_and_a_missing_set():
  measure = robustness_lib.make_robustness_evaluator(_config(networks=("convnt",)), INFO)
  with pytest.raises(ValueError, match="no set 'distilled'"):
    measure({"full": _models([0.5])}, None, jax.random.key(0))
  fields = dict(max_value=100, test_images=np.zeros((2, 1, 1, 1), np.uint8), test_labels=LABELS[:2])
  dataset = RealData(**dict.fromkeys(RealData._fields) | fields)
  with pytest.raises(ValueError, match="'convnt' in robustness.networks. Did you mean 'convnet'"):
    measure({"distilled": _models([0.5])}, dataset, jax.random.key(0))


def test_full_budget_is_the_papers():
  config = audit.robustness(is_full=True)
  assert config.apgd.to_dict() == dict(num_steps=100, num_restarts=5, num_targets=9)
  assert config.square.num_queries == 5000 and config.num_test == 0
  assert config.carlini_wagner.num_searches == 9
  robustness_lib.make_robustness_evaluator(config, INFO)
