"""ddjax: dataset distillation in JAX, and the audit of what distillation costs."""

import os
from typing import TYPE_CHECKING

# JAX's Cholesky on the CPU is SciPy's, whose waiting threads slow XLA's down by a quarter.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
__all__ = [
  "DistilledSet",
  "Report",
  "Reports",
  "Result",
  "distill",
  "evaluate",
  "get_config",
  "load",
  "run",
]

if TYPE_CHECKING:
  from ddjax.api import (
    DistilledSet,
    Report,
    Reports,
    Result,
    distill,
    evaluate,
    get_config,
    load,
    run,
  )


def __getattr__(name: str):
  """Imports the Python interface at its first use, so that `import ddjax` stays light."""
  if name in __all__:
    from ddjax import api

    return getattr(api, name)
  raise AttributeError(f"module 'ddjax' has no attribute {name!r}")
