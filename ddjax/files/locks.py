"""Locks between processes of one machine, and of several where the disk can: `flock`."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from absl import logging

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def try_to_lock(file: IO[str]) -> bool:
  """Whether this process may go on: it has the lock until the file is closed, or there is none.

  Some disks have no locks (Lustre without its mount option, some of FUSE): a warning says so.

  Args:
    file: an open one that lies beside what is locked.
  Returns:
    False where another process has the lock.
  Raises:
    OSError: for any other reason.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError as error:
    if error.errno not in _UNSUPPORTED:
      raise
    logging.warning(
      "%s cannot be locked on this disk (%s): see to it that no other process works there.",
      file.name, error.strerror,
    )  # fmt: skip
  return True


def is_held(path: str | os.PathLike) -> bool:
  """Whether a process of this machine has the lock of a file, without trying to take it.

  Reads Linux' table of locks, so a run that starts at this moment is not disturbed. False where
  there is no such table, and for processes of other machines.

  Args:
    path: of the lock's file.
  """
  try:
    inode = str(os.stat(path).st_ino)
    lines = Path("/proc/locks").read_text().splitlines()
  except OSError:
    return False
  # `1: FLOCK  ADVISORY  WRITE 708 fd:00:26 0 EOF`; one that waits has `->` after the number.
  locks = [line.split() for line in lines if " FLOCK " in line and "->" not in line]
  return any(len(words) > 5 and words[5].rpartition(":")[2] == inode for words in locks)
