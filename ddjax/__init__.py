"""ddjax: dataset distillation in JAX, and the audit of what distillation costs."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["distill", "evaluate", "get_config", "load"]

if TYPE_CHECKING:
  from ddjax.api import distill, evaluate, get_config, load


def __getattr__(name: str):
  """Imports the Python interface at its first use, so that `import ddjax` stays light."""
  if name in __all__:
    from ddjax import api

    return getattr(api, name)
  raise AttributeError(f"module 'ddjax' has no attribute {name!r}")
