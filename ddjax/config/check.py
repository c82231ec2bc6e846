"""What is wrong with a config's numbers whatever the task, found before anything is read."""

import math

from ml_collections import ConfigDict


def check_numbers(config: ConfigDict) -> None:
  """Raises ValueError for a number that no field can have, naming the field.

  Floats are finite, and seeds are whole numbers from 0 to 2^32 - 1.
  """
  for name, value in _fields(config):
    is_seed = name.rpartition(".")[2] in ("seed", "split_seed", "feature_seed")
    for one in value if isinstance(value, (tuple, list)) else (value,):
      if isinstance(one, float) and not math.isfinite(one):
        raise ValueError(f"{name}={one} must be finite.")
      if is_seed and not (isinstance(one, int) and 0 <= one < 2**32):
        raise ValueError(f"{name}={one!r} must lie between 0 and 2^32 - 1.")


def _fields(config: ConfigDict, prefix: str = ""):
  """Pairs of a dotted name and a value that is set."""
  for name in config:
    value = config[name]
    if isinstance(value, ConfigDict):
      yield from _fields(value, f"{prefix}{name}.")
    elif value is not None:
      yield f"{prefix}{name}", value
