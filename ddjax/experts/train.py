"""Training of experts: many networks together, their parameters kept after every epoch.

An expert depends on its number and the key alone, so a buffer can be extended by epochs and by
experts. Networks are vmapped on a device and dealt out over the devices.
"""

import contextlib
import math
import time
from typing import Any, NamedTuple

from absl import logging
import jax
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict
import numpy as np

from ddjax.experts.buffer import Buffer
from ddjax.fitting.host import Program, Watch
from ddjax.fitting.train import Rows, Source, TrainState
from ddjax.training import parallel
from ddjax.training.progress import Progress
from ddjax.training.trainer import NonFiniteLossError, PreemptedError
from ddjax.types import ExpertNeeds

_SECONDS_PER_CALL = 3.0


_flatten = jax.jit(jax.vmap(jax.vmap(lambda params: ravel_pytree(params)[0])))
"""Parameters [d g ...] as f32[d g p]."""


class Group(NamedTuple):
  """Experts that train together: numbers `first` up to `end`, from `epoch` on."""

  first: int
  end: int
  epoch: int


class ExpertsStoppedError(PreemptedError):
  """Training was asked to stop; all chunks but the one in flight are stored."""

  def __init__(self, group: Group, epoch: int):
    super().__init__(epoch)
    self.args = (
      f"Stopped on request in epoch {epoch} of experts {group.first} to {group.end - 1}; the same "
      "command goes on from their last stored epoch.",
    )


def plan_groups(
  buffer: Buffer, num_experts: int, num_epochs: int, num_devices: int, at_once: int
) -> list[Group]:
  """What is to be trained: groups of the buffer that lack epochs, then new experts.

  Args:
    buffer: what there is.
    num_experts: wanted.
    num_epochs: of each.
    num_devices: over which a group is dealt out.
    at_once: experts that a device takes together.
  """
  groups = []
  for first in buffer.first_experts:
    last = buffer.last_chunk(first)
    if first < num_experts and last.end_epoch <= num_epochs:
      epoch = last.end_epoch - 1 if buffer.can_extend(first) else 0
      groups.append(Group(first, last.end_expert, epoch))
  lost = [span for span in buffer.lost_groups if span[0] < num_experts]
  groups += [Group(first, end, 0) for first, end in lost]
  again = {expert for first, end in lost for expert in range(first, end)}
  new = [
    expert
    for expert in range(num_experts)
    if buffer.epochs_of(expert) is None and expert not in again
  ]
  for run in np.split(new, np.flatnonzero(np.diff(new) > 1) + 1) if new else ():
    end, size = int(run[-1]) + 1, num_devices * at_once
    starts = range(int(run[0]), end, size)  # the same cuts however much of a plan is done
    groups += [Group(first, min(first + size, end), 0) for first in starts]
  return groups


def expert_epochs(groups: list[Group], num_epochs: int) -> int:
  """How many epochs of single experts a plan trains."""
  return sum((group.end - group.first) * (num_epochs - group.epoch) for group in groups)


def device_epochs(groups: list[Group], num_epochs: int, num_devices: int) -> int:
  """The same, one after another, on the busiest device: a group waits for its last expert."""
  return sum(
    math.ceil((group.end - group.first) / num_devices) * (num_epochs - group.epoch)
    for group in groups
  )


def train_experts(
  buffer: Buffer,
  program: Program,
  rng: jax.Array,
  source: Source,
  needs: ExpertNeeds,
  config: ConfigDict,
  watch: Watch = Watch(),
) -> None:
  """Trains what a buffer lacks of so many experts and epochs, chunk by chunk.

  Args:
    buffer: to append to.
    program: a training of one network on the real set, from `fitting.compile_training`.
    rng: the key that the experts' numbers are folded into.
    source: the real set.
    needs: experts that are wanted, and epochs of each.
    config: the group `experts`: its `learning_rate` at the start, and `epochs_per_chunk`, epochs of
      a group that are written together, and lost together.
    watch: progress and stop request.
  Raises:
    NonFiniteLossError: naming the experts.
    PreemptedError: what is finished is in the buffer.
    ExpertBufferError: if another process trains there, or a state is damaged.
  """
  devices = program.devices
  at_once = program.training.networks_at_once
  with buffer.locked(stop_request=watch.stop_request):
    groups = plan_groups(buffer, *needs, len(devices), at_once)
    if not groups:
      return
    rng, source = parallel.copy_to((rng, source), devices)
    total = expert_epochs(groups, needs.num_epochs)
    shown = Progress(total, 0, "expert epochs") if watch.is_shown else contextlib.nullcontext()
    with shown as bar:
      done = 0
      for group in groups:
        if not group.epoch and buffer.epochs_of(group.first) is not None:
          logging.warning("The state of experts from %d on is gone; they begin anew.", group.first)
          buffer.forget(group.first)
        run = _Run(program, rng, source, group, config.learning_rate, watch)
        chunks = run.chunks(buffer, needs.num_epochs, config.epochs_per_chunk)
        for first_epoch, parameters, losses in chunks:
          buffer.append(
            parameters,
            first_expert=group.first,
            first_epoch=first_epoch,
            state=run.leaves(),
            losses=losses,
            before=run.before,
          )
          done += (group.end - group.first) * (len(parameters) - (first_epoch == 0))
          if bar:
            bar.update(done, {"loss": float(np.mean(losses[-1]))})


class _Run:
  """One group in training."""

  def __init__(self, program, rng, source, group: Group, learning_rate: float, watch: Watch):
    self._program, self._rng, self._source = program, rng, source
    self._group, self._watch = group, watch
    count, num_devices = group.end - group.first, len(program.devices)
    size = math.ceil(count / num_devices)
    numbers = group.first + np.minimum(np.arange(num_devices * size), count - 1)
    shape = num_devices, size
    self._rows = Rows(
      seeds=np.stack([numbers, np.zeros_like(numbers)], axis=-1)
      .astype(np.uint32)
      .reshape(*shape, 2),
      indices=np.zeros(shape, np.int32),
      learning_rates=np.full(shape, learning_rate, np.float32),
    )
    self._state = program.init(rng, self._rows, source)
    self.before: np.ndarray | None = None  # the parameters before the chunk

  def chunks(self, buffer: Buffer, num_epochs: int, epochs_per_chunk: int):
    """Trains; yields (first epoch, parameters f32[epochs experts p], losses) of every chunk."""
    epoch = self._group.epoch
    if epoch:
      self._restore(buffer.read_state(self._group.first))
      last = self._parameters()
    else:
      kept = [self._parameters()]
      losses: list[Any] = [[None] * (self._group.end - self._group.first)]
    while epoch < num_epochs:
      if epoch:
        kept, losses, self.before = [], [], last
      first = epoch + 1 if epoch else 0
      end = min(num_epochs, (epoch // epochs_per_chunk + 1) * epochs_per_chunk)
      while epoch < end:
        epoch += 1
        losses.append(self._train_epoch(epoch))
        kept.append(self._parameters())
      last = kept[-1]
      yield first, np.stack(kept), losses

  def leaves(self) -> list[np.ndarray]:
    """The state's leaves [m ...], without the rows that fill up; the step first."""
    count = self._group.end - self._group.first
    return [
      leaf if leaf.ndim == 0 else leaf.reshape(-1, *leaf.shape[2:])[:count]
      for leaf in map(np.asarray, jax.tree.leaves(self._state))
    ]

  def _restore(self, leaves: list[np.ndarray]) -> None:
    own, structure = jax.tree.flatten(self._state)

    def place(leaf, like):
      if like.ndim == 0:
        return jax.device_put(leaf, like.sharding)
      missing = like.shape[0] * like.shape[1] - len(leaf)
      filled = np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)])
      return jax.device_put(filled.reshape(like.shape), like.sharding)

    placed = [place(leaf, like) for leaf, like in zip(leaves, own, strict=True)]
    self._state: TrainState = jax.tree.unflatten(structure, placed)

  def _parameters(self) -> np.ndarray:
    """f32[experts p], in the order of `ravel_pytree`."""
    variables = self._program.training.finish(self._state)
    flat = np.asarray(_flatten(variables["params"]))
    return flat.reshape(-1, flat.shape[-1])[: self._group.end - self._group.first]

  def _train_epoch(self, epoch: int) -> list[float]:
    """One epoch in calls of a few seconds; the losses of its last step."""
    left, count = self._program.training.steps_per_epoch, 1
    while left:
      if self._watch.stop_request:
        raise ExpertsStoppedError(self._group, epoch)
      started = time.monotonic()
      count = min(count, left)
      self._state, loss = self._program.advance(
        self._state, self._rng, self._rows, self._source, np.int32(count)
      )
      loss = np.asarray(loss).reshape(-1)[: self._group.end - self._group.first]
      if not np.isfinite(loss).all():
        bad = (self._group.first + np.flatnonzero(~np.isfinite(loss))).tolist()
        raise NonFiniteLossError(
          f"The training loss of experts {bad} is not finite in epoch {epoch}."
        )
      left -= count
      per_step = (time.monotonic() - started) / count
      count = max(1, min(4 * count, int(_SECONDS_PER_CALL / per_step)))
    return loss.tolist()
