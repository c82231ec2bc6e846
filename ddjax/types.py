"""The nouns of the project: what distillers, evaluators, the trainer and the files agree on.

Axis letters in shapes: b batch, n support examples, N real examples, k classes, h w c image,
m models, r replicas (whole distillations, vmapped).
"""

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Protocol

from flax import struct
from flax.core import FrozenDict
import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray
"""On a device or on the host."""
Metrics = dict[str, Array]
"""Flat names to scalar arrays; what one step reports."""

if TYPE_CHECKING:

  class Device(Protocol):
    """What we ask of a `jax.Device`, for which jaxlib ships no types."""

    id: int
    platform: str
    device_kind: str
    process_index: int

else:
  Device = jax.Device


class DatasetInfo(NamedTuple):
  """What a method may know of a data set while it is traced: shapes and counts, no arrays."""

  name: str
  image_shape: tuple[int, int, int]
  num_classes: int
  num_train: int
  max_value: int = 255
  """The stored value of a white pixel."""
  group_counts: tuple[tuple[int, ...], ...] = ()
  """Train examples of each class [k] and group [g]; () where examples have no groups."""


class DataSplit(struct.PyTreeNode):
  """A real set as it lies on the devices, replicated and never donated.

  The network sees `(images - mean) / std`: small sets stay uint8 and are standardised where they
  are drawn, whitened sets are float32 with mean 0 and std 1.

  Attributes:
    images: u8[N h w c], or f32[N h w c] already in the space the networks see.
    labels: i32[N], in [0, k).
    mask: bool[N], the members. Draws ignore it and weight each drawn example by `mask[index]`;
      initial images use members only. All true as a rule; bool[r N] where replicas differ.
    class_index: i32[k q], the rows of each class, padded to the largest class by repetition.
    class_counts: i32[k], how many entries of each row of `class_index` are real.
    mean: f32[c], in units of `images`.
    std: f32[c], in units of `images`.
    start: synthetic images to begin with f32[n h w c], as a saved set has them; None without.
    start_labels: logits f32[n k] to begin with, where experts gave them; None without. Both with a
      leading [r] where replicas differ.
    groups: i32[N], in [0, g), where examples have groups; else None.
    pixels: u8[N h w c], the images before a whitening; None where nothing is whitened, or the
      method does not ask for them (`Distiller.needs_pixels`).
    whitening: from pixels to `images`, a `ddjax.data.preprocess.Preprocessing`; None likewise.
  """

  images: Array
  labels: Array
  mask: Array
  class_index: Array
  class_counts: Array
  mean: Array
  std: Array
  start: Array | None = None
  start_labels: Array | None = None
  groups: Array | None = None
  pixels: Array | None = None
  whitening: Any = None


class Synthetic(struct.PyTreeNode):
  """What a distiller learns: images f32[n h w c], labels f32[n k], log learning rate f32[]."""

  images: Array
  labels: Array
  log_learning_rate: Array | None = None


class DistillState(struct.PyTreeNode):
  """Everything a distillation needs to go on, bit for bit, after a restart."""

  step: Array
  rng: Array
  synthetic: Any
  opt_state: Any
  extra: Any = None


class DistilledSet(struct.PyTreeNode):
  """A published set: what a network is trained on instead of the real set.

  Attributes:
    images: f32[n h w c] in the space the networks see; leading [r] where replicas are stacked.
    labels: f32[n k]; leading [r] likewise.
    info: origin, label kind and preprocessing (see `ddjax.io.distilled`); empty until published.
    learning_rate: f32[], at which networks should train on it, where that is learned; leading [r].
  """

  images: AnyArray
  labels: AnyArray
  info: Mapping[str, Any] = struct.field(pytree_node=False, default=FrozenDict())  # can be hashed
  learning_rate: AnyArray | None = None


class InitFn(Protocol):
  """(rng, data) -> state at step 0."""

  def __call__(self, rng: Array, data: DataSplit) -> DistillState: ...


class StepFn(Protocol):
  """(state, data, shard) -> (state, metrics)."""

  def __call__(
    self, state: DistillState, data: DataSplit, shard: Any
  ) -> tuple[DistillState, Metrics]: ...


class ExpertNeeds(NamedTuple):
  """Which expert trajectories a distillation reads: so many experts, each for so many epochs."""

  num_experts: int
  num_epochs: int


class Trajectories(Protocol):
  """Expert trajectories on the host, see `ddjax.experts.buffer`."""

  def read(self, expert: int, epoch: int) -> np.ndarray:
    """The parameters f32[p] of an expert after so many epochs, in the order of `ravel_pytree`."""
    ...


class Distiller(NamedTuple):
  """A method as pure functions; compiled by the trainer, not here.

  Attributes:
    init: (rng, data) -> state.
    step: (state, data, shard) -> (state, metrics). `shard` is this device's number, or its part of
      the host batch where `batch_at` is given.
    extract: (state) -> DistilledSet, what would be published at this step.
    batch_at: (host_data, seed u32[2], step) -> host batch of one step over all devices, a function
      of its arguments alone, or None where the step draws its own examples from `data`. The leading
      axis of every leaf is split over the devices; the seed is that of the distillation's key.
    experts: the expert trajectories that `batch_at` reads, as its host data; None without.
    start_epoch: after which the experts choose the images and give the labels to begin with (see
      `ddjax.stages.expert_start`); None where they do not.
    label_kind: what the published labels are: one_hot, centred, probabilities or logits.
    batch_sizes: {config field: global size} of what is split over devices, as resolved.
    num_steps: the natural length where the method has one (Label Solve: one pass), else None.
    decode_factor: cells a side of the grid that a published image is; 1 for whole images.
    image_passes: cost of a step, in passes of one image forward through `config.network`.
    forward_passes: those of them whose activations no gradient needs.
    passes_in_a_row: of a network in a step, one after another, however many images each takes.
    step_bytes: memory that a step needs besides the data and its networks, where that is known.
    needs_pixels: whether a step needs images before their whitening, see `DataSplit.pixels`.
    remarks: sentences for the log, on what the method chose itself.
    advice: what to try where a metric is not finite, a sentence.
    guarantee: of differential privacy, plain numbers and sentences, see
      `ddjax.privacy.guarantee.record`; None without one. Then metrics, too, tell of real examples
      through noise alone.
  """

  init: InitFn
  step: StepFn
  extract: Callable[[DistillState], DistilledSet]
  batch_at: Callable[[Any, np.ndarray, int], Any] | None = None
  experts: "ExpertNeeds | None" = None
  start_epoch: int | None = None
  label_kind: str = "one_hot"
  batch_sizes: Mapping[str, int] = MappingProxyType({})
  num_steps: int | None = None
  decode_factor: int = 1
  image_passes: float = 0.0
  forward_passes: float = 0.0
  passes_in_a_row: float = 1.0
  step_bytes: int = 0
  needs_pixels: bool = False
  remarks: tuple[str, ...] = ()
  advice: str = "A smaller outer.learning_rate may help."
  guarantee: Mapping[str, Any] | None = None


class Models(NamedTuple):
  """m fitted predictors of one kind.

  `predict_fn(params of one, pixels f32[b h w c] in [0, 1]) -> logits f32[b k]`.

  `params` has a leading [m] axis on every leaf. `group` says for each model which distillation
  (replica) or which subset it was fitted on, i[m]. `images_at_once` is how many images one model
  takes at best in one call, None where it does not matter; `passes_at_once` how many images times
  models a device has memory for, None where nobody counted.
  """

  predict_fn: Callable[[Any, Array], Array]
  params: Any
  group: Any
  images_at_once: int | None = None
  passes_at_once: int | None = None


class EvaluationContext(NamedTuple):
  """What an evaluator of the audit may need besides fitted models.

  Attributes:
    sets: {name: set}, leading replica axis, as the networks see them; `distilled` at least.
    run_shadows: (-> `ddjax.stages.shadows.Shadows`), the whole pipeline on random splits, or None
      where the set cannot be distilled again.
    why_not: why `run_shadows` is None.
    feature_fn: (parameters of one network, images f32[b h w c] as networks see them) -> f32[b d],
      of the first architecture that is trained; None where none is.
    keep: (name, make) -> {name: array}, what `make()` returns, or what it returned before this run
      was killed. Names of pieces differ within an evaluator.
    check_stop: raises PreemptedError where the run was asked to stop; for pieces that take long.
    leave: (name, {key: array}) keeps arrays beside the report for later comparisons between runs.
  """

  sets: Mapping[str, DistilledSet]
  run_shadows: Callable[[], Any] | None = None
  why_not: str = ""
  feature_fn: Callable[[Any, Array], Array] | None = None
  keep: Callable[[str, Callable[[], dict[str, np.ndarray]]], dict[str, np.ndarray]] = (
    lambda name, make: make()
  )
  check_stop: Callable[[], None] = lambda: None
  leave: Callable[[str, dict[str, np.ndarray]], None] = lambda name, arrays: None


class Report(NamedTuple):
  """The result of one evaluator: plain numbers, JSON-safe.

  Attributes:
    kind: name of the evaluator.
    scalars: mean over models, {key: float or None}. None was not measured; its reason stands in
      `settings["not_measured"][key]`.
    spread: standard deviation over models (ddof 1), {key: float}.
    interval: 95 % intervals, {key: [low, high]}; what they run over is in `settings`.
    per_model: {key: [float, ...]}.
    per_class: {key: [float or None, ...]}, one figure a class; None for one without test examples.
    settings: protocol, counts, what the intervals run over, and why a figure is missing.
  """

  kind: str
  scalars: dict[str, float | None]
  spread: dict[str, float]
  interval: dict[str, list[float]]
  per_model: dict[str, list[float]]
  per_class: dict[str, list[float | None]]
  settings: dict[str, Any]
