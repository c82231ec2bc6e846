"""How much memory one compiled call may take for what it computes on the way."""

from ml_collections import ConfigDict

from ddjax import backend
from ddjax.tuning import DEVICE_SHARE, UNKNOWN_GB


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
  return int(limit * DEVICE_SHARE if limit else UNKNOWN_GB * 2**30)
