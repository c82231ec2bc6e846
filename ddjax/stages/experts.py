"""Before the distillation: the expert trajectories that a method reads, found or trained.

A buffer is found by what it is of (data, members, preprocessing, network, training, seed), in the
cache folder unless `experts.path` names another. What it lacks is trained first, and only that.
"""

import functools
import json
import os
from pathlib import Path
import re
from typing import Any, Mapping, NamedTuple

from absl import logging
import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.augment import siamese
from ddjax.data.cache import cache_dir
from ddjax.data.load import RealData, make_data_split
from ddjax.distillers.adversaries import adversary_of
from ddjax.distillers.settings import build_network
from ddjax.experts.buffer import Buffer, content_key
from ddjax.experts.files import ExpertBufferError
from ddjax.experts.train import device_epochs, expert_epochs, plan_groups, train_experts
from ddjax.fitting import host, protocols, train
from ddjax.fitting.host import Watch
from ddjax.random_streams import stream
from ddjax.stages import stage_cost
from ddjax.stages.prepare import Job, member_hash
from ddjax.training import parallel, processes
from ddjax.types import Device, ExpertNeeds
from ddjax.wording import duration

FACTS_NAME = "experts.json"
"""In a run folder: which experts the distillation followed, as `facts` gives it."""
_LOSS = "cross_entropy"
_FURTHER = (
  "drop_epochs", "drop_factor", "augmentation_mode", "mix_probability",
  "sharpness_alpha", "sharpness_is_adaptive",
)  # fmt: skip
"""Fields of the group `experts` that not every method has."""


def protocol_of(config: ConfigDict) -> protocols.Protocol:
  """How experts are trained.

  Raises:
    ValueError: for an impossible setting of the group `experts`, naming it.
  """
  experts = config.experts
  for name in ("num_experts", "learning_rate", "batch_size", "epochs_per_chunk"):
    if not experts[name] > 0:
      raise ValueError(f"experts.{name}={experts[name]} must be positive.")
  for name in ("num_epochs", "at_once", "momentum", "weight_decay", "sharpness_radius"):
    if experts[name] < 0:
      raise ValueError(f"experts.{name}={experts[name]} must not be negative.")
  protocol = protocols.Protocol(
    num_epochs=1,  # no schedule depends on the length
    batch_size=experts.batch_size,
    learning_rate=experts.learning_rate,
    momentum=experts.momentum,
    weight_decay=experts.weight_decay,
    augmentation="" if config.augmentation == "none" else config.augmentation,
    sharpness_radius=experts.sharpness_radius,
  )
  return protocol._replace(**_further_fields(experts))


def _further_fields(experts: ConfigDict) -> dict[str, Any]:
  """Fields of the protocol that not every group `experts` has.

  Raises:
    ValueError: for an impossible one, naming it.
  """
  fields: dict[str, Any] = {}
  if "drop_epochs" in experts:
    epochs, factor = tuple(experts.drop_epochs), experts.drop_factor
    if not all(a < b for a, b in zip((0, *epochs), epochs)):
      raise ValueError(f"experts.drop_epochs={epochs} must be above 0 and ascend.")
    if not 0 < factor < 1:
      raise ValueError(f"experts.drop_factor={factor} must lie between 0 and 1.")
    drops = tuple((float(epoch), factor) for epoch in epochs)  # in shares of the one epoch
    fields |= dict(drops=drops, restarts_momentum=False)
  if "augmentation_mode" in experts:
    siamese.parse("", experts.augmentation_mode)
    fields["augmentation_mode"] = experts.augmentation_mode
  if "mix_probability" in experts:
    probability = experts.mix_probability
    if not 0 <= probability <= 1:
      raise ValueError(f"experts.mix_probability={probability} must lie in [0, 1].")
    fields |= dict(mix="cutmix" if probability else "", mix_probability=probability)
  if "sharpness_alpha" in experts:
    alpha = experts.sharpness_alpha
    if not 0 <= alpha <= 1:
      raise ValueError(f"experts.sharpness_alpha={alpha} must lie in [0, 1].")
    fields |= dict(sharpness_alpha=alpha, sharpness_is_adaptive=experts.sharpness_is_adaptive)
  return fields


def _of_adversary(config: ConfigDict) -> dict[str, Any]:
  """The same by the names of the config; {} without."""
  adversary = adversary_of(config)
  if adversary is None:
    return {}
  return dict(adversarial_epsilon=adversary.epsilon, adversarial_steps=adversary.num_steps)


def describe(config: ConfigDict) -> Mapping[str, object]:
  """How experts are trained, for a report; JSON-safe."""
  described = dict(protocols.describe(protocol_of(config))) | _of_adversary(config)
  return described | {"num_epochs": config.experts.num_epochs or "as many as are needed"}


def identity(config: ConfigDict, real: RealData, members: np.ndarray | None) -> dict[str, Any]:
  """What the buffer of a config is of: every field that its trajectories depend on.

  Args:
    config: with the groups `experts` and `network`, and `augmentation`.
    real: the real set.
    members: bool[N], the examples that experts see; None for all.
  """
  experts = config.experts
  return {
    "dataset": real.info.name,
    "real_data_hash": real.fingerprint,
    "num_classes": real.info.num_classes,
    "members": None if members is None else member_hash(members, 0),
    "preprocessing": real.preprocessing.kind,
    "preprocessing_digest": real.preprocessing.digest(),
    "network": config.network.name,
    "width": config.network.width,
    "augmentation": config.augmentation,
    "learning_rate": experts.learning_rate,
    "momentum": experts.momentum,
    "weight_decay": experts.weight_decay,
    "batch_size": experts.batch_size,
    "sharpness_radius": experts.sharpness_radius,
    "seed": experts.seed,
    "dtype": experts.dtype,
    **{name: experts[name] for name in _FURTHER if name in experts},
    **_of_adversary(config),
  } | ({} if config.precision == "float32" else {"precision": config.precision})  # other draws


def open_buffer(config: ConfigDict, real: RealData, members: np.ndarray | None = None) -> Buffer:
  """The buffer of a config, as far as it exists; see `identity`.

  Raises:
    ExpertBufferError: for a damaged index, or `experts.path` with experts of something else.
  """
  known = identity(config, real, members)
  folder = config.experts.path
  if folder and members is not None:
    folder = Path(folder) / f"members-{known['members'][:12]}"
  words = re.sub(r"[^a-z0-9]+", "-", f"{real.info.name}-{config.network.name}".lower()).strip("-")
  name = f"{words}-{content_key(known)}"
  return Buffer(folder or cache_dir() / "experts" / name, known)


def ensure(
  config: ConfigDict,
  real: RealData,
  needs: ExpertNeeds,
  layout: parallel.Layout,
  watch: Watch,
  members: np.ndarray | None = None,
) -> Buffer:
  """The buffer of a config with all that is needed: what it lacks is trained, and all is verified.

  Raises:
    ExpertBufferError: for a file that is truncated, altered or of something else, naming it.
    NonFiniteLossError, PreemptedError: see `ddjax.experts.train`.
  """
  buffer = open_buffer(config, real, members)
  examples = _Examples(real, members)
  (missing,) = parallel.of_main_process([buffer.lacks(*needs)])
  if missing:
    processes.on_main_process(lambda: _train(buffer, config, examples, needs, layout, watch))
    buffer = open_buffer(config, real, members)
  if buffer.lacks(*needs):
    raise ExpertBufferError(f"{buffer.folder} is not whole here; hosts must share the folder.")
  image = jax.ShapeDtypeStruct((1, *real.info.image_shape), np.float32)
  params = jax.eval_shape(build_network(config, real.info).init, jax.random.key(0), image)["params"]
  buffer.verify(*needs, sum(leaf.size for leaf in jax.tree.leaves(params)))
  return buffer


class _Examples(NamedTuple):
  """What experts learn from: the members of a real set, all of it for None."""

  real: RealData
  members: np.ndarray | None


def _train(
  buffer: Buffer,
  config: ConfigDict,
  examples: _Examples,
  needs: ExpertNeeds,
  layout: parallel.Layout,
  watch: Watch,
) -> None:
  """Trains what a buffer lacks, after a word on how long that will take."""
  real, members = examples
  protocol, adversary = protocol_of(config), adversary_of(config)
  num_examples = real.info.num_train if members is None else int(members.sum())
  total, on_device = _epochs_to_train(buffer, needs, layout)
  others = total - buffer.lacks(*needs)
  logging.info(
    "Training experts in %s: %d epochs in all, for %d experts of %d epochs%s, about %s.",
    buffer.folder,
    total,
    *needs,
    f" ({others} of them of experts that began together with these, or again)" if others else "",
    duration(_cost(config, real, total * num_examples, on_device * num_examples)[1]),
  )
  recipe = _Recipe(
    network=build_network(config, real.info),
    protocol=protocol,
    num_examples=num_examples,
    image_shape=real.info.image_shape,
    networks_at_once=config.experts.at_once or None,
    adversary=adversary,
  )
  train_experts(
    buffer,
    _compile(recipe, parallel.local_devices(layout)),
    stream(config.experts.seed, "experts"),
    real_source(real, members, with_pixels=adversary is not None),
    needs,
    config.experts,
    watch,
  )


class _Recipe(NamedTuple):
  """What the program that trains experts depends on."""

  network: nn.Module
  protocol: protocols.Protocol
  num_examples: int
  image_shape: tuple[int, int, int]
  networks_at_once: int | None
  adversary: train.Adversary | None


@functools.lru_cache(maxsize=8)
def _compile(recipe: _Recipe, devices: tuple[Device, ...]) -> host.Program:
  """The program that trains experts; splits of equal size share it."""
  training = train.make_training(loss=_LOSS, **recipe._asdict())
  return host.compile_training(training, devices)


def check(job: Job) -> None:
  """Refuses impossible settings, and buffers of something else, before anything is written.

  Raises:
    ValueError, ExpertBufferError: naming the field or the file.
  """
  if job.distiller.experts is not None:
    protocol_of(job.config)
    adversary_of(job.config)
    for mask in _masks(job):
      open_buffer(job.config, job.real, mask)


def attach(job: Job, watch: Watch) -> Job:
  """The job with the expert trajectories that its method reads, one buffer for each distillation.

  Distillations of the same members share one.
  """
  if job.distiller.experts is None:
    return job
  buffers = tuple(
    ensure(job.config, job.real, job.distiller.experts, job.layout, watch, mask)
    for mask in _masks(job)
  )
  return job._replace(host_data=buffers)


def facts(job: Job) -> dict[str, Any]:
  """What a report says of the experts: how they were trained, where they lie, how they round."""
  buffers = job.host_data
  first, needs = buffers[0], job.distiller.experts
  assert needs is not None
  return {
    "num_experts": needs.num_experts,
    "num_epochs": needs.num_epochs,
    "buffers": [str(buffer.folder) for buffer in buffers],
    "identity": first.identity,
    "training": describe(job.config),
    "rounding": max(buffer.rounding for buffer in buffers),
    "rounding_of_change": max(buffer.rounding_of_change for buffer in buffers),
  }


def known_facts(*folders: str | os.PathLike | None) -> dict[str, Any] | None:
  """The facts that the first of these run folders has on record; None where none has.

  A damaged file has none.
  """
  for folder in filter(None, folders):
    for name in (FACTS_NAME, "report.json"):
      try:
        found = json.loads((Path(folder) / name).read_text())
        found = found if name == FACTS_NAME else found["run"].get("experts")
      except (OSError, AttributeError, KeyError, TypeError, ValueError):
        continue
      if found:
        return found
  return None


def missing_cost(job: Job) -> np.ndarray | None:
  """[flops, seconds, 0] of the experts that a run has to train first; None where there are none."""
  needs = job.distiller.experts
  if needs is None:
    return None
  passes = np.zeros(2)
  for mask in _masks(job):
    num_examples = job.real.info.num_train if mask is None else int(mask.sum())
    buffer = open_buffer(job.config, job.real, mask)
    passes += np.array(_epochs_to_train(buffer, needs, job.layout)) * num_examples
  return _cost(job.config, job.real, *passes) if passes.any() else None


def _epochs_to_train(
  buffer: Buffer, needs: ExpertNeeds, layout: parallel.Layout
) -> tuple[int, int]:
  """Epochs of single experts that a buffer lacks: of all, and of the busiest device.

  More than are needed where experts that began together go on together.
  """
  num_devices = len(parallel.local_devices(layout))
  groups = plan_groups(buffer, *needs, num_devices, 1)  # how new experts are cut changes no sum
  return expert_epochs(groups, needs.num_epochs), device_epochs(
    groups, needs.num_epochs, num_devices
  )


def _cost(config: ConfigDict, real: RealData, passes: float, on_device: float) -> np.ndarray:
  """[flops, seconds, 0] of examples seen in training: by all devices, and by the busiest."""
  factor = 6 if config.experts.sharpness_radius else 3  # forward and backward, twice for SAM
  adversary = adversary_of(config)
  factor += 0 if adversary is None else 3 * adversary.num_steps
  network = build_network(config, real.info)
  cost = stage_cost.passes_cost(network, real.info.image_shape, factor)
  return cost * np.array([passes, on_device, 0.0])


def _masks(job: Job) -> list[np.ndarray | None]:
  """The members bool[N] of every distillation; None where that is all."""
  masks = np.asarray(job.data.mask)
  return [None if mask.all() else mask for mask in (masks if masks.ndim == 2 else masks[None])]


def real_source(
  real: RealData, members: np.ndarray | None = None, with_pixels: bool = False
) -> train.Source:
  """The real examples that experts see, as they are stored.

  Args:
    real: the real set.
    members: bool[N], the examples that they see; None for all.
    with_pixels: whether images are stored as they were before a whitening, which they pass through
      in training; as an adversary needs them.
  """
  data = make_data_split(real, with_pixels=with_pixels)
  labels = np.eye(real.info.num_classes, dtype=np.float32)[real.train_labels]
  rows = slice(None) if members is None else members
  stored, mean, std = data.images, data.mean, data.std
  if data.pixels is not None and data.whitening is not None:
    stored, mean, std = data.pixels, np.zeros_like(mean), np.full_like(std, real.max_value)
  parts = stored[rows][None], labels[rows][None], mean, std
  source = train.Source(*map(jnp.asarray, parts))
  if with_pixels:
    whitening = jax.tree.map(jnp.asarray, data.whitening)
    source = source.replace(max_value=jnp.float32(real.max_value), whitening=whitening)
  return source
