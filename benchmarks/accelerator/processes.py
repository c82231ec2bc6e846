"""Commands with a deadline, whose lines are read as they come, and which leave nothing behind."""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Callable, Iterator, NamedTuple, Sequence

GRACE_SECONDS = 20.0
"""Between SIGTERM, on which ddjax saves and leaves, and SIGKILL."""
_KEPT_LINES = 300  # of the messages of a command, for its last words
_FATAL = "Fatal Python error"
_NOISE = ("For simplicity, JAX", "---")
_log_lock = threading.Lock()


class StoppedError(BaseException):
  """The session was asked to end; like KeyboardInterrupt, nothing but the top catches it."""

  def __init__(self, number: int):
    super().__init__(f"stopped by {signal.Signals(number).name}")
    self.number = number


@contextlib.contextmanager
def stop_requests() -> Iterator[None]:
  """SIGTERM and SIGHUP raise StoppedError inside, so that what runs is stopped; of the main thread.

  Further ones are ignored while it is being stopped.
  """
  numbers = (signal.SIGTERM, signal.SIGHUP)

  def stop(number, _):
    for other in numbers:
      signal.signal(other, signal.SIG_IGN)
    raise StoppedError(number)

  before = {number: signal.signal(number, stop) for number in numbers}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


class Ended(NamedTuple):
  """A command that is over.

  Attributes:
    code: of its exit; negative for a signal.
    seconds: it took.
    is_late: whether it was stopped at its deadline.
    last_line: of its messages, for people; of a crash the line that names it.
  """

  code: int
  seconds: float
  is_late: bool
  last_line: str


class Running:
  """A command at work, in a process group of its own, which ends with this process."""

  def __init__(
    self,
    module: str,
    arguments: Sequence[str],
    log: str,
    deadline: float,
    on_line: Callable[[str], None] = lambda line: None,
  ):
    """Starts `python -m module arguments`; on the main thread, as the kernel ties it to that.

    Args:
      module: to run.
      arguments: of it.
      log: a file to which its messages are appended.
      deadline: of `time.monotonic()`.
      on_line: called with each line of its output, on a thread; what it raises is printed.
    """
    self._started, self._deadline, self._is_late = time.monotonic(), deadline, False
    self._lines: list[str] = []
    self._messages: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
    _append(log, f"\n== {module} {' '.join(arguments)}\n")
    own = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
    child = [sys.executable, "-X", "faulthandler", "-m", "benchmarks.accelerator.child"]
    self._process = subprocess.Popen(
      [*child, str(os.getpid()), module, *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      errors="replace",
      start_new_session=True,
      env=os.environ | own,
    )

    def on_message(line: str) -> None:
      self._messages.append(line.strip())
      _append(log, line + "\n")

    def on_output(line: str) -> None:
      self._lines.append(line)
      on_line(line)

    readers = (self._process.stdout, on_output), (self._process.stderr, on_message)
    self._readers = [
      threading.Thread(target=_read, args=(*reader, module), daemon=True) for reader in readers
    ]
    for reader in self._readers:
      reader.start()

  @property
  def lines(self) -> list[str]:
    """What it has printed so far."""
    return list(self._lines)

  def is_over(self) -> bool:
    """Whether it has ended; stops it where its deadline has passed."""
    if self._process.poll() is not None:
      return True
    late = time.monotonic() - self._deadline
    if late > 0 and not self._is_late:
      self._is_late = True
      self._signal(signal.SIGTERM)
    elif late > GRACE_SECONDS:
      self._signal(signal.SIGKILL)
    return False

  def ask(self) -> None:
    """Asks it to end; who polls `is_over` afterwards insists."""
    self._deadline = min(self._deadline, time.monotonic())
    self.is_over()

  def wait(self) -> Ended:
    """Waits until it has ended or was stopped at its deadline."""
    with stopped_together([self]):
      while not self.is_over():
        time.sleep(0.1)
    for reader in self._readers:
      reader.join(5.0)
    seconds = time.monotonic() - self._started
    return Ended(self._process.returncode, seconds, self._is_late, self._last_line())

  def _signal(self, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, number)

  def _last_line(self) -> str:
    words = [line for line in self._messages if line and not line.startswith(_NOISE)]
    fatal = [line for line in words if line.startswith(_FATAL)]
    return (fatal or words or [""])[-1][:300]


@contextlib.contextmanager
def stopped_together(running: Sequence[Running]) -> Iterator[None]:
  """Whatever ends the block ends these too, all at the same time; read again at the end."""
  try:
    yield
  finally:
    for one in running:
      one.ask()
    while sum(not one.is_over() for one in running):  # of all, not of those before the first
      time.sleep(0.1)


def _read(stream, on_line: Callable[[str], None], module: str) -> None:
  """Passes lines on. What goes wrong with one of them does not end the reading."""
  with contextlib.suppress(ValueError), stream:  # closed by the other side's end
    for line in stream:
      try:
        on_line(line.rstrip("\n"))
      except Exception as error:  # a full disk, a damaged line
        print(f"A line of {module} is lost ({type(error).__name__}: {error}).", flush=True)


def _append(log: str, text: str) -> None:
  with _log_lock, open(log, "a") as file:
    file.write(text)
