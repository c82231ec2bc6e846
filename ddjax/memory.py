"""How much memory one compiled call may take for what it computes on the way."""

from ml_collections import ConfigDict

from ddjax import backend

_DEVICE_SHARE = 1 / 4
"""Of what JAX may take of a device's memory; data, results and the compiler need the rest."""
_UNKNOWN_GB = 4.0
"""Where the device does not say how much it has, as CPUs."""


def budget_bytes(config: ConfigDict) -> int:
  """`memory_budget_gb` in bytes; 0 there is a quarter of what JAX may take, on CPUs 4 GiB.

  Raises:
    ValueError: for a negative budget.
  """
  wanted = config.memory_budget_gb
  if wanted < 0:
    raise ValueError(f"memory_budget_gb={wanted} must not be negative.")
  if wanted:
    return int(wanted * 2**30)
  limit = backend.memory_limit()
  return int(limit * _DEVICE_SHARE if limit else _UNKNOWN_GB * 2**30)
