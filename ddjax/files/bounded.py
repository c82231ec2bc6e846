"""Files that are read whole, of a size that a distilled set can have."""

import os
from pathlib import Path

MAX_BYTES = 4 << 30


def read_bytes(path: str | os.PathLike) -> bytes:
  """The content of a file of at most `MAX_BYTES`.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: for a larger one.
  """
  path = Path(path)
  if not path.is_file():
    raise FileNotFoundError(f"There is no file {path}.")
  if path.stat().st_size > MAX_BYTES:
    raise ValueError(f"{path} is larger than {MAX_BYTES >> 30} GiB, too large for a distilled set.")
  return path.read_bytes()
