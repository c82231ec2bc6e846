"""Commands with a deadline, whose lines are read as they come, and which leave nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Callable, NamedTuple, Sequence

GRACE_SECONDS = 20.0
"""Between SIGTERM, on which ddjax saves and leaves, and SIGKILL."""


class Ended(NamedTuple):
  """A command that is over.

  Attributes:
    code: of its exit; negative for a signal.
    seconds: it took.
    is_late: whether it was stopped at its deadline.
    last_line: of its messages, for people.
  """

  code: int
  seconds: float
  is_late: bool
  last_line: str


class Running:
  """A command at work, in a process group of its own."""

  def __init__(
    self,
    module: str,
    arguments: Sequence[str],
    log: str,
    deadline: float,
    on_line: Callable[[str], None] = lambda line: None,
  ):
    """Starts `python -m module arguments`.

    Args:
      module: to run.
      arguments: of it.
      log: a file to which its messages are appended.
      deadline: of `time.monotonic()`.
      on_line: called with each line of its output, on a thread.
    """
    self._started, self._deadline, self._is_late = time.monotonic(), deadline, False
    self._log, self._lines = log, []
    with open(log, "a") as messages:
      messages.write(f"\n== {module} {' '.join(arguments)}\n")
      messages.flush()
      self._start = messages.tell()
      self._process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=messages,
        text=True,
        start_new_session=True,
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"},
      )

    def read():
      with self._process.stdout as output:
        for line in output:
          self._lines.append(line.rstrip("\n"))
          on_line(line.rstrip("\n"))

    self._reader = threading.Thread(target=read, daemon=True)
    self._reader.start()

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

  def stop(self) -> None:
    """Ends it now: asks, and after a while insists."""
    self._deadline = min(self._deadline, time.monotonic())
    while not self.is_over():
      time.sleep(0.2)

  def wait(self) -> Ended:
    """Waits until it has ended or was stopped at its deadline."""
    try:
      while not self.is_over():
        time.sleep(0.1)
    except BaseException:
      self.stop()
      raise
    self._reader.join(5.0)
    seconds = time.monotonic() - self._started
    return Ended(self._process.returncode, seconds, self._is_late, self._last_line())

  def _signal(self, number: int) -> None:
    try:
      os.killpg(self._process.pid, number)
    except ProcessLookupError:
      pass

  def _last_line(self) -> str:
    with open(self._log, errors="replace") as messages:
      messages.seek(self._start)
      lines = [line.strip() for line in messages if line.strip()]
    words = [line for line in lines if not line.startswith(("For simplicity, JAX", "---"))]
    return words[-1][:300] if words else ""
