"""A lease on a remote folder, so that two runs never write to it at once.

The holder renews a small file; who wants the folder watches it. A file that changes has a holder,
one that stays as it is for longer than a lease lasts was left behind by a run that was killed. No
clocks of two machines are compared.
"""

import json
import os
import socket
import threading
import time
import uuid

from absl import logging

from ddjax.files.remote import Remote, RemoteError

NAME = ".ddjax-lease.json"
RENEW_SECONDS = 20.0
LEASE_SECONDS = 90.0
_LOOK_SECONDS = 1.0
_SETTLE_SECONDS = 3.0
"""After a take-over: another run that saw the same dead holder shows itself in this time."""


class LeaseLostError(RemoteError):
  """Another run has taken the remote folder in the meantime."""


class Lease:
  """The right to write to a remote folder; a context manager."""

  def __init__(self, remote: Remote):
    self._remote = remote
    self._owner = uuid.uuid4().hex
    self._ended = threading.Event()
    self._thread: threading.Thread | None = None
    self._count = 0
    self._lost = ""

  def __enter__(self) -> "Lease":
    """Takes the lease.

    Raises:
      RemoteError: where another run holds it, naming its machine; or none can be written.
    """
    was_held = False
    while not self._remote.write(NAME, self._content(), is_new=True):
      was_held, left = True, self._wait_for_other()
      # Another run may have seen the same and be faster: its new lease stays.
      if left is not None and self._remote.read(NAME) == left:
        self._remote.delete(NAME)
    if was_held:  # no store deletes only what is unchanged, so a slower one may just do so
      time.sleep(min(_SETTLE_SECONDS, RENEW_SECONDS / 4))
    if self._holder().get("owner") != self._owner:  # where the store could not tell
      raise RemoteError(f"Another run has just begun in {self._remote.address}.")
    self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    self._ended.set()
    if self._thread is not None:
      self._thread.join()
    try:
      if not self._lost and self._holder().get("owner") == self._owner:
        self._remote.delete(NAME)
    except RemoteError as error:
      logging.warning("The lease stays behind: %s", error)

  def check(self) -> None:
    """Raises LeaseLostError where another run has taken the folder in the meantime."""
    if self._lost:
      raise LeaseLostError(self._lost)

  def _wait_for_other(self) -> bytes | None:
    """Returns once the holder is known to be gone: what it left, or None for nothing.

    Raises:
      RemoteError: where it is not gone.
    """
    left = self._remote.read(NAME)
    first = _parsed(left)
    if left is None or _is_dead(first):
      return left
    logging.info(
      "%s was in use by process %s of %s; looking whether it still is.",
      self._remote.address, first.get("process"), first.get("machine"),
    )  # fmt: skip
    deadline = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < deadline:
      time.sleep(min(_LOOK_SECONDS, RENEW_SECONDS / 4))
      seen = self._remote.read(NAME)
      now = _parsed(seen)
      if seen is None or _is_dead(now):
        return seen
      if seen != left:
        raise RemoteError(
          f"Another run is at work in {self._remote.address}: process {now.get('process')} of "
          f"{now.get('machine')}."
        )
    return left

  def _renew(self) -> None:
    while not self._ended.wait(RENEW_SECONDS):
      try:
        holder = self._holder()
        if holder.get("owner", self._owner) != self._owner:
          self._lost = (
            f"Another run has taken {self._remote.address}, process {holder.get('process')} of "
            f"{holder.get('machine')}: this one was silent for too long."
          )
          return
        self._remote.write(NAME, self._content())
      except RemoteError as error:
        logging.warning("The lease could not be renewed: %s", error)

  def _content(self) -> bytes:
    self._count += 1
    return json.dumps(
      {
        "owner": self._owner,
        "machine": socket.gethostname(),
        "process": os.getpid(),
        "renewed": self._count,
      }
    ).encode()

  def _holder(self) -> dict:
    return _parsed(self._remote.read(NAME))


def _parsed(content: bytes | None) -> dict:
  """What a lease says: nothing where there is none, an unknown owner where it is damaged."""
  try:
    return {} if content is None else dict(json.loads(content))
  except (ValueError, TypeError):
    return {"owner": "unknown"}


def _is_dead(holder: dict) -> bool:
  """Whether the holder was a process of this machine that is gone."""
  if holder.get("machine") != socket.gethostname() or not isinstance(holder.get("process"), int):
    return False
  try:
    os.kill(holder["process"], 0)
  except ProcessLookupError:
    return True
  except OSError:
    return False
  return False
