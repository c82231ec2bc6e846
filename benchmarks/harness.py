"""Times A against B in one run, alternating, because a machine's speed drifts."""

import json
import statistics
import time
from typing import Callable, NamedTuple

import jax
import numpy as np

from ddjax.data.splits import rows_by_class
from ddjax.types import DatasetInfo, DataSplit


class Timing(NamedTuple):
  """Medians of a case in seconds, the median of the pairwise ratios, and their quartiles."""

  ours: float
  theirs: float
  ratio: float
  low: float
  high: float


def alternate(
  ours: Callable[[], object], theirs: Callable[[], object], num_rounds: int = 15
) -> Timing:
  """Runs the two in turn after one round of warm-up; each must wait for its own result."""
  ours(), theirs()
  seconds: list[tuple[float, float]] = []
  for round_number in range(num_rounds):
    order = (ours, theirs) if round_number % 2 == 0 else (theirs, ours)
    spent = {}
    for run in order:
      started = time.perf_counter()
      run()
      spent[run] = time.perf_counter() - started
    seconds.append((spent[ours], spent[theirs]))
  ratios = [a / b for a, b in seconds]
  low, _, high = statistics.quantiles(ratios, n=4)
  return Timing(
    statistics.median(a for a, _ in seconds),
    statistics.median(b for _, b in seconds),
    statistics.median(ratios),
    low,
    high,
  )


def report(cases: dict[str, Timing], ours: str, theirs: str) -> None:
  """Prints the table, and as the last line the JSON of the cases."""
  print(f"{'case':24}{ours:>22}{theirs:>22}{'ratio':>8}  quartiles")
  for name, timing in cases.items():
    print(
      f"{name:24}{timing.ours:>20.4f} s{timing.theirs:>20.4f} s{timing.ratio:>8.2f}"
      f"  {timing.low:.2f} to {timing.high:.2f}"
    )
  keys = ("ours", "theirs", "ratio")
  print(json.dumps({name: {key: getattr(t, key) for key in keys} for name, t in cases.items()}))


def random_split(num_train: int, image_shape: tuple[int, int, int], num_classes: int = 10):
  """A real set of random pixels: (DatasetInfo, DataSplit). Time does not depend on content."""
  rng = np.random.default_rng(0)
  labels = np.arange(num_train, dtype=np.int32) % num_classes
  class_index, class_counts = rows_by_class(labels, num_classes)
  channels = np.ones(image_shape[-1], np.float32)
  data = DataSplit(
    images=rng.integers(0, 256, (num_train, *image_shape), np.uint8),
    labels=labels,
    mask=np.ones(num_train, bool),
    class_index=class_index,
    class_counts=class_counts,
    mean=127.5 * channels,
    std=64.0 * channels,
  )
  return DatasetInfo("random", image_shape, num_classes, num_train), jax.device_put(data)
