"""Times A against B in one run, alternating, because a machine's speed drifts."""

import contextlib
import json
import multiprocessing
import statistics
import time
from typing import Callable, Hashable, Mapping, NamedTuple, Sequence

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
  seconds = take_turns({"ours": ours, "theirs": theirs}, num_rounds)
  return compare(seconds["ours"], seconds["theirs"])


def take_turns(
  runs: Mapping[Hashable, Callable[[], object]], num_rounds: int
) -> dict[Hashable, list[float]]:
  """Seconds of every run in each round; every other round goes backwards.

  A round of warm-up comes first.
  """
  seconds: dict[Hashable, list[float]] = {name: [] for name in runs}
  for run in runs.values():
    run()
  for round_number in range(num_rounds):
    for name in list(runs) if round_number % 2 == 0 else reversed(runs):
      started = time.perf_counter()
      runs[name]()
      seconds[name].append(time.perf_counter() - started)
  return seconds


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Timing:
  """Seconds of the same two or more rounds."""
  ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
  low, _, high = statistics.quantiles(ratios, n=4)
  return Timing(
    statistics.median(ours), statistics.median(theirs), statistics.median(ratios), low, high
  )


def report(cases: dict[str, Timing], ours: str, theirs: str) -> None:
  """Prints the table, and as the last line the JSON of the cases."""
  print(f"{'case':24}{ours:>22}{theirs:>22}{'ratio':>8}  quartiles")
  for name, timing in cases.items():
    print(
      f"{name:24}{timing.ours:>20.4f} s{timing.theirs:>20.4f} s{timing.ratio:>8.2f}"
      f"  {timing.low:.2f} to {timing.high:.2f}"
    )
  print(json.dumps({name: timing._asdict() for name, timing in cases.items()}))


@contextlib.contextmanager
def other_process(make_call: Callable[..., Callable[[], object]], *args):
  """A call that runs, in a process of its own, what `make_call(*args)` returns there.

  Args:
    make_call: of a module's top level; it is called once, in that process.
    *args: picklable.
  """
  context = multiprocessing.get_context("spawn")
  pipe, other_end = context.Pipe()
  process = context.Process(target=_answer, args=(other_end, make_call, args), daemon=True)
  process.start()
  other_end.close()

  def call():
    pipe.send(None)
    pipe.recv()

  try:
    yield call
  finally:
    pipe.close()
    process.join()


def _answer(pipe, make_call: Callable[..., Callable[[], object]], args: tuple) -> None:
  """Calls at every message and answers it, until the other end is closed."""
  call = make_call(*args)
  with contextlib.suppress(EOFError):
    while True:
      pipe.recv()
      call()
      pipe.send(None)


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
