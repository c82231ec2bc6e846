"""Many devices: the only file that names `pmap`.

A state is replicated, never stacked: every device holds all of it, works on its own rows of the
batch, and agrees with the others through `mean_across`. Where whole distillations are replicated
and the devices divide them, each device runs its own ones instead, without communication.
"""

import functools
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import jax
from jax.custom_batching import custom_vmap
from jax.experimental import multihost_utils
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from ddjax.training import processes
from ddjax.types import Array, DataSplit, Device, DistillState, Metrics, StepFn

AXIS = "devices"


class Layout(NamedTuple):
  """How a run lies on the devices.

  Attributes:
    devices: the devices used, over all hosts.
    num_replicas: distillations at once; 0 where the state has no replica axis.
    split: "rows" (each device a part of every batch) or "replicas" (each whole distillations).
    shares_draws: whether all replicas draw alike after their start, so that what does not depend on
      the replica (networks, real batches, their embeddings) is computed once for all.
  """

  devices: tuple[Device, ...]
  num_replicas: int
  split: str
  shares_draws: bool = False

  @property
  def axis_name(self) -> str | None:
    """What a method averages over; None where the devices do not talk to each other."""
    return AXIS if self.split == "rows" else None

  @property
  def state_axes(self) -> DistillState:
    """Where the state of many replicas has its leading axis: `step` and `rng` may be shared."""
    own: Any = None if self.shares_draws else 0
    return DistillState(step=own, rng=own, synthetic=0, opt_state=0, extra=0)

  @property
  def mesh(self) -> Mesh:
    return Mesh(np.array(self.devices), (AXIS,))


def make_layout(num_devices: int = 0, num_replicas: int = 0, shares_draws: bool = False) -> Layout:
  """Chooses devices, and what is split over them.

  Args:
    num_devices: how many to use, equally many of each host; 0 for all.
    num_replicas: distillations at once; 0 for a state without a replica axis.
    shares_draws: see `Layout`.
  Raises:
    ValueError: if there are fewer devices than asked for, or a host would have more than another.
  """
  num_hosts = processes.count()
  devices = jax.local_devices() if num_hosts < jax.process_count() else jax.devices()
  if num_hosts < jax.process_count():  # this host's share, of what all of them were given
    num_devices = min(num_devices, len(devices))
  if num_devices > len(devices):
    raise ValueError(f"num_devices={num_devices}, but there are only {len(devices)} devices.")
  if num_devices % num_hosts:
    raise ValueError(
      f"num_devices={num_devices} does not divide over {num_hosts} hosts; each needs a part."
    )
  if num_devices:
    of_host = [[d for d in devices if d.process_index == i] for i in _hosts_of(devices)]
    devices = [device for own in of_host for device in own[: num_devices // num_hosts]]
  devices = tuple(devices)
  whole = num_replicas > 1 and len(devices) > 1 and num_replicas % len(devices) == 0
  whole &= num_hosts == 1  # states of other hosts' replicas could not be saved here
  split = "replicas" if whole else "rows"
  return Layout(devices, num_replicas, split, shares_draws and num_replicas > 0)


def _hosts_of(devices: Sequence[Device]) -> list[int]:
  """The numbers of the hosts that these devices belong to."""
  return sorted({device.process_index for device in devices})


def check_divides(layout: Layout, sizes: Mapping[str, int]) -> None:
  """Raises ValueError for a global batch size that the devices do not divide, naming both."""
  if layout.split == "replicas":
    return
  for name, size in sizes.items():
    if size % len(layout.devices):
      raise ValueError(
        f"{name}={size} does not divide over {len(layout.devices)} devices. Choose a multiple of "
        f"{len(layout.devices)}, or set num_devices."
      )


def mean_across(tree: Any, axis_name: str | None) -> Any:
  """Mean of every leaf over the devices; the identity where `axis_name` is None."""
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gather_across(tree: Any, axis_name: str | None) -> Any:
  """Every leaf of all devices, stacked on a new leading axis (of length 1 without devices)."""
  if axis_name is None:
    return jax.tree.map(lambda leaf: leaf[None], tree)
  return jax.lax.all_gather(tree, axis_name)


def num_shards(axis_name: str | None) -> int:
  """Over how many devices rows are split; 1 without devices."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


@custom_vmap
def same_for_replicas(step: Array) -> Array:
  """The step, which all replicas share, so that a branch on it stays a branch under vmap.

  Args:
    step: i32[], equal in every replica; the first one's is taken.
  Returns:
    i32[], not batched.
  """
  return step


@same_for_replicas.def_vmap
def _(axis_size, in_batched, step):
  del axis_size
  return (step[0] if in_batched[0] else step), False


def own_rows(tree: Any, axis_name: str | None) -> Any:
  """This device's equal part of the leading axis of every leaf; all of it without devices.

  Every device draws the same global batch from the same key and keeps its part: that is what makes
  one device equal to four.
  """
  if axis_name is None:
    return tree
  shards = num_shards(axis_name)

  def part(leaf):
    if leaf.shape[0] % shards:
      raise ValueError(f"{leaf.shape[0]} rows do not divide over {shards} devices.")
    size = leaf.shape[0] // shards
    return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(axis_name) * size, size)

  return jax.tree.map(part, tree)


def own_filled_rows(tree: Any, axis_name: str | None) -> Any:
  """`own_rows` of leading axes of any length: zeros fill them up to a multiple of the devices."""
  shards = num_shards(axis_name)

  def filled(leaf):
    return jnp.pad(leaf, [(0, -leaf.shape[0] % shards)] + [(0, 0)] * (leaf.ndim - 1))

  return own_rows(jax.tree.map(filled, tree), axis_name)


def sum_across(tree: Any, axis_name: str | None) -> Any:
  """Sum of every leaf over the devices; the identity where `axis_name` is None."""
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def replicate(tree: Any, layout: Layout) -> Any:
  """Places every leaf on every device, once; later calls find it there."""
  sharding = NamedSharding(layout.mesh, PartitionSpec())
  if processes.count() == 1:
    return jax.device_put(tree, sharding)

  def place(leaf):  # on several hosts only what lies on the host can be placed on all devices
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
      return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      words = jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding)
      return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    return jax.device_put(np.asarray(leaf), sharding)

  return jax.tree.map(place, tree)


def any_process(flag: bool) -> bool:
  """Whether the flag is true on any host; all hosts must ask together."""
  if processes.count() == 1:
    return bool(flag)
  return bool(multihost_utils.process_allgather(np.array(bool(flag))).any())


def of_main_process(numbers: Sequence[int]) -> list[int]:
  """What the first host says, such as what it read from its clock; all hosts must ask together."""
  if processes.count() == 1:
    return [int(number) for number in numbers]
  said = multihost_utils.broadcast_one_to_all(np.array(numbers, np.int32))
  return np.asarray(said).tolist()


def place_state(state: DistillState, layout: Layout) -> DistillState:
  """Places a state for `make_program`; replicas are dealt out where they are what is split."""
  if layout.split == "rows":
    return replicate(state, layout)
  count = len(layout.devices)

  def deal(leaf):
    dealt = leaf.reshape(count, -1, *leaf.shape[1:])
    return jax.device_put(dealt, NamedSharding(layout.mesh, PartitionSpec(AXIS)))

  return _map_replicas(deal, lambda leaf: replicate(leaf, layout), state, layout)


def collect_state(state: DistillState, layout: Layout) -> DistillState:
  """The inverse of `place_state`: leaves `[r ...]` again, or without r where there is none."""
  if layout.split == "rows":
    return state

  def join(leaf):
    return leaf.reshape(layout.num_replicas, *leaf.shape[2:])

  return _map_replicas(join, lambda leaf: leaf, state, layout)


def data_axes(data: DataSplit) -> DataSplit:
  """Where replicas have an axis of their own in the data: in the mask, if they differ in it."""
  axes: dict[str, Any] = dict.fromkeys(DataSplit.__dataclass_fields__)
  axes["mask"] = 0 if data.mask.ndim == 2 else None
  return DataSplit(**axes)


def _map_replicas(of_replicas, of_shared, state: DistillState, layout: Layout) -> DistillState:
  """One function on the leaves that replicas have of their own, another on those they share."""
  shared = ("step", "rng") if layout.shares_draws else ()
  return state.replace(
    **{
      name: jax.tree.map(of_shared if name in shared else of_replicas, getattr(state, name))
      for name in DistillState.__dataclass_fields__
    }
  )


def deal_batches(batches: Sequence[Any], layout: Layout) -> Any:
  """Host batches of one step, one for each replica (or a single one), for the devices of this host.

  Args:
    batches: trees of arrays [b ...].
    layout: devices and replicas.
  Returns:
    arrays [d b/d ...], with replicas [d r b/d ...], or [d r/d b ...] where they are what is split.
  """
  count = len(layout.devices)
  own = device_numbers(layout)

  def deal(*leaves):
    rows = np.stack(leaves)  # [r b ...]
    if layout.split == "replicas":
      return rows.reshape(count, -1, *rows.shape[1:])[own]
    dealt = rows.reshape(len(rows), count, -1, *rows.shape[2:]).swapaxes(0, 1)[own]
    return dealt if layout.num_replicas else dealt[:, 0]

  return jax.tree.map(deal, *batches)


def one_step(step: StepFn, layout: Layout, is_host_fed: bool = False) -> StepFn:
  """One step of every distillation of a layout: the method's own, or vmapped over replicas.

  Args:
    step: (state, data, shard) -> (state, metrics) of one distillation.
    layout: devices and replicas.
    is_host_fed: whether each replica has a shard of its own.
  Returns:
    the same of all, whose state has the axes `layout.state_axes` and whose metrics are f32[r].
  """
  if not layout.num_replicas:
    return step
  axes = layout.state_axes

  def of_replicas(state, data, shard):
    in_axes = axes, data_axes(data), 0 if is_host_fed else None
    mapped = jax.vmap(step, in_axes=in_axes, out_axes=(axes, 0))
    return mapped(state, data, shard)

  return of_replicas


Program = Callable[[DistillState, DataSplit, int, Any], tuple[DistillState, Metrics]]


def make_program(
  step: StepFn, layout: Layout, *, steps_per_call: int, is_host_fed: bool = False
) -> Program:
  """Compiles up to `steps_per_call` steps of a method into one call on all devices.

  Args:
    step: the method's step, for one distillation.
    layout: devices and replicas.
    steps_per_call: the most steps in one call. With 1 there is no loop in the program.
    is_host_fed: whether `shard` holds host batches `[steps_per_call, ...]` of `deal_batches`.
  Returns:
    (state, data, count, shard) -> (state, metrics f32[steps_per_call (r)]), of which the first
    `count` rows are filled. The state is donated. Compiled once, whatever `count`.
  """
  step_fn = one_step(step, layout, is_host_fed)
  by_replica = layout.split == "replicas"

  def run(state, data, count, shard):
    if by_replica and data.mask.ndim == 2:  # this device's replicas only
      own = data.mask.reshape(len(layout.devices), -1, data.mask.shape[-1])
      data = data.replace(mask=own[jax.lax.axis_index(AXIS)])

    def part(i):
      return jax.tree.map(lambda leaf: leaf[i], shard) if is_host_fed else shard

    if steps_per_call == 1:
      state, metrics = step_fn(state, data, part(0))
      return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    def body(i, carry):
      state, buffer = carry
      state, metrics = step_fn(state, data, part(i))
      return state, jax.tree.map(lambda rows, row: rows.at[i].set(row), buffer, metrics)

    shapes = jax.eval_shape(step_fn, state, data, part(0))[1]
    buffer = jax.tree.map(lambda leaf: jnp.zeros((steps_per_call, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, count, body, (state, buffer))

  state_axis = layout.state_axes if by_replica else None
  shard_axis = 1 if is_host_fed else 0
  mapped = jax.pmap(
    run,
    axis_name=AXIS,
    devices=layout.devices,
    in_axes=(state_axis, None, None, shard_axis),
    out_axes=(state_axis, 1 if by_replica else None),
    donate_argnums=(0,),
  )

  def program(state, data, count, shard):
    state, metrics = mapped(state, data, count, shard)
    if by_replica:
      metrics = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0], -1), metrics)
    return state, metrics

  return program


def device_numbers(layout: Layout) -> np.ndarray:
  """This host's device numbers i32[local]: the `shard` of a step that draws its own batch."""
  process = jax.process_index()
  numbers = [i for i, device in enumerate(layout.devices) if device.process_index == process]
  return np.array(numbers, np.int32)


def local_devices(layout: Layout) -> tuple[Device, ...]:
  """The devices of the layout that are this host's."""
  return tuple(d for d in layout.devices if d.process_index == jax.process_index())


@functools.cache
def is_main_process() -> bool:
  """Whether this process writes the files."""
  return jax.process_index() == 0


def deal_out(fn: Callable[..., Any], devices: tuple[Device, ...], in_axes, out_axes) -> Callable:
  """Independent work, one part a device: `pmap` without communication.

  Args:
    fn: of the part of one device.
    devices: of this host.
    in_axes: for each argument, a tree of 0 (its leading axis is dealt out, one entry a device) and
      None (every device gets it; place it with `copy_to` first).
    out_axes: likewise; None is for what is equal on all devices.
  """
  return jax.pmap(fn, devices=devices, in_axes=in_axes, out_axes=out_axes)


def copy_to(tree: Any, devices: tuple[Device, ...]) -> Any:
  """Every leaf on each of these devices of this host."""
  return jax.device_put(tree, NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec()))
