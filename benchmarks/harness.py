"""Times A against B in one run, alternating, because a machine's speed drifts."""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import statistics
import sys
import time
from typing import Any, Callable, Hashable, Mapping, NamedTuple, Sequence

from absl import flags
import jax
import numpy as np

from ddjax import compilation
from ddjax.data.splits import rows_by_class
from ddjax.types import DatasetInfo, DataSplit

DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu", "tpu"], "Of both sides.")
"""The flag of every benchmark."""
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}


def use_device() -> str:
  """Computes where `--device` says; before JAX first computes. The process ends where it is not.

  Compiled programs are kept, as runs keep theirs.

  Returns:
    "cpu", "gpu" or "tpu".
  """
  name = DEVICE.value
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch has the same device
  compilation.use_cache()
  jax.config.update("jax_platforms", _PLATFORMS[name])
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    reason = str(error).splitlines()[0] if str(error) else "no such backend"
    sys.exit(f"Error: --device={name}, but JAX finds none: {reason}")
  return name


def torch_device() -> str:
  """The same in PyTorch's words."""
  return "cuda" if DEVICE.value == "gpu" else "cpu"


class Timing(NamedTuple):
  """Medians of a case in seconds, the median of the pairwise ratios, and their quartiles.

  Without a baseline all but `ours` is None.
  """

  ours: float
  theirs: float | None = None
  ratio: float | None = None
  low: float | None = None
  high: float | None = None


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

  A round of warm-up comes first. A baseline that ends on the way is named and left out.
  """
  runs, seconds = dict(runs), {name: [] for name in runs}
  for round_number in range(-1, num_rounds):
    for name in list(runs) if round_number % 2 == 0 else list(reversed(runs)):
      started = time.perf_counter()
      try:
        runs[name]()
      except BaselineError as error:
        print(f"The baseline {name!r} is left out: {error}")
        del runs[name]
        continue
      if round_number >= 0:
        seconds[name].append(time.perf_counter() - started)
  return {name: seconds[name] for name in runs}


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Timing:
  """Seconds of the same two or more rounds."""
  ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
  low, _, high = statistics.quantiles(ratios, n=4)
  return Timing(
    statistics.median(ours), statistics.median(theirs), statistics.median(ratios), low, high
  )


def compare_with(seconds: Mapping[Hashable, Sequence[float]], names: Mapping[str, str]):
  """{case: Timing} of "ours" against each baseline that ran.

  Args:
    seconds: from `take_turns`, "ours" among them.
    names: {case: name of its baseline in `seconds`}.
  """
  return {
    case: compare(seconds["ours"], seconds[name])
    if name in seconds
    else Timing(statistics.median(seconds["ours"]))
    for case, name in names.items()
  }


def report(
  cases: Mapping[str, Timing], ours: str, theirs: str, costs: Mapping[str, Any] | None = None
) -> None:
  """Prints the table, and as the last line the JSON of the cases.

  Args:
    cases: {case: Timing}.
    ours: heading.
    theirs: heading of the baseline.
    costs: {case: ddjax.costs.Cost} of what `ours` times, for the floor; where it is known.
  """
  print(f"{'case':24}{ours:>22}{theirs:>22}{'ratio':>8}  quartiles")
  found = {}
  for name, timing in cases.items():
    row = f"{name:24}{timing.ours:>20.4f} s"
    if timing.ratio is not None:
      row += f"{timing.theirs:>20.4f} s{timing.ratio:>8.2f}  {timing.low:.2f} to {timing.high:.2f}"
    print(row)
    found[name] = timing._asdict()
    if costs and name in costs:
      found[name] |= {"flops": costs[name].flops, "bytes": costs[name].bytes}
  print(json.dumps(found))


@contextlib.contextmanager
def torch_baselines(make_call: Callable[..., Callable[[], object]], *args):
  """{"installed": call, "keeping": call} of PyTorch, each in a process of its own.

  "keeping" is PyTorch whose freed memory glibc keeps, on CPUs. Without PyTorch there is none, and a
  line says so.

  Args:
    make_call: (*args, keeps_freed_memory) -> call, of a module's top level.
    *args: picklable.
  """
  if importlib.util.find_spec("torch") is None:
    print("PyTorch is not installed: no baseline (see requirements-bench.txt).")
    yield {}
    return
  kinds = {"installed": False} | ({"keeping": True} if DEVICE.value == "cpu" else {})
  with contextlib.ExitStack() as stack:
    calls = {}
    for name, keeps in kinds.items():
      try:
        calls[name] = stack.enter_context(other_process(make_call, *args, keeps))
      except BaselineError as error:
        print(f"PyTorch's baseline {name!r} does not start: {error}")
    yield calls


class BaselineError(RuntimeError):
  """The process of a baseline could not make its call."""


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
    try:
      pipe.send(None)
      problem = pipe.recv()
    except (EOFError, OSError) as error:
      raise BaselineError("its process ended") from error
    if problem is not None:
      raise BaselineError(problem)

  try:
    if (problem := _first_answer(pipe)) is not None:
      raise BaselineError(problem)
    yield call
  finally:
    pipe.close()
    process.join()


def _first_answer(pipe) -> str | None:
  try:
    return pipe.recv()
  except EOFError:
    return "its process ended"


def _answer(pipe, make_call: Callable[..., Callable[[], object]], args: tuple) -> None:
  """Calls at every message and answers it, until the other end is closed.

  First it calls once, and says None, or why there is no call; likewise at every message.
  """

  call = None
  with contextlib.suppress(EOFError, OSError):
    while True:
      problem = None
      try:
        call = call or make_call(*args)
        call()
      except Exception as error:  # whatever the baseline's library raises
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
      pipe.send(problem)
      if problem is not None:
        return
      pipe.recv()


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
