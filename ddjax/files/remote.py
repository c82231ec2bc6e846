"""A folder at an address, such as gs://BUCKET/runs/NAME: whole files only, errors as one sentence.

Any file system that fsspec knows. A file appears under its name at once or not at all: object
stores do so by themselves, elsewhere it is written under another name and moved.
"""

from typing import Any, Callable, TypeVar
import uuid

import fsspec

_Result = TypeVar("_Result")
_ATOMIC = ("gs", "gcs", "s3", "s3a", "abfs", "abfss", "az", "oci", "oss")
_UPLOADS = ".uploads"
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs",
             "abfss": "adlfs", "az": "adlfs"}  # fmt: skip


class RemoteError(RuntimeError):
  """A remote folder cannot be used; says which, why, and what to do."""


def is_address(workdir: Any) -> bool:
  """Whether a text names a place on a remote file system."""
  return isinstance(workdir, str) and "://" in workdir


class Remote:
  """A remote folder.

  Attributes:
    address: as given, without a slash at its end.
  """

  def __init__(self, address: str):
    """Reaches nothing yet.

    Raises:
      RemoteError: for a file system that is not known, naming the package to install.
    """
    self.address = address.rstrip("/")
    protocol, _, place = address.partition("://")
    if not place.strip("/"):
      raise RemoteError(f"{address} names no folder.")
    try:
      self._fs, root = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
    except ImportError as error:
      package = _PACKAGES.get(protocol)
      what = f"install it: pip install {package}" if package else str(error)
      raise RemoteError(f"{address} needs a package that is not installed; {what}.") from error
    except ValueError as error:
      raise RemoteError(f"{address} is no address that is known here: {error}.") from error
    except Exception as error:  # what a file system raises without credentials
      raise RemoteError(f"Cannot reach {address}: {_line(error)}.") from error
    self._root = root.rstrip("/")
    self._is_atomic = protocol in _ATOMIC

  def files(self) -> dict[str, int]:
    """{path below the folder: bytes} of all files; none where the folder is missing."""

    def find():
      self._fs.invalidate_cache()
      found = self._fs.find(self._root, detail=True)
      start = len(self._root) + 1
      names = {path[start:]: int(known.get("size") or 0) for path, known in found.items()}
      return {name: size for name, size in names.items() if not name.startswith(f"{_UPLOADS}/")}

    return self._try("list", find, missing={})

  def read(self, name: str) -> bytes | None:
    """The content of a file; None where it is missing."""
    return self._try("read", lambda: self._fs.cat_file(self._path(name)), missing=None)

  def write(self, name: str, content: bytes, is_new: bool = False) -> bool:
    """Replaces a file.

    Args:
      name: below the folder.
      content: of the file.
      is_new: writes only where there is none.
    Returns:
      False where there was one and `is_new`.
    """

    def put():
      path = self._path(name)
      if is_new:
        return self._create(path, content)
      if self._is_atomic:
        self._fs.pipe_file(path, content)
        return True
      temporary = f"{self._root}/{_UPLOADS}/{uuid.uuid4().hex}"
      self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
      self._fs.makedirs(temporary.rpartition("/")[0], exist_ok=True)
      self._fs.pipe_file(temporary, content)
      self._fs.mv(temporary, path)
      return True

    return self._try("write to", put)

  def _create(self, path: str, content: bytes) -> bool:
    """Writes a file that must not exist; where the file system cannot tell, looks before."""
    self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    try:
      self._fs.pipe_file(path, content, mode="create")
      return True
    except FileExistsError:
      return False
    except (NotImplementedError, TypeError):
      if self._fs.exists(path):
        return False
      self._fs.pipe_file(path, content)
      return True

  def delete(self, name: str) -> None:
    """Removes a file, if there is one."""
    self._try("delete from", lambda: self._fs.rm_file(self._path(name)), missing=None)

  def remove_if_empty(self) -> None:
    """Removes folders that hold nothing, where the file system has folders."""
    for folder in (f"{self._root}/{_UPLOADS}", self._root):
      try:
        if not self._fs.find(folder):
          self._fs.rm(folder, recursive=True)
      except Exception:  # object stores have no folders
        continue

  def _path(self, name: str) -> str:
    return f"{self._root}/{name}"

  def _try(self, verb: str, action: Callable[[], _Result], missing: Any = ...) -> _Result:
    try:
      return action()
    except FileNotFoundError as error:
      if missing is not ...:
        return missing
      raise RemoteError(f"Cannot {verb} {self.address}: {_line(error)}.") from error
    except Exception as error:  # every file system has its own
      raise RemoteError(f"Cannot {verb} {self.address}: {_line(error)}.") from error


def _line(error: Exception) -> str:
  words = str(error).strip().partition("\n")[0].rstrip(".")
  return f"{type(error).__name__}: {words}" if words else type(error).__name__
