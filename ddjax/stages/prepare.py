"""First stage: config and data become a distiller on devices, checked before anything is spent."""

import contextlib
import hashlib
import pathlib
from typing import Any, NamedTuple

from absl import logging
import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax import backend, registry
from ddjax.config.check import check_numbers
from ddjax.config.precision import precision_of
from ddjax.data.load import RealData, load_real_data, make_data_split
from ddjax.files.plain_arrays import bytes_of
from ddjax.io.distilled import load_distilled
from ddjax.privacy.guarantee import check_config
from ddjax.random_streams import replica_streams, stream
from ddjax.training import parallel, trainer
from ddjax.types import AnyArray, Array, DataSplit, DistilledSet, Distiller, DistillState
from ddjax.wording import look_up


class Job(NamedTuple):
  """Everything that the later stages of one run share.

  Attributes:
    config: resolved.
    workdir: the run folder.
    real: the real set on the host.
    data: the train split, replicated on the devices.
    layout: devices and replicas.
    distiller: the method.
    num_steps: the length of the distillation.
    host_data: what the distiller's `batch_at` reads, one for each distillation; see
      `ddjax.stages.experts`.
    initial_state: (-> state at step 0), a pure function of config and data.
  """

  config: ConfigDict
  workdir: pathlib.Path
  real: RealData
  data: DataSplit
  layout: parallel.Layout
  distiller: Distiller
  num_steps: int
  host_data: tuple[Any, ...] = ()

  def initial_state(self) -> DistillState:
    return trainer.initialise(self.distiller, self.data, self.rngs(), self.layout)

  def rngs(self) -> Array:
    """The key of the distillation, or keys[r] where there are replicas."""
    rngs = replica_streams(self.config.seed, self.config.num_replicas, "distill")
    return rngs if self.layout.num_replicas else rngs[0]


def prepare(config: ConfigDict, workdir: pathlib.Path, real: RealData) -> Job:
  """Builds the distiller and places the data.

  Raises:
    ValueError: for impossible settings, naming them.
  """
  make = look_up(registry.DISTILLERS, config.method, "method")
  if config.num_replicas < 1:
    raise ValueError(f"num_replicas={config.num_replicas} must be at least 1.")
  check_ipc(config.synthetic.ipc, real, _examples_to_begin_with(config))
  for field in ("steps_per_call", "checkpoint_every_steps", "log_every_steps", "keep_checkpoints"):
    if config.trainer[field] < 1:
      raise ValueError(f"trainer.{field}={config.trainer[field]} must be at least 1.")
  minutes = config.trainer.checkpoint_every_minutes
  if not minutes > 0:
    raise ValueError(f"trainer.checkpoint_every_minutes={minutes} must be positive.")
  num_replicas = config.num_replicas if config.num_replicas > 1 else 0
  layout = parallel.make_layout(config.num_devices, num_replicas, config.shares_draws)
  distiller = make(config, real.info, axis_name=layout.axis_name)
  for warning in (distiller.guarantee or {}).get("warnings", ()):
    logging.warning("%s", warning)
  parallel.check_divides(layout, distiller.batch_sizes)
  mask = draw_member_masks(config, real)
  start = _saved_start(config, real)
  split = make_data_split(real, mask, start, with_pixels=distiller.needs_pixels)
  data = parallel.replicate(split, layout)
  num_steps = distiller.num_steps or config.outer.num_steps
  if num_steps < 1:
    raise ValueError(f"outer.num_steps={num_steps} must be at least 1.")
  return Job(config, workdir, real, data, layout, distiller, num_steps)


def draw_member_masks(config: ConfigDict, real: RealData) -> np.ndarray | None:
  """The examples that are distilled: bool[N], or bool[r N] with a part of its own for each replica.

  `member_fraction` of each class, drawn at random; None for all.

  Raises:
    ValueError: for a fraction outside (0, 1], or one that leaves a class fewer examples than the
      images begin with.
  """
  fraction = config.member_fraction
  if not 0 < fraction <= 1:
    raise ValueError(f"member_fraction={fraction} must lie in (0, 1].")
  if fraction == 1:
    return None
  labels, needed = real.train_labels, _examples_to_begin_with(config)
  masks = np.zeros((config.num_replicas, len(labels)), bool)
  for replica, mask in enumerate(masks):
    words = jax.random.key_data(stream(config.seed + replica, "members"))
    rng = np.random.default_rng(np.asarray(words).tolist())
    for label in range(real.info.num_classes):
      rows = np.flatnonzero(labels == label)
      count = round(fraction * len(rows))
      if count < needed:
        raise ValueError(
          f"member_fraction={fraction} leaves class {real.class_names[label]!r} {count} examples, "
          f"fewer than the {needed} that ipc={config.synthetic.ipc} needs."
        )
      mask[rng.choice(rows, count, replace=False)] = True
  return masks if config.num_replicas > 1 else masks[0]


def member_hash(mask: AnyArray, replica: int) -> str | None:
  """SHA-256 of the rows that a replica distils; None where they are all."""
  own = np.asarray(mask)[replica] if np.ndim(mask) == 2 else np.asarray(mask)
  return (
    None if own.all() else hashlib.sha256(bytes_of(np.flatnonzero(own).astype("<i8"))).hexdigest()
  )


def _saved_start(config: ConfigDict, real: RealData) -> np.ndarray | None:
  """The images of the saved set that a distillation begins with, class by class, or None.

  Raises:
    ValueError: where it is of another shape, ipc or preprocessing than this run's.
  """
  path = config.synthetic.get("init_from")
  if not path:
    return None
  saved, ipc, info = load_distilled(path), config.synthetic.ipc, real.info
  classes = saved.labels.argmax(axis=1)
  counts = np.bincount(classes, minlength=info.num_classes)
  factors = saved.info.get("decode_factor") or 1, config.synthetic.get("factor", 1)
  if factors[0] != factors[1]:
    raise ValueError(f"{path} has decode factor {factors[0]}, and this run {factors[1]}.")
  if saved.info["label_kind"] != "one_hot":
    raise ValueError(
      f"{path} has labels of kind {saved.info['label_kind']!r}; a distillation begins with one_hot."
    )
  if saved.images.shape[1:] != tuple(info.image_shape) or len(counts) != info.num_classes:
    raise ValueError(
      f"{path} holds images {list(saved.images.shape[1:])} of {saved.labels.shape[1]} classes; "
      f"{info.name} has {list(info.image_shape)} and {info.num_classes}."
    )
  if (counts != ipc).any():
    raise ValueError(
      f"{path} holds {counts.tolist()} images of the classes, not ipc={ipc} of each."
    )
  if not saved.info["preprocessing"].same_as(real.preprocessing):
    raise ValueError(f"{path} was made under another preprocessing than this run's.")
  return np.asarray(saved.images)[np.argsort(classes, kind="stable")]


def prepare_saved(
  config: ConfigDict, workdir: pathlib.Path, real: RealData, distilled: DistilledSet
) -> Job:
  """The job of evaluating a set from disk: no method, only the kind of its labels.

  Test images and random subsets go through the set's own preprocessing, whatever the config's.

  Args:
    config: of the evaluation.
    workdir: the run folder.
    real: the real set.
    distilled: from `ddjax.io.distilled.load_distilled`.
  Raises:
    ValueError: if the set does not suit the real set's image shape or classes, naming both.
  """
  info = real.info
  shape, num_labels = tuple(distilled.images.shape[1:]), distilled.labels.shape[1]
  if shape != tuple(info.image_shape):
    raise ValueError(f"The set's images are {list(shape)}, but {info.name}'s {info.image_shape}.")
  if num_labels != info.num_classes:
    raise ValueError(
      f"The set's labels are {num_labels} wide; {info.name} has {info.num_classes} classes."
    )
  ipc = distilled.info.get("ipc")
  if ipc is None or len(distilled.labels) != ipc * info.num_classes:  # not equally many of each
    ipc = int(np.bincount(distilled.labels.argmax(axis=1)).max())
  check_ipc(ipc, real)
  if (doubt := doubt_of_origin(distilled, real)) is not None:
    logging.warning("%s", doubt)
  config = config.copy_and_resolve_references().unlock()
  config.synthetic = ConfigDict(dict(ipc=ipc))
  real = real._replace(preprocessing=distilled.info["preprocessing"])
  return prepare_real(config, workdir, real, distilled.info["label_kind"])


def doubt_of_origin(distilled: DistilledSet, real: RealData) -> str | None:
  """A sentence where a set says that it was made from other images than the real set's."""
  made_of = distilled.info.get("real_data_hash")
  if made_of in (None, real.fingerprint):
    return None
  return (
    f"The set was distilled from other images than this run's train split (sha256 {made_of[:12]}, "
    f"not {real.fingerprint[:12]}): some of its real examples may be among the test images."
  )


def prepare_real(
  config: ConfigDict, workdir: pathlib.Path, real: RealData, label_kind: str = "one_hot"
) -> Job:
  """The job of evaluating without a distillation: no method, only a kind of labels."""
  layout = parallel.make_layout(config.num_devices)
  data = parallel.replicate(make_data_split(real), layout)
  nothing: Any = None
  distiller = Distiller(nothing, nothing, nothing, label_kind=label_kind)
  return Job(config, workdir, real, data, layout, distiller, 0)


def load(config: ConfigDict) -> RealData:
  """The real set of a config, whose settings must not break a guarantee that it gives."""
  check_config(config)
  return load_real_data(config.data)


def data_fingerprint(real: RealData, start: Array | None = None) -> str:
  """Of all that a run computes with: train, validation and test images and labels, saved start."""
  digest = hashlib.sha256(real.fingerprint.encode())
  if start is not None:
    digest.update(bytes_of(start))
  for array in (
    real.validation_images, real.validation_labels, real.test_images, real.test_labels
  ):  # fmt: skip
    digest.update(bytes_of(array))
  return digest.hexdigest()


@contextlib.contextmanager
def numerics(config: ConfigDict):
  """Checks a config's numbers, and computes in 64-bit ones where it asks for them.

  Raises:
    ValueError: for a number that no field can have, an unknown precision, or bfloat16 where no
      network distils.
  """
  check_numbers(config)
  has_networks = "network" in config or "coreset" in config
  if precision_of(config).networks != "float32" and not has_networks:
    raise ValueError(
      f"precision={config.precision!r} is of the networks that distil, and {config.method} has "
      "none. A network that evaluates takes it in its name: "
      "accuracy_evaluation.networks=convnet(dtype=bfloat16)."
    )
  with jax.enable_x64(precision_of(config).kernels == "float64"):
    yield


def _examples_to_begin_with(config: ConfigDict) -> int:
  """Of each class: ipc, or as many times that as grids of real images have cells."""
  chosen = config.synthetic
  return chosen.ipc * (chosen.get("factor", 1) ** 2 if chosen.get("init") == "grid" else 1)


def check_ipc(ipc: int, real: RealData, needed: int = 0) -> None:
  """Raises ValueError where a class has fewer than `ipc` or `needed` examples, naming the class."""
  counts = np.bincount(real.train_labels, minlength=real.info.num_classes)
  smallest = int(np.argmin(counts))
  if ipc > counts[smallest]:
    raise ValueError(
      f"ipc={ipc} is larger than class {real.class_names[smallest]!r} of {real.info.name}, which "
      f"has {counts[smallest]} train examples."
    )
  if needed > counts[smallest]:
    raise ValueError(
      f"ipc={ipc} begins with {needed} examples of each class, more than the {counts[smallest]} of "
      f"class {real.class_names[smallest]!r} of {real.info.name}."
    )


def hardware(layout: parallel.Layout) -> dict[str, object]:
  """What the run computes on."""
  return {**backend.hardware(), "num_devices": len(layout.devices)}
