"""What an estimate says."""

from types import SimpleNamespace

import numpy as np

from ddjax.stages import estimate

_JOB = SimpleNamespace(data={"images": np.zeros((2**10, 2**10), np.float32)})


def test_stages_add_up_and_the_largest_call_counts():
  stages = {"distill": np.array([2e12, 90, 0]), "train": np.array([1e12, 30, 3 * 2**22])}
  found = estimate.of_stages(_JOB, stages, ["attacks"])
  assert found.memory_bytes == 2**24
  cost, parts = found.text.removesuffix(").").split(" (")
  assert cost == "3 TFLOP, 0.016 GiB, about 2 min 00 s"
  assert parts == "distill 1 min 30 s, train 30 s; compilation, attacks apart"


def test_a_run_of_attacks_alone_promises_no_time():
  found = estimate.of_stages(_JOB, {}, ["attacks"])
  assert found.text == "0.0039 GiB of data; no estimate of compilation, attacks."
