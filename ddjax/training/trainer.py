"""The one loop that every distiller runs in: compiled calls, checkpoints, metrics, preemption."""

import signal
import threading
import time
from typing import Any, Callable, Iterable, NamedTuple, Sequence

from absl import logging
import jax
import numpy as np

from ddjax.training import hosts, parallel, processes
from ddjax.training.checkpoints import Checkpoints
from ddjax.types import DataSplit, Distiller, DistillState

_CALL_SECONDS = 10.0
"""How long a compiled call may take, so that nobody who asks for a stop waits long."""


class NonFiniteLossError(RuntimeError):
  """A metric became NaN or infinite; says at which step, and which checkpoint is still good."""


class PreemptedError(processes.StopAskedError):
  """The run was asked to stop; its state is saved.

  Attributes:
    step: at which; None for a `StoppedError`.
  """

  def __init__(self, step: int | None):
    super().__init__(
      f"Stopped on request at step {step} of the distillation; the same command goes on from there."
    )
    self.step = step


class StoppedError(PreemptedError):
  """What has no steps was asked to stop, an evaluation or a study; takes its sentence."""

  def __init__(self, sentence: str):
    super().__init__(None)
    self.args = (sentence,)


class StopRequest:
  """Turns SIGTERM, to this host or another, into a flag that the loop reads between calls.

  A context manager. One inside another of the same thread is set where the outer one is, whenever
  that was; SIGTERM sets the outermost, and with it all.
  """

  _innermost = threading.local()  # of a thread, in its field `request`

  def __init__(self, takes_signal: bool = True):
    """Asks nothing yet.

    Args:
      takes_signal: false leaves SIGTERM as it is, for a request that only `ask` sets.
    """
    self._takes_signal = takes_signal
    self._event = threading.Event()
    self._company = hosts.company()
    self._outer: StopRequest | None = None

  def __enter__(self) -> "StopRequest":
    self._outer = getattr(self._innermost, "request", None)
    self._innermost.request = self
    if self._takes_signal and threading.current_thread() is threading.main_thread():
      self._previous = signal.signal(signal.SIGTERM, self._on_signal)
    return self

  def __exit__(self, *_) -> None:
    if self._takes_signal and threading.current_thread() is threading.main_thread():
      signal.signal(signal.SIGTERM, self._previous)
    self._innermost.request = self._outer

  def ask(self) -> None:
    """Sets this one and all inside it, but none outside; from any thread."""
    self._event.set()
    if self._company is not None:
      self._company.ask_to_stop()

  def _on_signal(self, *_) -> None:
    outermost = self
    while outermost._outer is not None:
      outermost = outermost._outer
    outermost.ask()

  def __bool__(self) -> bool:
    if self._event.is_set() or (self._company is not None and self._company.is_stop_asked):
      return True
    return self._outer is not None and bool(self._outer)


class Schedule(NamedTuple):
  """How far a distillation goes, and when it looks up.

  Attributes:
    num_steps: the step to go to, counted from the beginning of the run.
    steps_per_call: the most steps in one compiled call; fewer, once they are seen to take more than
      ten seconds together.
    checkpoint_every_steps: the state is saved at multiples of it, and at the end.
    checkpoint_every_minutes: and where so much time went by since the last one.
    stops: steps at which `Hooks.on_stop` looks at the state (0 included, if not yet passed).
  """

  num_steps: int
  steps_per_call: int
  checkpoint_every_steps: int
  checkpoint_every_minutes: float = float("inf")
  stops: Iterable[int] = ()


class Hooks(NamedTuple):
  """What the loop leaves outside, and what it asks there.

  Attributes:
    checkpoints: where states are saved.
    on_metrics: (first_step, {name: f32[steps (r)]}), once per call, one call late. Steps count
      from 1: the metrics of step s are of the update that led from s - 1 to s.
    on_stop: (step, state), at every step of `Schedule.stops`; the state must not be kept.
    stop_request: read as a bool between calls; true saves and raises.
  """

  checkpoints: Checkpoints
  on_metrics: Callable[[int, dict[str, np.ndarray]], None] = lambda *_: None
  on_stop: Callable[[int, DistillState], None] = lambda *_: None
  stop_request: Any = False


class Span(NamedTuple):
  """The steps of one compiled call: `count` from `first` on, in arrays for `length` steps."""

  first: int
  count: int
  length: int


def initialise(distiller: Distiller, data: DataSplit, rngs: Any, layout: parallel.Layout):
  """The state at step 0, with the leading axes `layout.state_axes` where it has replicas.

  Args:
    rngs: one key, or keys[r].
  """
  init = distiller.init
  if layout.num_replicas:
    axes = parallel.data_axes(data)
    if data.start_labels is not None and data.start_labels.ndim == 3:
      axes = axes.replace(start=0, start_labels=0)
    init = jax.vmap(init, in_axes=(0, axes))
  state = jax.jit(init)(rngs, data)
  if layout.shares_draws:  # replicas begin apart and then draw as the first one does
    state = state.replace(step=state.step[0], rng=state.rng[0])
  return state


def train(
  distiller: Distiller,
  data: DataSplit,
  state: DistillState,
  layout: parallel.Layout,
  schedule: Schedule,
  hooks: Hooks,
  *,
  program: parallel.Program | None = None,
  host_data: Sequence[Any] = (),
) -> DistillState:
  """Runs a distiller from the state's own step to `schedule.num_steps`.

  Args:
    distiller: the method.
    data: the real set, placed or not.
    state: as from `initialise` or a checkpoint; its buffers are used up.
    layout: devices and replicas.
    schedule: how far, and when to look up.
    hooks: the outside.
    program: from `parallel.make_program`, where the step is compiled already.
    host_data: what `distiller.batch_at` reads, one for each distillation; none where it is None.
  Returns:
    The state at the last step, checkpointed.
  Raises:
    NonFiniteLossError: with step, metric and the last good checkpoint.
    PreemptedError: after the state was saved.
  """
  data, checkpoints = parallel.replicate(data, layout), hooks.checkpoints
  num_steps, steps_per_call, every_steps, every_minutes, _ = schedule
  step = int(np.ravel(state.step)[0])
  stops = {stop for stop in schedule.stops if step <= stop <= num_steps}
  saves = range(0, num_steps + every_steps, every_steps)
  boundaries = np.unique([*stops, *saves, num_steps])
  is_host_fed = distiller.batch_at is not None
  program = program or parallel.make_program(
    distiller.step, layout, steps_per_call=steps_per_call, is_host_fed=is_host_fed
  )
  shard = parallel.device_numbers(layout)
  seeds = seeds_of(state) if is_host_fed else None
  state = parallel.place_state(state, layout)
  pending = None
  finished = saved = time.monotonic()
  at_once = steps_per_call

  def emit():
    nonlocal pending, finished, at_once
    if pending is not None:
      first_step, count, metrics, started = pending
      metrics = {name: np.asarray(rows)[:count] for name, rows in metrics.items()}
      started, finished = max(started, finished), time.monotonic()
      at_once = _CALL_SECONDS * count // max(finished - started, 1e-9)
      at_once = int(np.clip(at_once, 1, steps_per_call))
      _check_finite(first_step, metrics, checkpoints, distiller.advice)
      hooks.on_metrics(first_step, metrics)
    pending = None

  def save():
    nonlocal saved
    checkpoints.save(step, parallel.collect_state(state, layout))
    saved = time.monotonic()

  if step in stops:
    hooks.on_stop(step, parallel.collect_state(state, layout))
  while step < num_steps:
    if parallel.any_process(hooks.stop_request):
      emit()
      save()
      checkpoints.wait()
      raise PreemptedError(step)
    is_late = time.monotonic() - saved > 60 * every_minutes
    is_late, most = parallel.of_main_process((is_late, at_once))
    if is_late:
      emit()
      save()
    boundary = int(boundaries[np.searchsorted(boundaries, step, side="right")])
    count = min(most, boundary - step)
    if seeds is not None:
      span = Span(step, count, steps_per_call)
      shard = host_batches(distiller, host_data, seeds, span, layout)
    started = time.monotonic()
    state, metrics = program(state, data, count, shard)
    emit()  # reads the call before this one, while this one runs
    pending = (step + 1, count, metrics, started)
    step += count
    if step == boundary:
      emit()
      if step in stops:
        hooks.on_stop(step, parallel.collect_state(state, layout))
      if step % every_steps == 0 or step == num_steps:
        save()
  checkpoints.wait()
  return parallel.collect_state(state, layout)


def host_batches(
  distiller: Distiller,
  host_data: Sequence[Any],
  seeds: np.ndarray,
  span: Span,
  layout: parallel.Layout,
) -> Any:
  """The batches of so many steps, as `parallel.make_program` takes them.

  Args:
    distiller: with `batch_at`.
    host_data: one entry for each distillation, or one for all.
    seeds: u32[r 2], likewise.
    span: of the steps; the unused rest of its length repeats the last batch.
    layout: devices and replicas.
  """
  places, batch_at = range(max(layout.num_replicas, 1)), distiller.batch_at
  assert batch_at is not None

  def of_step(step):
    batches = [
      batch_at(host_data[min(i, len(host_data) - 1)], seeds[min(i, len(seeds) - 1)], step)
      for i in places
    ]
    return parallel.deal_batches(batches, layout)

  steps = [of_step(span.first + i) for i in range(span.count)]
  steps += [steps[-1]] * (span.length - span.count)
  return jax.tree.map(lambda *rows: np.stack(rows), *steps)


def seeds_of(state: DistillState) -> np.ndarray:
  """The words u32[r 2] of the distillations' keys."""
  words = np.asarray(jax.random.key_data(state.rng))
  return words.reshape(-1, words.shape[-1])


def _check_finite(
  first_step: int, metrics: dict[str, np.ndarray], checkpoints: Checkpoints, advice: str
):
  """Raises at the first step with a metric that is not finite; `advice` ends the sentence."""
  for name, rows in metrics.items():
    bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    if bad.any():
      step = first_step + int(np.argmax(bad))
      checkpoints.wait()
      good = checkpoints.latest_step()
      where = f"step {good} in {checkpoints.folder}" if good is not None else "none"
      logging.error("Metric %s is not finite at step %d.", name, step)
      raise NonFiniteLossError(
        f"Metric {name!r} is {rows[np.argmax(bad)]} at step {step}. Last good checkpoint: {where}. "
        f"{advice}"
      )
