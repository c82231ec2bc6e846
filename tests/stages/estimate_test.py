"""What an estimate says."""

from types import SimpleNamespace

import numpy as np

from ddjax import costs
from ddjax.models.build import build
from ddjax.stages import estimate

_JOB = SimpleNamespace(data={"images": np.zeros((2**10, 2**10), np.float32)})


def test_stages_add_up_and_the_largest_call_counts():
  stages = {"distill": np.array([2e12, 90, 0]), "train": np.array([1e12, 30, 3 * 2**22])}
  found = estimate.of_stages(_JOB, stages, ["attacks"])
  assert found.memory_bytes == 2**24
  cost, parts = found.text.removesuffix(").").split(" (")
  assert cost == "3 TFLOP, 0.016 GiB, about 2 min 00 s"
  assert parts == (
    "distill 1 min 30 s, train 30 s; compilation at a first start up to 12 s more; attacks not "
    "counted"
  )
  assert found.seconds["compilation"] == 12 and found.total_seconds == 120


def test_a_run_of_attacks_alone_promises_no_time():
  found = estimate.of_stages(_JOB, {}, ["attacks"])
  assert found.text == "0.0039 GiB of data; no estimate of compilation, attacks."


def test_what_cannot_be_counted_stops_nothing(monkeypatch):
  def fail(*_):
    raise TypeError("'NoneType' object is not subscriptable")

  monkeypatch.setattr(costs, "count", fail)
  cost = estimate.passes_cost(build("mlp", num_classes=10), (8, 8, 1), 10)
  assert np.isnan(cost).all()
  found = estimate.of_stages(_JOB, {"distill": cost, "train": np.array([1e12, 30, 0])}, ["attacks"])
  assert found.seconds == {"distill": None, "train": 30, "compilation": 12}
  assert found.text.endswith("12 s more; distill, attacks not counted).")
  monkeypatch.setattr(estimate, "duration", fail)
  found = estimate.of_stages(_JOB, {"train": np.array([1e12, 30, 0])})
  assert found.text == "not known (TypeError: 'NoneType' object is not subscriptable)."
  assert found.seconds == {} and found.memory_bytes is None and found.total_seconds == 0
