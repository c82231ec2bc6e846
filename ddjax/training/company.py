"""What the hosts of one run tell each other besides the numbers they compute.

Every host writes a heartbeat into the key-value store that the first one keeps, and reads those of
the others. So a host that dies, or stops with an error, stops the others within a stated time and
with a sentence; a request to stop that reaches one host reaches all; and hosts can wait for hours
while the first one works alone.
"""

import contextlib
import os
import sys
import threading
import time
from typing import Any, Callable, Iterator

_GRACE_SECONDS = 5.0
"""After another host has stopped: for this one's own error, or for what it is writing."""
_PREFIX = "ddjax"


class HostsError(RuntimeError):
  """The hosts of a run did not come together, or one of them is gone; says which and why."""


class Company:
  """The hosts of one run, seen from one of them.

  Attributes:
    number: of this host; the first is 0.
    count: of hosts.
    seconds: a host whose heartbeat does not change for so long is taken for dead.
  """

  def __init__(
    self,
    store: Any,
    number: int,
    count: int,
    seconds: float,
    on_loss: Callable[[str], None] | None = None,
  ):
    """Starts nothing; see `start`.

    Args:
      store: with `key_value_set`, `key_value_dir_get`: JAX's client of its coordination service.
      number: of this host.
      count: of hosts.
      seconds: see the class; at least 1.
      on_loss: takes the sentence when another host is gone; by default prints it and ends the
        process with exit code 1, since its main thread may wait for that host for ever.
    """
    self.number, self.count, self.seconds = number, count, seconds
    self._store = store
    self._on_loss = on_loss or _leave_at_once
    self._every = min(max(seconds / 10, 0.1), 2.0)
    self._ended, self._stop_asked, self._stop_heard = (threading.Event() for _ in range(3))
    self._needs_nobody = threading.Event()
    self._thread: threading.Thread | None = None
    self._num_waits = 0

  def start(self) -> None:
    """Begins to send heartbeats and to look at those of the others, on a thread of its own."""
    self._thread = threading.Thread(target=self._watch, name="company", daemon=True)
    self._thread.start()

  def _watch(self) -> None:
    beats: dict[str, tuple[str, float]] = {}  # {host: its last beat, when it came}
    number, gone_since = 0, None
    begun = time.monotonic()
    while not self._ended.wait(self._every):
      number += 1
      try:
        self._put("beat", str(number))
        seen, ends = self._all("beat"), self._all("end")
        if self._stop_asked.is_set() and not self._stop_heard.is_set():
          self._put("stop", "1")
        if self._all("stop"):
          self._stop_heard.set()
      except Exception as error:  # what JAX's client raises once the first host is gone
        self._lose(f"The first host does not answer any more ({_first_line(error)}).")
        return
      now = time.monotonic()
      for host in map(str, range(self.count)):
        beat = seen.get(host, "")
        if host not in beats or beats[host][0] != beat:
          beats[host] = beat, now
        is_late = now - max(beats[host][1], begun) > self.seconds
        if is_late and host not in ends and int(host) != self.number:
          self._lose(f"Host {host} of {self.count} has not answered for {self.seconds:g} s.")
          return
      others = {host: words for host, words in ends.items() if int(host) != self.number}
      failed = {host: words for host, words in others.items() if words}
      gone_since = gone_since or (now if failed else None)
      if gone_since and now - gone_since > min(_GRACE_SECONDS, self.seconds):
        host, words = next(iter(failed.items()))
        self._lose(f"Host {host} of {self.count} stopped: {words}")
        return

  def _lose(self, words: str) -> None:
    while self._needs_nobody.is_set() and not self._ended.wait(0.1):
      pass
    if not self._ended.is_set():
      self._on_loss(f"{words} This host stops too; the same command goes on from the last save.")

  @contextlib.contextmanager
  def finishing(self) -> Iterator[None]:
    """Inside, this host only writes what it has: the loss of another one does not end it."""
    self._needs_nobody.set()
    try:
      yield
    finally:
      self._needs_nobody.clear()

  def ask_to_stop(self) -> None:
    """Passes a request to stop on to all hosts; returns at once, fit for a signal handler."""
    self._stop_asked.set()

  @property
  def is_stop_asked(self) -> bool:
    """Whether any host was asked to stop, as far as is known here."""
    return self._stop_asked.is_set() or self._stop_heard.is_set()

  def tell_end(self, sentence: str = "") -> None:
    """Says that this host has ended, and with a sentence that it failed."""
    try:
      self._put("end", sentence)
    except Exception as error:  # the first host is gone already: there is nobody to tell
      del error

  def wait_for_ends(self, seconds: float) -> bool:
    """Waits until all hosts have ended, or so long; whether they have."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
      try:
        if len(self._all("end")) == self.count:
          return True
      except Exception:  # the first host is gone
        return False
      time.sleep(0.1)
    return False

  def close(self) -> None:
    """Ends the thread."""
    self._ended.set()
    if self._thread is not None:
      self._thread.join(timeout=2 * self._every + 1)

  def post(self, words: str) -> None:
    """The first host's answer to what the others `wait` for."""
    self._num_waits += 1
    self._store.key_value_set(f"{_PREFIX}/wait/{self._num_waits}", words)

  def wait(self) -> str:
    """Waits for the first host's `post`, however long it takes.

    Raises:
      HostsError: if the first host has stopped with an error.
    """
    self._num_waits += 1
    while True:
      known = self._all("wait")
      if str(self._num_waits) in known:
        return known[str(self._num_waits)]
      if words := self._all("end").get("0"):
        raise HostsError(f"The first host stopped: {words}")
      time.sleep(0.1)

  def _put(self, kind: str, words: str) -> None:
    key = f"{_PREFIX}/{kind}/{self.number}"
    self._store.key_value_set(key, words or " ", allow_overwrite=True)

  def _all(self, kind: str) -> dict[str, str]:
    entries = self._store.key_value_dir_get(f"{_PREFIX}/{kind}/")
    return {key.rpartition("/")[2]: value.strip() for key, value in entries}


def _leave_at_once(words: str) -> None:
  """Ends the process from any thread; files are whole, since each is renamed into its place."""
  print(f"Error: {words}", file=sys.stderr, flush=True)
  sys.stdout.flush()
  os._exit(1)


def _first_line(error: Exception) -> str:
  return str(error).strip().partition("\n")[0]
