"""Runs a module that ends with whoever started it: `... accelerator.child PARENT MODULE ARGUMENTS`.

A session that is killed with SIGKILL cannot stop its runs; so the kernel sends them SIGTERM then,
on which ddjax saves and leaves. Linux alone has this; elsewhere the module runs as it is.
"""

import contextlib
import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
  """Ties this process to its parent, then becomes `python -m MODULE ARGUMENTS`."""
  parent, module = int(sys.argv[1]), sys.argv[2]
  with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
  if os.getppid() != parent:  # which ended before it was heard
    sys.exit(128 + signal.SIGTERM)
  sys.argv[:] = [module, *sys.argv[3:]]
  runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()
