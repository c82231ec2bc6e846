"""A run folder at a remote address: the run works in a local one, and a mirror copies it.

Every fifteen seconds and at the end, what is new or changed is copied, in an order in which a
reader never sees a report without its set; a checkpoint is one file, so that it is there whole or
not at all. What is there at the start is copied here first, so a second machine goes on. A copy
that fails is tried again the next time; at the end it is an error, and the local folder keeps all.
Where another run takes the remote folder in the meantime, this one stops as on SIGTERM.
"""

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
import shutil
import tarfile
import threading
import time
from typing import Any, Iterator
import uuid

from absl import logging

from ddjax.data.cache import cache_dir
from ddjax.files import atomic, locks
from ddjax.files.lease import NAME as LEASE_NAME
from ddjax.files.lease import Lease, LeaseLostError
from ddjax.files.remote import Remote, RemoteError, is_address
from ddjax.training import hosts
from ddjax.training.parallel import is_main_process
from ddjax.training.processes import StopAskedError
from ddjax.training.trainer import StopRequest

VERSION_NAME = ".ddjax-version.json"
_STATE_NAME = ".mirror.json"  # in the local folder, so that it goes with it
_CHECKPOINTS = "checkpoints"
_EVERY_SECONDS = 15.0
_ORDER = ("config.json", "versions.txt", _CHECKPOINTS, "", "distilled", "figures", "report.html")
"""Beginnings of names, in the order of copying; "" stands for all others, report.json is last."""


def local_folder(address: str) -> Path:
  """Where the run of an address works: in the cache folder, by a hash of the address."""
  address = address.rstrip("/")
  digest = hashlib.sha256(address.encode()).hexdigest()[:12]
  return cache_dir() / "remote" / f"{address.rpartition('/')[2]}-{digest}"


@contextlib.contextmanager
def mirrored(workdir: str | os.PathLike) -> Iterator[Path]:
  """The local folder to work in: the folder itself, or that of an address, mirrored meanwhile.

  Of several hosts the first alone mirrors; the others work without files.

  Args:
    workdir: a folder, or an address such as gs://BUCKET/runs/NAME.
  Raises:
    RemoteError: see `Mirror`.
  """
  if not is_address(workdir):
    yield Path(workdir)
    return
  address = str(workdir)
  folder = local_folder(address)
  with Mirror(address, folder) if is_main_process() else contextlib.nullcontext():
    yield folder


class Mirror:
  """Keeps a remote folder like a local one; a context manager, inside of which it is leased.

  Attributes:
    folder: the local one.
    address: of the remote one.
  """

  def __init__(self, address: str, folder: Path):
    """Reaches nothing yet; RemoteError for an unknown file system."""
    self.address, self.folder = address, folder
    self._remote = Remote(address)
    self._lease = Lease(self._remote)
    self._known: dict[str, list[int]] = {}  # {name there: stamp of what was copied}
    self._version = ""
    self._lock = threading.Lock()
    self._ended = threading.Event()
    self._stop = StopRequest(takes_signal=False)
    self._stack = contextlib.ExitStack()
    self._thread: threading.Thread | None = None

  @property
  def _state_path(self) -> Path:
    return self.folder / _STATE_NAME

  def __enter__(self) -> "Mirror":
    """Takes the lease and copies here what is there.

    Raises:
      RemoteError: if another run holds the folder, or it cannot be read or written.
    """
    with contextlib.ExitStack() as stack:
      self.folder.parent.mkdir(parents=True, exist_ok=True)
      lock_path = self.folder.with_name(f"{self.folder.name}.lock")
      lock = stack.enter_context(lock_path.open("w"))
      if not locks.try_to_lock(lock):
        raise RemoteError(f"Another run is at work in {self.address}, on this machine.")
      stack.callback(self._remote.remove_if_empty)
      stack.enter_context(self._lease)
      self._fetch()
      stack.enter_context(self._stop)
      self._stack = stack.pop_all()
    self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
    self._thread.start()
    return self

  def __exit__(self, kind, *_) -> None:
    """Copies what is left, and gives the lease back.

    Raises:
      RemoteError: if it cannot be copied; the sentence says where it lies. Where the run ends with
        an error of its own, that is logged.
      LeaseLostError: instead of the request to stop, where that came of it.
    """
    self._ended.set()
    assert self._thread is not None
    self._thread.join()
    company = hosts.company()
    with self._stack, company.finishing() if company else contextlib.nullcontext():
      try:
        self.copy()
      except LeaseLostError as error:
        words = f"{error} This one has stopped; what it had lies in {self.folder}."
        if kind is None or issubclass(kind, StopAskedError):
          raise LeaseLostError(words) from error
        logging.error("%s", words)
      except RemoteError as error:
        words = (
          f"{error} All of the run lies in {self.folder}; the same command on this machine goes on."
        )
        if kind is None:
          raise RemoteError(words) from error
        logging.error("%s", words)

  def _work(self) -> None:
    while not self._ended.wait(_EVERY_SECONDS):
      try:
        self.copy()
      except LeaseLostError as error:
        logging.error("%s The run stops at its next step.", error)
        self._stop.ask()
        return
      except RemoteError as error:
        logging.warning("%s It is tried again later; nothing is lost.", error)

  def copy(self) -> None:
    """Copies what is new or changed, then removes there what is gone here.

    Raises:
      RemoteError: for the first file that cannot be copied; those before it are.
      LeaseLostError: where another run has taken the remote folder; nothing more is written there.
    """
    with self._lock:  # of threads
      self._lease.check()
      here = _entries(self.folder)
      is_changed = False
      for name in sorted(here, key=_rank):
        stamp = _stamp(here[name])
        if stamp is None or self._known.get(name) == stamp:
          continue
        content, now = _read(here[name]), _stamp(here[name])
        if content is not None and now is not None and now[:1] == stamp[:1]:
          self._lease.check()
          if not self._version:  # so that a first copy that breaks off is known to be ours
            self._mark()
          self._remote.write(name, content)
          self._known[name] = stamp
          is_changed = True
      for name in sorted(set(self._known) - set(here)):
        self._remote.delete(name)
        del self._known[name]
        is_changed = True
      if is_changed:
        self._mark()

  def _mark(self) -> None:
    """Gives what is there a new version, and writes it down here: this machine wrote there last."""
    version = uuid.uuid4().hex
    self._remote.write(VERSION_NAME, json.dumps({"version": version}).encode())
    self._version = version
    self._remember()

  def _remember(self) -> None:
    """Writes down what is there, for the next start on this machine."""
    atomic.write_json(self._state_path, {"version": self._version, "known": self._known})

  def _fetch(self) -> None:
    """Makes the local folder what the remote one is, unless this machine wrote there last."""
    state = self._read_state()
    there = _version(self._remote.read(VERSION_NAME))
    names = {
      name: size
      for name, size in self._remote.files().items()
      if name not in (LEASE_NAME, VERSION_NAME)
    }
    if not names and not there:  # nothing there; what lies here was never copied
      return
    if there and state and state["version"] == there:
      self._version, known = there, state["known"]
      self._known = {name: stamp for name, stamp in known.items() if name in names}
      self._known |= {name: [] for name in names if name not in known}  # copied, not written down
      return
    self._set_aside(state)
    started = time.monotonic()
    for name in names:
      content = self._remote.read(name)
      if content is None:
        continue
      path = _write(self.folder, name, content)
      self._known[name] = _stamp(path) or []
    self._version = there
    self._remember()
    logging.info(
      "Copied %d files from %s to %s in %.1f s.",
      len(names), self.address, self.folder, time.monotonic() - started,
    )  # fmt: skip

  def _set_aside(self, state: dict[str, Any] | None) -> None:
    """Empties the local folder; what was not copied from it is kept under another name."""
    here = _entries(self.folder)
    known = state["known"] if state else {}
    if any(known.get(name) != _stamp(path) for name, path in here.items()):
      aside = self.folder.with_name(f"{self.folder.name}-aside-{time.strftime('%Y%m%dT%H%M%S')}")
      logging.warning(
        "%s was written by another machine; what lies in %s was not copied there and goes to %s.",
        self.address, self.folder, aside,
      )  # fmt: skip
      aside.mkdir(parents=True)
      for path in _content(self.folder):
        shutil.move(path, aside / path.name)
    for path in _content(self.folder):
      shutil.rmtree(path) if path.is_dir() else path.unlink()

  def _read_state(self) -> dict[str, Any] | None:
    try:
      state = json.loads(self._state_path.read_text())
      return {"version": str(state["version"]), "known": dict(state["known"])}
    except (OSError, ValueError, KeyError, TypeError):
      return None


def _content(folder: Path) -> list[Path]:
  """What lies in a folder, but for the lock and other names with a dot."""
  if not folder.exists():
    return []
  return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _entries(folder: Path) -> dict[str, Path]:
  """{name there: path here}: every file, and every whole checkpoint as one."""
  found = {}
  for place, folders, files in os.walk(folder):
    where = Path(place)
    folders[:] = [name for name in folders if not name.startswith(".")]
    if where.name == _CHECKPOINTS:
      for name in folders:
        if name.isdigit():
          found[f"{(where / name).relative_to(folder).as_posix()}.tar"] = where / name
      folders[:] = []
    for name in files:
      if not name.startswith("."):
        found[(where / name).relative_to(folder).as_posix()] = where / name
  return found


def _rank(name: str) -> tuple[int, bool, str]:
  if name == "report.json":
    return len(_ORDER), False, name
  ranks = [rank for rank, begin in enumerate(_ORDER) if begin and name.startswith(begin)]
  return (ranks[0] if ranks else _ORDER.index("")), name.endswith("info.json"), name


def _stamp(path: Path) -> list[int] | None:
  """What changes when a file is replaced or grows; None where it is gone."""
  try:
    found = path.stat()
  except OSError:
    return None
  return [found.st_ino, found.st_size, found.st_mtime_ns]


def _read(path: Path) -> bytes | None:
  """A file, or a folder as a tar; None where it goes while it is read."""
  try:
    if not path.is_dir():
      return path.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
      for file in sorted(path.rglob("*")):
        tar.add(file, file.relative_to(path).as_posix(), recursive=False)
    return packed.getvalue()
  except FileNotFoundError:
    return None


def _write(folder: Path, name: str, content: bytes) -> Path:
  """A file, or a checkpoint from its tar, below the local folder; its path.

  Raises:
    RemoteError: for a name that leads out of the folder, or a damaged tar.
  """
  path = folder / name
  if not path.resolve().is_relative_to(folder.resolve()):
    raise RemoteError(f"The remote folder has a file {name!r}, which leads out of it.")
  if path.parent.name != _CHECKPOINTS or path.suffix != ".tar":
    atomic.write_bytes(path, content)
    return path
  path, part = path.with_suffix(""), path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}")
  try:
    part.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
      for member in tar:
        _unpack(tar, member, part)
    part.rename(path)
  except (tarfile.TarError, OSError) as error:
    shutil.rmtree(part, ignore_errors=True)
    raise RemoteError(f"Cannot unpack {name} of the remote folder: {error}.") from error
  return path


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
  """One file of a checkpoint; extractall has its filter in the newer releases of Python 3.11 only.

  Raises:
    tarfile.TarError: for a link, a device, or a name that leads out of the folder.
  """
  path = folder / member.name
  if not path.resolve().is_relative_to(folder.resolve()) or not (member.isfile() or member.isdir()):
    raise tarfile.TarError(f"{member.name!r} is no plain file of the checkpoint")
  if member.isdir():
    path.mkdir(parents=True, exist_ok=True)
  else:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = tar.extractfile(member)
    assert file is not None  # of a plain file
    path.write_bytes(file.read())


def _version(content: bytes | None) -> str:
  try:
    return str(json.loads(content or b"{}").get("version", ""))
  except (ValueError, AttributeError):
    return ""
