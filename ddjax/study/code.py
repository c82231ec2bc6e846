"""Which code a worker runs."""

import functools
import hashlib
import pathlib

import ddjax


@functools.cache
def code_digest() -> str:
  """The version of ddjax, and twelve hexadecimal digits of the content of its modules."""
  root = pathlib.Path(ddjax.__file__).parent
  digest = hashlib.sha256()
  for path in sorted(root.rglob("*.py")):
    if path.parent == root / "configs":  # there in an installed package alone
      continue
    digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
  return f"{ddjax.__version__}+{digest.hexdigest()[:12]}"
