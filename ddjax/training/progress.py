"""How far a run is: a bar on a terminal, else a log line a minute."""

import collections
import contextlib
import sys
import time
from typing import Any, Callable, Iterator, Mapping

from absl import logging
import numpy as np

from ddjax.wording import duration

_SHOWN = ("loss", "accuracy")
_WINDOW_SECONDS = 30.0
_FIRST_LINE_SECONDS = 5.0
_LINE_SECONDS = 60.0
_listeners: list[Callable[[str], None]] = []


@contextlib.contextmanager
def told_to(listener: Callable[[str], None]) -> Iterator[None]:
  """While the block runs, progress is told to `listener`, a line at a time, and draws nothing."""
  _listeners.append(listener)
  try:
    yield
  finally:
    _listeners.remove(listener)


class Progress:
  """Shows steps done, metrics, steps a second and time left.

  On a terminal a bar that is redrawn in place; elsewhere one log line a minute, the first after a
  few seconds. The speed is that of the last half minute, from the first update on, so that
  compilation does not count.

    with Progress(1000, description="kip digits") as progress:
      progress.update(20, {"loss": 0.31, "accuracy": 0.87})
  """

  def __init__(
    self,
    total_steps: int,
    start_step: int = 0,
    description: str = "",
    *,
    unit: str = "step",
    is_terminal: bool | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Args:
    total_steps: the step at which the run ends.
    start_step: steps already done, of a resumed run.
    description: a few words in front.
    unit: what is counted, in the singular.
    is_terminal: whether to draw a bar; None asks standard error.
    clock: seconds, never falling.
    """
    self._total_steps = total_steps
    self._description, self._unit = description, unit
    self._clock = clock
    self._is_terminal = sys.stderr.isatty() if is_terminal is None else is_terminal
    self._start_step = start_step
    self._recent: collections.deque[tuple[float, int]] = collections.deque()
    self._next_line = clock() + _FIRST_LINE_SECONDS
    self._bar: Any = None
    self._task: Any = None

  def __enter__(self) -> "Progress":
    if self._is_terminal and not _listeners:
      self._start_bar()
    return self

  def __exit__(self, *_) -> None:
    if self._bar is not None:
      self._bar.stop()

  def update(self, step: int, metrics: Mapping[str, float]) -> None:
    """Shows the state after `step` steps: loss and accuracy, also as `train/loss`."""
    now = self._clock()
    self._recent.append((now, step))
    while len(self._recent) > 2 and now - self._recent[0][0] > _WINDOW_SECONDS:
      self._recent.popleft()
    if _listeners:
      _listeners[-1](self._line(step, metrics))
    elif self._bar is not None:
      self._bar.update(
        self._task, completed=step, metrics=_metrics_text(metrics), speed=self._speed_text()
      )
    elif now >= self._next_line:
      self._next_line = now + _LINE_SECONDS
      logging.info("%s", self._line(step, metrics))

  def show_rows(self, first_step: int, metrics: Mapping[str, np.ndarray]) -> None:
    """Shows the last of the rows f32[steps (r)] that the trainer hands over, mean over replicas."""
    last = first_step + len(next(iter(metrics.values()))) - 1
    self.update(last, {name: float(rows[-1].mean()) for name, rows in metrics.items()})

  def _start_bar(self) -> None:
    """Draws the empty bar."""
    import rich.console
    import rich.progress as bar

    self._bar = bar.Progress(
      bar.TextColumn("{task.description}"),
      bar.BarColumn(bar_width=24),
      bar.MofNCompleteColumn(),
      bar.TextColumn("{task.fields[metrics]}", style="cyan"),
      bar.TextColumn("{task.fields[speed]}", style="dim"),
      console=rich.console.Console(stderr=True),
    )
    self._task = self._bar.add_task(
      self._description,
      total=self._total_steps,
      completed=self._start_step,
      metrics="",
      speed="compiling",
    )
    self._bar.start()

  def _speed_text(self) -> str:
    """Steps a second and time left, over the last half minute."""
    (first_time, first_step), (last_time, last_step) = self._recent[0], self._recent[-1]
    if last_time <= first_time or last_step <= first_step:
      return ""
    speed = (last_step - first_step) / (last_time - first_time)
    left = max(self._total_steps - last_step, 0) / speed
    return f"{speed:.3g} {self._unit}s/s, {duration(left)} left"

  def _line(self, step: int, metrics: Mapping[str, float]) -> str:
    """The log line."""
    head = f"{self._description}: " if self._description else ""
    parts = [
      f"{self._unit} {step} of {self._total_steps}",
      _metrics_text(metrics),
      self._speed_text(),
    ]
    return head + ", ".join(filter(None, parts))


def _metrics_text(metrics: Mapping[str, float]) -> str:
  """`loss 0.0312, accuracy 0.981`; of metrics that have neither, the first two."""
  short = {name.rsplit("/", 1)[-1]: value for name, value in metrics.items()}
  shown = [name for name in _SHOWN if name in short] or list(short)[:2]
  return ", ".join(f"{name} {short[name]:.4g}" for name in shown)
