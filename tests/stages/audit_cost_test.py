"""What an audit costs at most, held against what it looks at."""

import jax
from ml_collections import ConfigDict
import numpy as np
import pytest

from ddjax import backend
from ddjax.api import get_config
from ddjax.config import audit
from ddjax.evaluators import attack_runs
from ddjax.kernels import cost
from ddjax.stages import audit_cost, stage_cost
from ddjax.stages.estimate import estimate
from ddjax.types import Distiller, Models
from tests.stages.jobs import job_of

_CLASSES = 4


@pytest.fixture(autouse=True)
def speed(monkeypatch):
  monkeypatch.setattr(cost, "matmul_flops_per_second", lambda: 1e11)


def _settings(**fields):
  """A small group `robustness`."""
  settings = audit.robustness()
  settings.update(
    dict(corruptions=("contrast", "brightness"), curve_255=(0.0, 4.0), attacks=("pgd_linf",))
  )
  settings.pgd.num_steps, settings.pgd.num_restarts = 3, 2
  settings.apgd.update(dict(num_steps=4, num_restarts=2, num_targets=2))
  settings.square.num_queries = 5
  settings.deepfool.update(dict(num_steps=3, num_candidates=3))
  settings.carlini_wagner.update(dict(num_searches=2, num_steps=3))
  settings.update(fields)
  return settings


def _never_fooled(params, pixels):
  """A network that says class 0 whatever it sees, by a gradient that does not vanish."""
  total = params["scale"] * pixels.sum(axis=(1, 2, 3))
  slopes = 1e-3 * np.arange(_CLASSES, dtype=np.float32)
  return total[:, None] * slopes[None] + 100 * np.eye(_CLASSES, dtype=np.float32)[:1]


@pytest.mark.parametrize(
  "attack",
  ["fgsm_linf", "pgd_linf", "pgd_l2", "apgd_ce_linf", "apgd_t_linf", "square_linf", "deepfool",
   "carlini_wagner"],
)  # fmt: skip
def test_an_attack_on_what_is_never_fooled_looks_as_often_as_is_said(attack):
  config = _settings(attacks=(attack,))
  trial = attack_runs.make_trial(attack_runs.make_forms(config), config, attack, _CLASSES)
  fits = {"distilled": Models(_never_fooled, {"scale": np.ones(1, np.float32)}, np.zeros(1, int))}
  pixels = np.full((2, 4, 4, 1), 0.5, np.float32)
  found = attack_runs.run_trial(trial, fits, pixels, np.zeros(2, int), jax.random.key(0))
  of_all = np.array(audit_cost._passes_an_image(config, _CLASSES))
  of_others = np.array(audit_cost._passes_an_image(_settings(attacks=()), _CLASSES))
  gradients, forwards = of_all - of_others
  outcome = found["distilled"]
  assert outcome.num_gradients.max() <= gradients
  assert outcome.num_forwards.max() <= gradients + forwards + 2  # a first look, and a last
  if attack != "deepfool":  # which ends where it moves no more
    assert outcome.num_gradients.max() + outcome.num_forwards.max() >= gradients + forwards


def test_bounds_are_of_the_evaluators_that_run():
  job = job_of("--config=configs/dm.py:cifar10,ipc=1")
  job.config.evaluators = ("accuracy",)
  assert audit_cost.bounds(job) == {} and not estimate(job).most_seconds
  job.config.evaluators = ("accuracy", "privacy", "robustness")
  found = estimate(job)
  assert set(found.most_seconds) == {"distillation of the splits", "attacks"}
  assert all(value > 0 for value in found.most_seconds.values())


def test_distillations_of_splits_are_as_many_distillations():
  job = job_of("--config=configs/dm.py:cifar10,ipc=1")
  job.config.privacy.num_splits, job.config.privacy.num_steps = 16, 30
  one = stage_cost.matching(job) / job.num_steps / job.config.num_replicas
  found = audit_cost.distillations(job)[1]
  assert found < 16 * 30 * one[1]  # they draw the same networks and real images
  job.config.privacy.num_steps = 60
  np.testing.assert_allclose(audit_cost.distillations(job)[1], 2 * found, rtol=1e-6)


def test_kernel_methods_train_no_networks_of_splits():
  job = job_of("--config=configs/kip.py:cifar10,ipc=1")
  assert not audit_cost.networks_of_splits(job).any()
  assert audit_cost.distillations(job)[1] > 0


def test_a_coreset_distils_nothing():
  job = job_of("--config=configs/coreset.py:cifar10,ipc=1,method=herding")
  job.config.evaluators = ("accuracy", "privacy")
  assert estimate(job).most_seconds == {"distillation of the splits": 0.0}


def _saved(origin):
  """The job of an audit of a set that `origin` made, or that nobody knows the origin of."""
  config = get_config("configs/evaluate.py:cifar10,audit")
  config.evaluators = ("kernel", "accuracy", "privacy", "robustness")
  config.synthetic = ConfigDict(dict(ipc=1))
  return origin._replace(config=config, distiller=Distiller(None, None, None), num_steps=0)


def test_a_set_of_unknown_origin_is_estimated_without_shadow_runs():
  found = estimate(_saved(job_of("--config=configs/dm.py:cifar10,ipc=1")))
  assert found.seconds["evaluate accuracy"] > 0 and found.most_seconds["attacks"] > 0
  assert found.seconds["evaluate privacy"] == 0
  assert "distillation of the splits" not in found.most_seconds
  assert "not counted" not in found.text


@pytest.mark.parametrize("method", ["dm", "kip", "mtt", "dp_kip"])
def test_a_set_from_disk_is_estimated_with_the_distillations_of_splits(method):
  origin = job_of(f"--config=configs/{method}.py:cifar10,ipc=1")
  job = _saved(origin)
  found = estimate(job, origin=origin.config)
  own = origin._replace(config=origin.config.copy_and_resolve_references().unlock())
  own.config.privacy = job.config.privacy
  expected = audit_cost.distillations(own)[1]
  assert found.most_seconds["distillation of the splits"] == pytest.approx(expected)
  assert (found.seconds["evaluate privacy"] > 0) == (method not in ("kip", "dp_kip"))


def test_an_origin_of_another_version_leaves_the_estimate():
  origin = job_of("--config=configs/dm.py:cifar10,ipc=1")
  job = _saved(origin)
  del origin.config.unlock().outer
  found = estimate(job, origin=origin.config)
  assert found.seconds["evaluate accuracy"] > 0
  assert found.text.endswith("distillation of the splits not counted).")


def test_twice_the_steps_are_about_twice_the_cost():
  job = job_of("--config=configs/dm.py:cifar10,ipc=1")
  job.config.robustness = _settings(attacks=("carlini_wagner",), curve_255=(), corruptions=())
  job.config.robustness.pgd.num_steps = 1
  job.config.robustness.carlini_wagner.num_steps = 1000
  with backend.estimated_for("h200"):
    before = audit_cost.attacks(job)[1]
    job.config.robustness.carlini_wagner.num_steps = 2000
    assert audit_cost.attacks(job)[1] / before == pytest.approx(2, rel=0.02)
