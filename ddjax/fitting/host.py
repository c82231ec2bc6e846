"""The host's side of training networks: calls of a few seconds, progress, files to resume from.

A fit is known by its content. What it has finished, and the state of what it is at, lie in one file
of the folder given, so that the same fit, started again, goes on from there.
"""

import contextlib
import json
import math
from pathlib import Path
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import numpy as np

from ddjax.backend import traits
from ddjax.files import atomic
from ddjax.fitting.train import Rows, Source, Training, TrainState
from ddjax.training import parallel
from ddjax.training.progress import Progress
from ddjax.training.trainer import NonFiniteLossError, PreemptedError
from ddjax.tuning import MOST_FILLED
from ddjax.types import Device

_SECONDS_PER_CALL = 3.0
_SECONDS_PER_SAVE = 60.0


class Watch(NamedTuple):
  """What a fit tells the outside, and hears from it.

  Attributes:
    folder: where unfinished fits are kept; None keeps nothing.
    stop_request: read as a bool between calls; true saves and raises PreemptedError.
    is_shown: whether to show progress.
  """

  folder: Path | None = None
  stop_request: Any = False
  is_shown: bool = False


class Program(NamedTuple):
  """A training compiled for these devices; reused for every fit of equal shapes.

  Attributes:
    training: what is compiled.
    devices: of this host.
    init: (rng, rows [d g ...], source) -> state [d g ...].
    advance: (state, rng, rows, source, count) -> (state, loss).
  """

  training: Training
  devices: tuple[Device, ...]
  init: Any
  advance: Any


def compile_training(training: Training, devices: tuple[Device, ...] | None = None) -> Program:
  """Prepares a training for the devices of this host, all of them by default."""
  devices = tuple(devices or jax.local_devices())
  axes: dict[str, Any] = dict(step=None, variables=0, opt_state=0, average=0, order=0)
  state_axes = TrainState(**axes)
  return Program(
    training,
    devices,
    parallel.deal_out(training.init, devices, (None, 0, None), state_axes),
    parallel.deal_out(
      training.advance, devices, (state_axes, None, 0, None, None), (state_axes, 0)
    ),
  )


def group_size(program: Program, num_networks: int, like: int | None = None) -> int:
  """How many networks of each device one call takes.

  Args:
    program: from `compile_training`.
    num_networks: of all calls.
    like: the size of an earlier call; it is kept where filling up to it costs less than compiling
      another program: always on accelerators, elsewhere where a quarter or less is filling.
  """
  devices = len(program.devices)
  if like is not None:
    filled = math.ceil(num_networks / (devices * like)) * devices * like
    if not traits().is_shared_by_threads or filled <= MOST_FILLED * num_networks:
      return like
  num_groups = math.ceil(num_networks / (devices * program.training.networks_at_once))
  return math.ceil(num_networks / (num_groups * devices))


def fit_networks(
  program: Program,
  rng: jax.Array,
  rows: Rows,
  source: Source,
  *,
  key: str,
  label: str,
  watch: Watch = Watch(),
  size: int | None = None,
) -> Any:
  """Trains one network for each row.

  Args:
    program: from `compile_training`.
    rng: the key that the rows' seeds are folded into.
    rows: of m networks, on the host.
    source: what they learn from.
    key: determines the content; begins the name of the file to resume from.
    label: a few words for the progress line.
    watch: progress, stop request, folder.
    size: networks of each device in one call; by default `group_size`.
  Returns:
    Variables to test, NumPy arrays with a leading [m].
  Raises:
    NonFiniteLossError: naming the step and the networks whose loss is not finite.
    PreemptedError: after the state was saved.
  """
  training, devices = program.training, program.devices
  num_networks = len(rows.indices)
  size = size or group_size(program, num_networks)
  num_groups = math.ceil(num_networks / (len(devices) * size))
  places = np.minimum(np.arange(num_groups * len(devices) * size), num_networks - 1)
  places = places.reshape(num_groups, len(devices), size)
  rng, source = parallel.copy_to((rng, source), devices)
  layout = f"{len(devices)}x{size}"  # a file is of use to the same grouping only
  path = watch.folder / f"{key}-{layout}.npz" if watch.folder else None
  files = _Resume(path)
  total = num_groups * training.num_steps
  start = files.num_done * training.num_steps + files.step
  description = f"{num_networks} {label}" if num_networks > 1 else label

  def part(group):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[places[group]], rows)

  shown = Progress(total, start, description) if watch.is_shown else contextlib.nullcontext()
  with shown as bar:
    for group in range(files.num_done, num_groups):
      own = part(group)
      state = program.init(rng, own, source)
      if files.state is not None:
        state = _like(state, files.state)
        files.state = None
      together = _Group(group, places[group], (rng, own, source))
      state = _run(program, state, together, files, watch, bar)
      variables = jax.tree.map(np.asarray, training.finish(state))
      files.finished.append(jax.tree.leaves(variables))
      files.save(None)
  shapes = jax.eval_shape(lambda *args: training.finish(program.init(*args)), rng, part(0), source)
  merged = [_merge(leaves, num_networks) for leaves in zip(*files.finished, strict=True)]
  return jax.tree.unflatten(jax.tree.structure(shapes), merged)


class _Group(NamedTuple):
  """Networks that are trained in one call: the group's number, the network of each place [d g] of
  it, and what a program takes (key, rows, source)."""

  number: int
  places: np.ndarray
  args: tuple[jax.Array, Rows, Source]


def _run(program: Program, state, group: _Group, files: "_Resume", watch: Watch, bar):
  """One group from its own step to the end, in calls of a few seconds."""
  num_steps = program.training.num_steps
  step, count = int(state.step), 1
  saved = time.monotonic()
  while step < num_steps:
    if watch.stop_request:
      files.save(state)
      raise PreemptedError(step)
    started = time.monotonic()
    state, loss = program.advance(state, *group.args, np.int32(count))
    loss = np.asarray(loss)
    now = time.monotonic()
    step += count
    if not np.isfinite(loss).all():
      bad = sorted({int(place) for place in group.places[~np.isfinite(loss)]})
      raise NonFiniteLossError(f"The training loss of networks {bad} is not finite at step {step}.")
    if bar:
      bar.update(group.number * num_steps + step, {"loss": float(loss.mean())})
    if step < num_steps and now - saved > _SECONDS_PER_SAVE:
      files.save(state)
      saved = now
    per_step = (now - started) / count
    count = max(1, min(num_steps - step, 4 * count, int(_SECONDS_PER_CALL / per_step)))
  return state


class _Resume:
  """The file of an unfinished fit: leaves of finished groups, and of the state of the next."""

  def __init__(self, path: Path | None):
    self._path = path
    self.finished: list[list[np.ndarray]] = []
    self.state: list[np.ndarray] | None = None
    if path is None or not path.exists():
      return
    try:
      with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        counts = json.loads(str(file["counts"]))
        self.finished = [
          [file[f"finished/{group}/{leaf}"] for leaf in range(counts["leaves"])]
          for group in range(counts["finished"])
        ]
        if counts["state"]:
          self.state = [file[f"state/{leaf}"] for leaf in range(counts["state"])]
      logging.info("Going on with the networks in %s.", path)
    except Exception as error:  # damage can surface as any error of zip, NumPy or the disk
      logging.warning("%s is damaged (%s); its networks are trained again.", path, error)
      self.finished, self.state = [], None

  @property
  def num_done(self) -> int:
    return len(self.finished)

  @property
  def step(self) -> int:
    """Steps done of the group that was interrupted."""
    return 0 if self.state is None else int(self.state[0])

  def save(self, state: TrainState | None) -> None:
    """Replaces the file; without a state between groups."""
    if self._path is None:
      return
    leaves = [] if state is None else [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    counts = {
      "finished": len(self.finished),
      "leaves": len(self.finished[0]) if self.finished else 0,
      "state": len(leaves),
    }
    arrays = {
      f"finished/{group}/{number}": leaf
      for group, group_leaves in enumerate(self.finished)
      for number, leaf in enumerate(group_leaves)
    }
    arrays |= {f"state/{number}": leaf for number, leaf in enumerate(leaves)}
    arrays["counts"] = np.array(json.dumps(counts))
    atomic.write_bytes(self._path, atomic.npz_bytes(arrays))


def _like(state: TrainState, leaves: list[np.ndarray]) -> TrainState:
  """The saved leaves in the form, and in the places, of a fresh state."""
  own, structure = jax.tree.flatten(state)
  if [leaf.shape for leaf in own] != [leaf.shape for leaf in leaves]:
    raise ValueError("A saved fit has another shape than this one, though its key is the same.")
  placed = [jax.device_put(leaf, like.sharding) for leaf, like in zip(leaves, own, strict=True)]
  return jax.tree.unflatten(structure, placed)


def _merge(groups: tuple[np.ndarray, ...], num_networks: int) -> np.ndarray:
  """Leaves [d g ...] of all groups as one [m ...], without the rows that filled up."""
  rows = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in groups]
  return np.concatenate(rows)[:num_networks]
