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
  return int(wanted * 2**30) if wanted else device_budget()


def device_budget() -> int:
  """Bytes of one call where no config says: a quarter of what JAX may take, on CPUs 4 GiB."""
  limit = backend.memory_limit()
  return int(limit * _DEVICE_SHARE if limit else _UNKNOWN_GB * 2**30)
