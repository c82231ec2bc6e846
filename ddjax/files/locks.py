"""Locks between processes of one machine, and of several where the disk can: `flock`."""

import errno
import fcntl
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
