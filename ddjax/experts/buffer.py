"""Expert trajectories on disk: chunks that are appended, verified, and mapped into memory.

  FOLDER/index.json   what the buffer is of, and its chunks and states with their SHA-256
  FOLDER/chunks/      f32 or f16 [epochs experts p], one npy for some experts and some epochs
  FOLDER/states/      the training state of these experts after their last epoch, in full precision

A chunk and the state after it are written first, then the index that names them, each in one
rename: a process killed at any moment loses the chunk in flight and nothing else. What the index
does not name is not part of the buffer. The index carries a checksum of its own; `verify` holds
every file that is about to be used against the index, once, before it is mapped.
"""

import contextlib
import io
import json
import math
import os
from pathlib import Path
import time
from typing import Any, Iterator, Mapping, NamedTuple

from absl import logging
import numpy as np

from ddjax.experts import files
from ddjax.experts.files import ExpertBufferError
from ddjax.files import atomic, locks
from ddjax.training.trainer import StoppedError

INDEX_NAME = "index.json"
_FORMAT = 1
_DTYPES = {"float32": np.float32, "float16": np.float16}
_LOCK_SECONDS = 0.5
"""Between two looks at a lock that another process holds."""


class WaitStoppedError(StoppedError):
  """Asked to stop while another process trained experts; nothing was done."""

  def __init__(self, folder: Path):
    super().__init__(f"Stopped on request while another process trains experts in {folder}.")


class Chunk(NamedTuple):
  """Parameters of experts `first_expert` up to `end_expert`, epochs `first_epoch` to `end_epoch`.

  Attributes:
    file: name under `chunks/`.
    sha256: of the file.
    first_expert: included.
    end_expert: excluded.
    first_epoch: included; 0 is the initial value.
    end_epoch: excluded.
    state_file: name under `states/`, of these experts after their epoch `end_epoch - 1`.
    state_sha256: of that file.
    losses: [epoch][expert], mean training loss of the epoch's last step; null for epoch 0.
    rounding: largest relative change of a parameter vector by storing it (0.0 of float32 as such).
    rounding_of_change: the same error, relative to how far the parameters moved in that epoch.
  """

  file: str
  sha256: str
  first_expert: int
  end_expert: int
  first_epoch: int
  end_epoch: int
  state_file: str
  state_sha256: str
  losses: list[list[float | None]]
  rounding: float
  rounding_of_change: float


class Buffer:
  """The expert trajectories in one folder.

  Attributes:
    folder: where they lie.
    identity: what they are of: {field: value}, JSON-safe.
    chunks: all but what lies after a missing file.
  """

  def __init__(self, folder: str | os.PathLike, identity: Mapping[str, Any]):
    """Opens the buffer in `folder`, or an empty one where there is none; writes nothing.

    Of experts of which a chunk is missing only the epochs before it count, with a warning.

    Args:
      folder: may be missing.
      identity: what its experts must be of; `dtype` says how parameters are stored.
    Raises:
      ExpertBufferError: for a damaged or missing index, or naming every field that differs.
    """
    self.folder = Path(folder)
    self.identity = atomic.json_safe(dict(identity))
    if self.identity["dtype"] not in _DTYPES:
      known = " or ".join(_DTYPES)
      raise ValueError(f"experts.dtype={self.identity['dtype']!r} must be {known}.")
    self.chunks: list[Chunk] = []
    self._out_of_reach: list[Chunk] = []  # missing files, and what lies after them
    self._verified: dict[str, tuple[int, ...]] = {}  # {file: its stamp}
    self._read_index()

  def _read_index(self) -> None:
    self.chunks, self._out_of_reach = [], []
    path = self.folder / INDEX_NAME
    try:
      content = json.loads(path.read_text())
    except FileNotFoundError:
      if any((self.folder / "chunks").glob("experts-*")):
        raise ExpertBufferError(
          f"{path} is missing beside chunks of experts: of what is not known. Move them away."
        ) from None
      return
    except (ValueError, OSError) as error:
      raise ExpertBufferError(f"{path} is damaged: {error}") from error
    try:
      if content["format"] != _FORMAT:
        raise ExpertBufferError(
          f"{path} has format {content['format']}; this program reads {_FORMAT}."
        )
      body = {"identity": dict(content["identity"]), "chunks": content["chunks"]}
      if content["sha256"] != files.digest_of_json(body):
        raise ExpertBufferError(f"{path} is altered: its content does not match its checksum.")
      chunks = [Chunk(**chunk) for chunk in body["chunks"]]
    except (KeyError, TypeError, ValueError) as error:
      raise ExpertBufferError(f"{path} is no index of expert trajectories: {error!r}.") from error
    stored = body["identity"]
    differing = [
      f"{name}: {stored.get(name)!r} there, {self.identity.get(name)!r} here"
      for name in sorted(stored.keys() | self.identity.keys())
      if stored.get(name) != self.identity.get(name)
    ]
    if differing:
      raise ExpertBufferError(
        f"{self.folder} holds other experts; differing: {'; '.join(differing)}."
      )
    missing = [chunk for chunk in chunks if not self._chunk_path(chunk).exists()]
    lost: dict[int, int] = {}  # the first epoch that a group has no more
    for chunk in missing:
      lost[chunk.first_expert] = min(
        chunk.first_epoch, lost.get(chunk.first_expert, chunk.first_epoch)
      )
    for first, epoch in lost.items():
      counted = f"only their first {epoch - 1} epochs count" if epoch else "they count as untrained"
      files.warn_once(
        f"Chunks of the experts from {first} on are missing in {self.folder}; {counted}."
      )
    for chunk in chunks:
      is_counted = chunk.first_epoch < lost.get(chunk.first_expert, math.inf)
      (self.chunks if is_counted else self._out_of_reach).append(chunk)

  @contextlib.contextmanager
  def locked(self, is_waiting: bool = True, stop_request: Any = False) -> Iterator[None]:
    """Keeps other processes from writing, and removes what a killed one left behind.

    What lies after a missing file stays until its experts are trained again: it may come back.

    Args:
      is_waiting: whether to wait for another process that writes.
      stop_request: read as a bool while waiting.
    Raises:
      ExpertBufferError: if another process writes, and this one does not wait.
      WaitStoppedError: if it was asked to stop while it waited.
    """
    self.folder.mkdir(parents=True, exist_ok=True)
    with (self.folder / ".lock").open("w") as lock:
      is_told = False
      while not locks.try_to_lock(lock):
        if not is_waiting:
          raise ExpertBufferError(f"Another process trains experts in {self.folder}.")
        if stop_request:
          raise WaitStoppedError(self.folder)
        if not is_told:
          logging.info("Another process trains experts in %s; waiting for it.", self.folder)
          is_told = True
        time.sleep(_LOCK_SECONDS)
      self._read_index()  # as the last writer left it
      self._remove_unnamed()
      yield

  def _remove_unnamed(self) -> None:
    """Removes chunks that the index does not name, and states that are not its groups' last."""
    known = [*self.chunks, *self._out_of_reach]
    named = {self._chunk_path(chunk) for chunk in known}
    named |= {self._state_path(_last(known, chunk.first_expert)) for chunk in known}
    for folder in ("chunks", "states"):
      for path in (self.folder / folder).iterdir() if (self.folder / folder).exists() else ():
        if path not in named and path.name.startswith(("experts-", ".experts-")):
          path.unlink()

  def forget(self, first_expert: int) -> None:
    """Drops a group, to be trained again from its start."""
    group = self.last_chunk(first_expert)
    self._drop_out_of_reach(group.first_expert, group.end_expert)
    self._write_index([chunk for chunk in self.chunks if chunk.first_expert != first_expert])
    self._remove_unnamed()

  def _drop_out_of_reach(self, first_expert: int, end_expert: int) -> bool:
    """Gives up what lies after a missing file of these experts; whether there was any."""
    kept = [
      chunk
      for chunk in self._out_of_reach
      if chunk.end_expert <= first_expert or end_expert <= chunk.first_expert
    ]
    is_any = len(kept) < len(self._out_of_reach)
    self._out_of_reach = kept
    return is_any

  def append(
    self,
    parameters: np.ndarray,
    *,
    first_expert: int,
    first_epoch: int,
    state: list[np.ndarray],
    losses: list[list[float | None]],
    before: np.ndarray | None = None,
  ) -> None:
    """Adds some epochs of some experts.

    Args:
      parameters: f32[epochs experts p].
      first_expert: of them.
      first_epoch: of them.
      state: leaves of the training state after the last of these epochs.
      losses: [epoch][expert].
      before: f32[experts p], their parameters after the epoch before; None for epoch 0.
    Raises:
      ExpertBufferError: for a parameter that is not finite, as it is or as it is stored.
    """
    with np.errstate(over="ignore"):
      stored = parameters.astype(_DTYPES[self.identity["dtype"]])
    if not np.isfinite(stored).all():
      epoch, expert = np.argwhere(~np.isfinite(stored).all(axis=-1))[0]
      raise ExpertBufferError(
        f"Expert {first_expert + expert} has parameters after epoch {first_epoch + epoch} that are "
        f"not finite in {self.identity['dtype']}."
      )
    num_epochs, num_experts, _ = parameters.shape
    end_expert, end_epoch = first_expert + num_experts, first_epoch + num_epochs
    name = f"experts-{first_expert:05d}-{end_expert - 1:05d}-epochs-{first_epoch:04d}"
    content = io.BytesIO()
    np.save(content, stored, allow_pickle=False)
    state_content = atomic.npz_bytes({str(i): leaf for i, leaf in enumerate(state)})
    rounding, of_change = files.rounding(parameters, stored, before)
    chunk = Chunk(
      file=f"{name}-{end_epoch - 1:04d}.npy",
      sha256=files.digest(content.getbuffer()),
      first_expert=first_expert,
      end_expert=end_expert,
      first_epoch=first_epoch,
      end_epoch=end_epoch,
      state_file=f"experts-{first_expert:05d}-{end_expert - 1:05d}-after-{end_epoch - 1:04d}.npz",
      state_sha256=files.digest(state_content),
      losses=losses,
      rounding=rounding,
      rounding_of_change=of_change,
    )
    if self._drop_out_of_reach(first_expert, end_expert):  # no index may name another content
      self._write_index(self.chunks)
    atomic.write_bytes(self._chunk_path(chunk), content.getbuffer())
    atomic.write_bytes(self._state_path(chunk), state_content)
    self._write_index([*self.chunks, chunk])
    self._remove_unnamed()  # the state before

  def _write_index(self, chunks: list[Chunk]) -> None:
    known = [*chunks, *self._out_of_reach]
    body = {"identity": self.identity, "chunks": [chunk._asdict() for chunk in known]}
    atomic.write_json(
      self.folder / INDEX_NAME, {"format": _FORMAT, **body, "sha256": files.digest_of_json(body)}
    )
    self.chunks = chunks

  @property
  def first_experts(self) -> list[int]:
    """The first expert of every group that trains together."""
    return sorted({chunk.first_expert for chunk in self.chunks})

  @property
  def lost_groups(self) -> list[tuple[int, int]]:
    """(first expert, end) of groups of which no epoch can be reached."""
    spans = {(chunk.first_expert, chunk.end_expert) for chunk in self._out_of_reach}
    return sorted(span for span in spans if span[0] not in self.first_experts)

  def last_chunk(self, first_expert: int) -> Chunk:
    """The last chunk of a group."""
    return _last(self.chunks, first_expert)

  @property
  def num_experts(self) -> int:
    """One more than the largest number of an expert."""
    return max((chunk.end_expert for chunk in self.chunks), default=0)

  @property
  def num_epochs(self) -> int:
    """For how many epochs all of them were trained."""
    last = [self.last_chunk(first).end_epoch - 1 for first in self.first_experts]
    return min(last, default=0)

  def epochs_of(self, expert: int) -> int | None:
    """For how many epochs an expert was trained; None where there is no such expert."""
    ends = [c.end_epoch - 1 for c in self.chunks if c.first_expert <= expert < c.end_expert]
    return max(ends, default=None)

  def can_extend(self, first_expert: int) -> bool:
    """Whether the training state of a group is there."""
    return self._state_path(self.last_chunk(first_expert)).exists()

  @property
  def rounding(self) -> float:
    """Largest relative change of a parameter vector by storing it."""
    return max((chunk.rounding for chunk in self.chunks), default=0.0)

  @property
  def rounding_of_change(self) -> float:
    """The largest such error relative to how far the parameters moved in that epoch."""
    return max((chunk.rounding_of_change for chunk in self.chunks), default=0.0)

  def lacks(self, num_experts: int, num_epochs: int) -> int:
    """How many epochs, over all experts, are missing of so many experts and epochs each."""
    have = [self.epochs_of(expert) or 0 for expert in range(num_experts)]
    return sum(max(num_epochs - epochs, 0) for epochs in have)

  def read_state(self, first_expert: int) -> list[np.ndarray]:
    """Leaves of the training state of a group; ExpertBufferError where it is damaged."""
    chunk = self.last_chunk(first_expert)
    path = self._state_path(chunk)
    content = files.read_checked(path, chunk.state_sha256)
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
      return [file[str(i)] for i in range(len(file.files))]

  def verify(self, num_experts: int, num_epochs: int, num_parameters: int) -> None:
    """Holds every chunk that so many experts and epochs need against its checksum and its network.

    Raises:
      ExpertBufferError: naming the first file that is missing, truncated or altered.
    """
    for chunk in self.chunks:
      if chunk.first_expert < num_experts and chunk.first_epoch <= num_epochs:
        path = self._chunk_path(chunk)
        stamp = files.stamp(path)
        files.check(path, chunk.sha256)
        self._verified[chunk.file] = stamp
        shape = chunk.end_epoch - chunk.first_epoch, chunk.end_expert - chunk.first_expert
        found = np.load(path, mmap_mode="r", allow_pickle=False).shape
        if found[:2] != shape:
          raise ExpertBufferError(f"{path} is {found}, the index says {shape} epochs and experts.")
        if found[2] != num_parameters:
          raise ExpertBufferError(
            f"{path} has {found[2]} parameters a network; the network of that name has "
            f"{num_parameters} here."
          )

  def read(self, expert: int, epoch: int) -> np.ndarray:
    """The parameters f32[p] of an expert after so many epochs, of what was verified before.

    Raises:
      KeyError: where the buffer does not hold them.
      ExpertBufferError: for a file that was replaced or removed since it was verified.
    """
    for chunk in self.chunks:
      is_own = chunk.first_expert <= expert < chunk.end_expert
      if is_own and chunk.first_epoch <= epoch < chunk.end_epoch:
        path = self._chunk_path(chunk)
        stamp = files.stamp(path)
        if self._verified.get(chunk.file, stamp) != stamp:
          raise ExpertBufferError(f"{path} was replaced while this process followed its experts.")
        rows = files.mapped(path, stamp)
        own = rows[epoch - chunk.first_epoch, expert - chunk.first_expert]
        return np.array(own, np.float32)  # a copy: a view would keep the file open
    raise KeyError(f"{self.folder} has no epoch {epoch} of expert {expert}.")

  def losses(self) -> np.ndarray:
    """Training losses f32[epochs experts], NaN where there is none; epoch 0 has none."""
    shape = max((c.end_epoch for c in self.chunks), default=0), self.num_experts
    table = np.full(shape, np.nan, np.float32)
    for c in self.chunks:
      table[c.first_epoch : c.end_epoch, c.first_expert : c.end_expert] = np.array(c.losses, float)
    return table

  def _chunk_path(self, chunk: Chunk) -> Path:
    return self.folder / "chunks" / chunk.file

  def _state_path(self, chunk: Chunk) -> Path:
    return self.folder / "states" / chunk.state_file


def content_key(identity: Mapping[str, Any]) -> str:
  """Twelve hex digits that what a buffer is of determines."""
  return files.digest_of_json(identity)[:12]


def _last(chunks: list[Chunk], first_expert: int) -> Chunk:
  """The one of a group that reaches furthest."""
  own = [chunk for chunk in chunks if chunk.first_expert == first_expert]
  return max(own, key=lambda chunk: chunk.end_epoch)
