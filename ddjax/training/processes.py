"""What all processes of a run do together, and what the first one does alone.

All hosts distil. What comes after it (evaluation, figures, files) the first host does with its own
devices while the others wait, so that what only its disk holds may decide what is still to be done.
"""

import contextlib
from typing import Any, Callable, Iterator, TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from ddjax.training import hosts

_Result = TypeVar("_Result")
_DONE, _FAILED = "done", "failed"
_alone = False


def count() -> int:
  """How many processes work together; 1 inside `alone`."""
  return 1 if _alone else jax.process_count()


@contextlib.contextmanager
def alone() -> Iterator[None]:
  """Inside, this process counts as the only one: layouts take its own devices."""
  global _alone
  before, _alone = _alone, True
  try:
    yield
  finally:
    _alone = before


def on_main_process(work: Callable[[], _Result]) -> _Result | None:
  """The first process does something alone, and the others wait for it, however long it takes.

  All must come here together.

  Args:
    work: called on the first process only, inside `alone`.
  Returns:
    What it returns; None on the others.
  Raises:
    what `work` raises; on the others StopAskedError where that is a stop on request, and
    HostsError where it is an error.
  """
  if count() == 1:
    return work()
  company = hosts.company()
  if jax.process_index() == 0:
    try:
      with alone():
        result = work()
    except StopAskedError as error:
      _answer(company, str(error))
      raise
    except BaseException as error:
      if company is None:  # with one, the others hear of it as this process ends
        _answer(company, _FAILED)
      del error
      raise
    _answer(company, _DONE)
    return result
  said = company.wait() if company else _hear()
  if said == _FAILED:
    raise hosts.HostsError("The first host stopped with an error.")
  if said != _DONE:
    raise StopAskedError(said)
  return None


class StopAskedError(RuntimeError):
  """A run was asked to stop, here or on another host, and what it had is saved."""


def _answer(company: hosts.Company | None, words: str) -> None:
  if company is not None:
    company.post(words)
  else:
    multihost_utils.broadcast_one_to_all(_as_bytes(words))


def _hear() -> str:
  return bytes(np.asarray(multihost_utils.broadcast_one_to_all(_as_bytes("")))).decode().strip()


def _as_bytes(words: str) -> np.ndarray:
  return np.frombuffer(words.encode()[:400].ljust(400), np.uint8)


def from_main_process(tree: Any) -> Any:
  """The first process's NumPy arrays, bit for bit; all must ask together.

  Args:
    tree: of arrays; on the other processes any of the same shapes and dtypes.
  """
  if count() == 1:
    return tree
  leaves, structure = jax.tree.flatten(tree)
  leaves = [np.asarray(leaf) for leaf in leaves]
  content = b"".join(leaf.tobytes() for leaf in leaves)
  content += bytes(-len(content) % 4)
  words = np.frombuffer(content, np.uint32)  # numbers would lose the sign of -0.0
  said = np.asarray(multihost_utils.broadcast_one_to_all(words)).tobytes()
  found, start = [], 0
  for leaf in leaves:
    one = np.frombuffer(said, leaf.dtype, leaf.size, start)
    found.append(one.reshape(leaf.shape).copy())
    start += leaf.nbytes
  return jax.tree.unflatten(structure, found)
