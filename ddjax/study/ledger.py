"""Who runs which cell, and what came of it, as files that several workers share.

Nothing here needs more of a file system than that two processes cannot both make the same link,
which also holds on shared network file systems. A worker owns a cell while it holds the newest
lease of it. A lease is rewritten every few seconds; one that has stayed the same for the time of
`patience_seconds`, by the clock of the worker that looks, was left by a worker that died, and the
next lease may be made. Clocks of two machines are never compared.
"""

import contextlib
import json
import os
import pathlib
import secrets
import socket
import threading
import time
from typing import Any, Callable, Iterable, Mapping

from ddjax.files import atomic

FINISHED = ("done", "failed", "too dear")


class StudyError(RuntimeError):
  """The study's folder cannot be used for this study; says why and what to do."""


class FailedCellsError(StudyError):
  """Cells of a study failed, and everything else of it is there.

  Attributes:
    outcome: with the tables, as `ddjax.tasks.study.run` returns it where no cell failed.
  """

  def __init__(self, sentence: str, outcome: Any = None):
    super().__init__(sentence)
    self.outcome = outcome


class Lease:
  """The right to run a cell, kept alive by a thread; see `Ledger.take`.

  Attributes:
    name: of the cell.
    generation: how many leases of the cell there were before, and one.
    is_lost: whether another worker has taken the cell since.
  """

  def __init__(self, path: pathlib.Path, name: str, content: dict[str, Any], seconds: float):
    self.name, self.generation, self.is_lost = name, int(path.stem), False
    self._path, self._content, self._seconds = path, content, seconds
    self._on_loss: Callable[[], None] = lambda: None
    self._began = time.monotonic()
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True)
    self._thread.start()

  def when_lost(self, call: Callable[[], None]) -> None:
    """What to call, from another thread, when the cell is no longer this worker's."""
    self._on_loss = call

  def release(self) -> None:
    """Gives the cell back, so that any worker may take it at once."""
    self.stop()
    if not self.is_lost:
      spent = time.monotonic() - self._began
      with contextlib.suppress(OSError):
        atomic.write_json(self._path, self._content | {"is_released": True, "spent": spent})

  def begin_anew(self) -> None:
    """Writes down that what workers did before does not count any more."""
    self._content = self._content | {"is_anew": True}
    atomic.write_json(self._path, self._content)

  def stop(self) -> None:
    """Ends the beating; the cell is still this worker's."""
    self._ended.set()
    if threading.current_thread() is not self._thread:
      self._thread.join()

  def _beat(self) -> None:
    while not self._ended.wait(min(self._seconds, threading.TIMEOUT_MAX)):
      if self._path.with_name(f"{self.generation + 1:06d}.json").exists():
        self.is_lost = True
        self._on_loss()
        return
      spent = time.monotonic() - self._began
      self._content = self._content | {"beat": self._content["beat"] + 1, "spent": spent}
      with contextlib.suppress(OSError):  # a full disk: others may take the cell
        atomic.write_json(self._path, self._content)


class Ledger:
  """The states and leases of a study's cells, in `states/` and `leases/` of its folder."""

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    patience_seconds: float = 120.0,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Args:
    folder: of the study.
    patience_seconds: after which a lease that nobody rewrites is that of a dead worker.
    clock: seconds, never falling.
    """
    self.folder = folder
    self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    self._patience, self._clock = patience_seconds, clock
    self._seen: dict[str, tuple[Any, float]] = {}

  def state(self, name: str) -> dict[str, Any] | None:
    """What came of a cell, or None while nothing has."""
    return _read_json(self._state_path(name))

  def states(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{cell: its state}, also for those that wait or run."""
    found = {}
    for name in names:
      state = self.state(name)
      if state is None:
        lease, state = self._newest(name), {"state": "waiting"}
        if lease is not None and not lease[1].get("is_released"):
          state = {"state": "running", "worker": lease[1].get("worker")}
      found[name] = _EMPTY | state
    return found

  def take(self, name: str, progress: Any = None) -> Lease | None:
    """The lease of a cell that no living worker holds, or None.

    `progress` is how far the cell is, for `num_deaths`.
    """
    newest = self._newest(name)
    generation = 0
    if newest is not None:
      generation, content = newest
      if not content.get("is_released") and not self._is_dead(name, generation, content):
        return None
    path = self._lease_path(name, generation + 1)
    content = {"worker": self.worker, "beat": 0, "is_released": False, "progress": progress}
    content |= _process()
    if not _make(path, content):
      return None  # another worker was faster
    return Lease(path, name, content, self._patience / 8)

  def num_deaths(self, name: str) -> int:
    """How many workers have left the cell without giving it back, one after another.

    Those before it last got further, or was last forgotten, do not count.
    """
    contents = self._leases(name)
    deaths, progress = 0, contents[-1].get("progress") if contents else None
    for content in reversed(contents[:-1]):
      if contents[-1].get("is_anew") or content.get("progress") != progress:
        break
      deaths += not content.get("is_released")
      if content.get("is_anew"):
        break
    return deaths

  def spent(self, name: str) -> float:
    """Seconds that workers before the one at hand have worked on the cell."""
    seconds = 0.0
    for content in self._leases(name)[:-1]:
      seconds = (0.0 if content.get("is_anew") else seconds) + (content.get("spent") or 0.0)
    return seconds

  def held(self, names: Iterable[str]) -> dict[str, str]:
    """{cell: worker} of the cells that a worker holds which is not known to be dead."""
    found = {}
    for name in names:
      newest = self._newest(name)
      if newest is not None and not newest[1].get("is_released") and not _is_gone(newest[1]):
        found[name] = str(newest[1].get("worker"))
    return found

  def finish(self, lease: Lease, state: Mapping[str, Any]) -> bool:
    """Records what came of a cell; False where another worker has recorded it or taken the cell."""
    lease.stop()
    newest = self._newest(lease.name)
    if lease.is_lost or newest is None or newest[0] != lease.generation:
      return False
    is_first = _make(self._state_path(lease.name), {**state, "worker": self.worker})
    lease.release()
    return is_first

  def forget(self, lease: Lease) -> None:
    """Removes the state of a cell that is to be run again by the holder of its lease."""
    lease.begin_anew()
    self._state_path(lease.name).unlink(missing_ok=True)

  def begin(self, lease: Lease) -> None:
    """Writes down, before anything lies in a cell's folder, that the lease's holder begins it.

    Raises:
      OutputError: where it cannot be written: what is made then would be taken for another's.
    """
    try:
      self._append("began", lease.name, generation=lease.generation)
    except OSError as error:
      raise atomic.OutputError(
        f"Cannot write {self._log_path()}: {error.strerror or error}."
      ) from error

  def has_begun(self, name: str) -> bool:
    """Whether any worker of the study has begun the cell, now or earlier."""
    for path in (self.folder / "workers").glob("*.jsonl"):
      for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):  # the last line of a killed worker
          event = json.loads(line)
          if isinstance(event, dict) and (event.get("event"), event.get("cell")) == ("began", name):
            return True
    return False

  def note(self, event: str, name: str, **facts: Any) -> None:
    """Appends a line to this worker's own log, `workers/WORKER.jsonl`."""
    with contextlib.suppress(OSError):  # a full disk: only the log suffers
      self._append(event, name, **facts)

  def _append(self, event: str, name: str, **facts: Any) -> None:
    line = json.dumps({"event": event, "cell": name, "time": time.time(), **facts})
    path = self._log_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
      file.write(line + "\n")
      file.flush()
      os.fsync(file.fileno())

  def _log_path(self) -> pathlib.Path:
    return self.folder / "workers" / f"{self.worker}.jsonl"

  def _is_dead(self, name: str, generation: int, content: dict[str, Any]) -> bool:
    """Whether the holder is a process of this machine that is gone, or has not been heard of."""
    if _is_gone(content):
      return True
    key, now = (generation, content.get("beat")), self._clock()
    seen = self._seen.get(name)
    if seen is None or seen[0] != key:
      self._seen[name] = (key, now)
      return False
    return now - seen[1] > self._patience

  def _leases(self, name: str) -> list[dict[str, Any]]:
    paths = sorted((self.folder / "leases" / name).glob("[0-9]*.json"))
    return [_read_json(path) or {} for path in paths]

  def _newest(self, name: str) -> tuple[int, dict[str, Any]] | None:
    paths = sorted((self.folder / "leases" / name).glob("[0-9]*.json"))
    return (int(paths[-1].stem), _read_json(paths[-1]) or {}) if paths else None

  def _lease_path(self, name: str, generation: int) -> pathlib.Path:
    return self.folder / "leases" / name / f"{generation:06d}.json"

  def _state_path(self, name: str) -> pathlib.Path:
    return self.folder / "states" / f"{name}.json"


_EMPTY = dict.fromkeys(
  ("error", "seconds", "estimate_seconds", "device", "code", "finished", "worker")
)


def _make(path: pathlib.Path, content: Mapping[str, Any]) -> bool:
  """Writes a file that must not be there yet; False where it is."""
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
  atomic.write_json(temporary, content)
  try:
    os.link(temporary, path)
    return True
  except FileExistsError:
    # Over a network the answer to a link that was made can get lost, and the second try finds it.
    return os.stat(temporary).st_nlink == 2
  except OSError as error:
    raise atomic.OutputError(
      f"Cannot make {path} as a hard link ({error.strerror or error}); a study needs a disk that "
      "has them."
    ) from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink()


def _read_json(path: pathlib.Path) -> dict[str, Any] | None:
  """The content of a file; None where it is missing or no JSON."""
  try:
    content = json.loads(path.read_text())
  except (OSError, ValueError):
    return None
  return content if isinstance(content, dict) else None


def _process() -> dict[str, Any]:
  """This process, so that others of the machine can see whether it lives."""
  return {"place": _place(), "pid": os.getpid(), "started": _started(os.getpid())}


def _place() -> str | None:
  """Where process numbers mean the same: a boot of a machine, and a container on it."""
  try:
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"
  except OSError:
    return None


def _started(pid: int) -> str | None:
  """When a process of this machine began, in ticks; None where the system does not say."""
  try:
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
  except (OSError, IndexError):
    return None


def _is_gone(content: Mapping[str, Any]) -> bool:
  """Whether a lease's process ran on this machine and has ended."""
  if _place() is None or content.get("place") != _place() or not content.get("started"):
    return False
  return _started(content["pid"]) != content["started"]
