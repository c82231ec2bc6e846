"""The one wrapper of orbax: whole states, with key and step, as host arrays.

Keys travel as their raw words and everything else as NumPy arrays, so that a state saved on four
devices is read on one, and an asynchronous save never looks at a donated buffer. Of several hosts
the first alone writes and reads; the others hear from it, so that they need not share a disk.
"""

import pathlib
import shutil
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from ddjax.training import parallel, processes
from ddjax.types import DistillState


class CheckpointError(RuntimeError):
  """A checkpoint could not be written or read; names the folder."""


def to_host(state: DistillState) -> Any:
  """A copy of the state in NumPy; typed keys as u32 words."""

  def copy(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    return np.array(leaf)

  return jax.tree.map(copy, state)


def from_host(host: Any, like: DistillState) -> DistillState:
  """The inverse of `to_host`, ready to be placed; `like` says which leaves are keys."""

  def restore(leaf, template):
    if jnp.issubdtype(template.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(template))
    return np.asarray(leaf, template.dtype)

  return jax.tree.map(restore, host, like)


class Checkpoints:
  """The checkpoints of one run folder; a context manager that waits for the last save."""

  def __init__(self, folder: str | pathlib.Path, keep: int = 2):
    """Opens the first host's `folder`, making it if need be; the newest `keep` stay."""
    self.folder = pathlib.Path(folder).absolute()
    self._manager = None
    if not parallel.is_main_process():
      return
    import orbax.checkpoint as ocp

    self._ocp = ocp
    options: dict[str, Any] = dict(max_to_keep=keep)
    if jax.process_count() > 1:  # the others have no part in it
      self.folder.mkdir(parents=True, exist_ok=True)
      options |= dict(
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
          primary_host=0, active_processes={0}, barrier_sync_key_prefix="first_host"
        ),
      )
    self._manager = ocp.CheckpointManager(
      self.folder, options=ocp.CheckpointManagerOptions(**options)
    )

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_) -> None:
    try:
      self.wait()
    finally:
      if self._manager is not None:
        self._manager.close()

  def latest_step(self) -> int | None:
    """Step of the newest complete checkpoint, or None; all hosts must ask together."""
    step = self._manager.latest_step() if self._manager is not None else None
    (step,) = parallel.of_main_process([-1 if step is None else step])
    return None if step < 0 else step

  def save(self, step: int, state: DistillState) -> None:
    """Saves in the background; an existing step is left as it is.

    Raises:
      CheckpointError: if this save, or the one before it, could not be written.
    """
    if self._manager is None or self._manager.latest_step() == step:
      return
    try:
      self._manager.wait_until_finished()
      self._manager.save(step, args=self._ocp.args.StandardSave(to_host(state)))
    except (OSError, ValueError) as error:
      raise CheckpointError(f"Checkpoint {step} not written to {self.folder}: {error}") from error

  def wait(self) -> None:
    """Returns when the last save lies on the disk."""
    if self._manager is None:
      return
    try:
      self._manager.wait_until_finished()
    except (OSError, ValueError) as error:
      raise CheckpointError(f"Checkpoint not written to {self.folder}: {error}") from error

  def restore(self, like: DistillState, step: int | None = None) -> DistillState:
    """Reads a checkpoint into the structure of `like`; all hosts must ask together.

    Args:
      like: a state of the same shapes, such as `init` gives.
      step: which one; default the newest that can be read. Newer ones that cannot are damaged: a
        warning names them, and they are removed.
    Raises:
      CheckpointError: if there is none, or none fits `like`; nothing is removed then.
    """
    target = to_host(like)
    if self._manager is not None:
      target = self._newest(target) if step is None else self._restore(target, step)
    return from_host(processes.from_main_process(target), like)

  def _newest(self, like: Any) -> Any:
    """The newest that can be read, as NumPy arrays in the structure of `like`."""
    assert self._manager is not None  # the first host's part
    steps = sorted(self._manager.all_steps(), reverse=True)
    if not steps:
      raise CheckpointError(f"No checkpoint in {self.folder}.")
    errors = []
    for step in steps:
      try:
        state = self._restore(like, step)
      except CheckpointError as error:
        errors.append(error)
        continue
      self._remove(steps[: len(errors)], step)
      return state
    raise errors[0]

  def _remove(self, damaged: list[int], read: int) -> None:
    """Removes checkpoints that cannot be read, where an older one can."""
    assert self._manager is not None
    for step in damaged:
      logging.warning(
        "Checkpoint %d in %s is damaged and removed; going on from step %d.",
        step, self.folder, read,
      )  # fmt: skip
      shutil.rmtree(self.folder / str(step), ignore_errors=True)
    if damaged:
      self._manager.reload()

  def _restore(self, target: Any, step: int) -> Any:
    """Reads one checkpoint as NumPy arrays; CheckpointError where it does not fit `target`."""
    assert self._manager is not None
    try:
      host = self._manager.restore(step, args=self._ocp.args.StandardRestore(target))
    except Exception as error:  # what orbax and its storage raise for damaged files
      message = f"Checkpoint {step} in {self.folder} does not fit this run: {error}"
      raise CheckpointError(message) from error
    for (path, saved), wanted in zip(
      jax.tree_util.tree_leaves_with_path(host), jax.tree.leaves(target), strict=True
    ):
      if saved.shape != wanted.shape:
        raise CheckpointError(
          f"Checkpoint {step} in {self.folder} does not fit this run: "
          f"{jax.tree_util.keystr(path)} has shape {saved.shape}, not {wanted.shape}."
        )
    return jax.tree.map(lambda saved, wanted: np.asarray(saved, wanted.dtype), host, target)
