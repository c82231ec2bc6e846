"""What an estimate says."""

import json
import pathlib
from types import SimpleNamespace

import numpy as np
import pytest

from ddjax import backend, costs
from ddjax.api import get_config
from ddjax.models.build import build
from ddjax.stages import estimate, stage_cost
from ddjax.tasks.registry import RUNS
from tests.stages.jobs import job_of

_JOB = SimpleNamespace(data={"images": np.zeros((2**10, 2**10), np.float32)})

_ATTACKS = {"attacks": np.array([1e12, 60, 0])}


def test_stages_add_up_and_the_largest_call_counts():
  stages = {"distill": np.array([2e12, 90, 0]), "train": np.array([1e12, 30, 3 * 2**22])}
  found = estimate.of_stages(_JOB, stages, _ATTACKS)
  assert found.memory_bytes == 2**24
  cost, parts = found.text.removesuffix(").").split(" (")
  assert cost == "3 TFLOP, 0.016 GiB, about 2 min 00 s"
  assert parts == (
    "distill 1 min 30 s, train 30 s; compilation at a first start up to 12 s more; attacks up to "
    "1 min 00 s more"
  )
  assert found.seconds["compilation"] == 12 and found.total_seconds == 120


def test_a_run_of_attacks_alone_promises_no_time():
  found = estimate.of_stages(_JOB, {}, _ATTACKS)
  assert (
    found.text == "0.0039 GiB of data; attacks up to 1 min 00 s more; no estimate of compilation."
  )
  assert found.most_seconds == {"attacks": 60} and found.total_seconds == 0


def test_what_cannot_be_counted_stops_nothing(monkeypatch):
  def fail(*_):
    raise TypeError("'NoneType' object is not subscriptable")

  monkeypatch.setattr(costs, "count", fail)
  cost = stage_cost.passes_cost(build("mlp", num_classes=10), (8, 8, 1), 10)
  assert np.isnan(cost).all()
  found = estimate.of_stages(_JOB, {"distill": cost, "train": np.array([1e12, 30, 0])}, _ATTACKS)
  assert found.seconds == {"distill": None, "train": 30, "compilation": 12}
  assert found.text.endswith("attacks up to 1 min 00 s more; distill not counted).")
  monkeypatch.setattr(estimate, "duration", fail)
  found = estimate.of_stages(_JOB, {"train": np.array([1e12, 30, 0])})
  assert found.text == "not known (TypeError: 'NoneType' object is not subscriptable)."
  assert found.seconds == {} and found.memory_bytes is None and found.total_seconds == 0


@pytest.mark.parametrize(
  ("field", "value", "words"),
  [
    ("full_epochs", -3, "full_epochs=-3 must be at least 1"),
    ("full_steps", 0, "full_steps=0 must be at least 1"),
    ("networks", ("vggg",), "Unknown network 'vggg'"),
    ("protocol", "quik", "Unknown protocol 'quik'"),
  ],
)
def test_an_estimate_of_the_full_set_refuses_what_cannot_be_trained(field, value, words):
  config = get_config("configs/full_set.py:fake")
  config.accuracy_evaluation[field] = value
  with pytest.raises(ValueError, match=words):
    RUNS["full_set"].estimate(config)


_H200 = json.loads(pathlib.Path("docs/results/h200-2026-11-27.json").read_text())


@pytest.mark.parametrize("name", list(_H200["reproduce"]))
def test_estimates_of_an_h200_are_within_half_again_of_what_it_took(name):
  row = _H200["reproduce"][name]
  with backend.estimated_for("h200"):
    found = estimate.estimate(job_of(row["command"]))
  taken = sum(value for stage, value in row["stage_seconds"].items() if stage != "data")
  taken -= row["compilation"]["seconds"] + row["compilation"]["tracing_seconds"]
  assert set(found.seconds) - {"compilation"} <= set(row["stage_seconds"])  # one name for a stage
  assert 1 / 1.5 <= found.total_seconds / taken <= 1.5, (found.seconds, taken)
