"""Shadow runs: the whole pipeline on random splits of a pool, for membership inference.

A split draws its members, distils them, and trains a network on what comes out; beside it stand a
random subset of the same members, and networks trained on all of them. All splits are distilled in
one program (`num_replicas` with masks), and all networks train together. What is finished is not
run again: the distillation has checkpoints, and fits have files, in a folder of their own.
"""

import pathlib
from typing import Any, Mapping, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.data.batches import standardise
from ddjax.data.facts import get_facts
from ddjax.data.load import RealData
from ddjax.data.pool import make_pool
from ddjax.distillers import synthetic
from ddjax.evaluators.kernel import make_kernel_fit
from ddjax.fitting.fit import make_fit
from ddjax.fitting.host import Watch
from ddjax.fitting.predictions import predict_logits
from ddjax.random_streams import stream
from ddjax.stages import expert_start, experts
from ddjax.stages.distill import extract, set_info
from ddjax.stages.prepare import Job, prepare
from ddjax.training import trainer
from ddjax.training.checkpoints import Checkpoints
from ddjax.training.parallel import local_devices
from ddjax.training.progress import Progress
from ddjax.types import DistilledSet, Models

PREDICTORS = ("networks", "kernel")
TRAINED_ON_KERNELS = ("kip", "dp_kip", "robust_kip", "label_solve")
"""Methods whose sets are made for kernel regression."""
DRAW_TARGETS = ("kip", "robust_kip", "frepo")
"""Methods whose target batch must not be larger than what it is drawn from."""


class Shadows(NamedTuple):
  """What s splits say of every example of the pool.

  Attributes:
    logits: {set: f32[s N k]} of `distilled`, `random_subset` and `full`.
    is_member: bool[s N], the examples that a split distilled.
    labels: i32[N].
    settings: facts for the report, JSON-safe.
  """

  logits: dict[str, np.ndarray]
  is_member: np.ndarray
  labels: np.ndarray
  settings: dict[str, Any]


def shadow_config(config: ConfigDict, settings: ConfigDict) -> ConfigDict:
  """The config of the distillations of all splits.

  Args:
    config: of a distillation; resolved.
    settings: the group `privacy`.
  Raises:
    ValueError: for fewer than 4 splits, a fraction outside (0, 1), or splits that all begin with
      the same saved set.
  """
  if settings.num_splits < 4:
    raise ValueError(f"privacy.num_splits={settings.num_splits} must be at least 4.")
  if not 0 < settings.member_fraction < 1:
    raise ValueError(f"privacy.member_fraction={settings.member_fraction} must lie in (0, 1).")
  if settings.init == "saved":
    raise ValueError("privacy.init='saved' would begin every split with the same images.")
  config = config.copy_and_resolve_references().unlock()
  config.num_replicas = settings.num_splits
  config.member_fraction = settings.member_fraction
  config.shares_draws = True
  config.resume_from = None
  config.curve.update(dict(models="none"))
  if settings.ipc:
    config.synthetic.ipc = settings.ipc
  if settings.init:
    config.synthetic.init = settings.init
    config.synthetic.init_from = None
  limit = settings.max_steps.get(_costs_as(config), 0)
  if "outer" in config and settings.num_steps:
    config.outer.num_steps = settings.num_steps
  elif "outer" in config and limit:
    config.outer.num_steps = min(limit, config.outer.num_steps)
  if "experts" in config and settings.max_experts:
    config.experts.num_experts = min(settings.max_experts, config.experts.num_experts)
  return config


def _costs_as(config: ConfigDict) -> str:
  """The method in `privacy.max_steps` whose steps cost as those of the config's."""
  if "fair" in config:
    return config.fair.base
  method: str = config.method
  return {"datm": "mtt", "robust_dm": "dm", "robust_kip": "kip"}.get(method, method)


def predictor_of(config: ConfigDict, settings: ConfigDict) -> str:
  """What is trained on a split's set and attacked: "networks" or "kernel".

  Raises:
    ValueError: for an unknown `privacy.predictor`.
  """
  if not settings.predictor:
    return "kernel" if config.method in TRAINED_ON_KERNELS else "networks"
  if settings.predictor not in PREDICTORS:
    raise ValueError(
      f"privacy.predictor={settings.predictor!r} is none of {', '.join(PREDICTORS)}."
    )
  return settings.predictor


def run_shadows(
  config: ConfigDict,
  settings: ConfigDict,
  evaluation: ConfigDict,
  real: RealData,
  folder: pathlib.Path,
  watch: Watch = Watch(),
) -> Shadows:
  """Distils, trains and predicts for every split.

  Args:
    config: of the distillation that is audited.
    settings: the group `privacy`.
    evaluation: the group `accuracy_evaluation`, of which the first network is trained.
    real: the real set, of which all images become the pool.
    folder: where the checkpoints lie until the caller deletes them.
    watch: progress, stop request, and where unfinished fits lie.
  Raises:
    ValueError: for impossible settings. NonFiniteLossError, PreemptedError: see the trainer.
  """
  own = shadow_config(config, settings)
  predictor = predictor_of(own, settings)
  pool = make_pool(real, own.data, settings.max_examples)
  if own.method in DRAW_TARGETS and own.outer.target_batch_size > pool.info.num_train:
    own.outer.target_batch_size = 0  # as large as the pool allows
  if own.method == "dp_kip":
    num_members = int(own.member_fraction * pool.info.num_train)
    own.outer.target_batch_size = min(own.outer.target_batch_size, num_members)
  if own.synthetic.ipc != config.synthetic.ipc:
    logging.warning(
      "Splits are distilled at privacy.ipc=%d by the rates and steps of synthetic.ipc=%d.",
      own.synthetic.ipc,
      config.synthetic.ipc,
    )
  job = prepare(own, folder, pool)
  num_images = sum(map(len, (real.train_labels, real.validation_labels, real.test_labels)))
  logging.info(
    "Distilling %d random splits of %d examples: %s, ipc %d, init %s, %d steps.",
    settings.num_splits, pool.info.num_train, own.method, own.synthetic.ipc,
    own.synthetic.get("init", "none"), job.num_steps,
  )  # fmt: skip
  sets = {"distilled": _distill(job, watch)} | _baselines(job)
  logits = {}
  for name, models in _fit(job, settings, evaluation, predictor, sets, watch).items():
    rows = predict_logits(models, pool.train_images, pool.max_value)
    logits[name] = _mean_prediction(rows.reshape(settings.num_splits, -1, *rows.shape[1:]))
  return Shadows(
    logits=logits,
    is_member=np.asarray(job.data.mask),
    labels=pool.train_labels,
    settings=promise_of(job)
    | {
      "num_splits": settings.num_splits,
      "member_fraction": settings.member_fraction,
      "pool": f"{pool.info.num_train} examples: "
      + ("" if pool.info.num_train == num_images else f"a stratified part of the {num_images} ")
      + f"train and test images of {pool.info.name} together",
      "members": "the real examples that a split distils; non-members: the rest of the pool",
      "preprocessing": f"{pool.preprocessing.kind}, fitted once on the whole pool",
      "shared_by_all_splits": "batches, networks and augmentation of every step of a distillation",
      "predictor": evaluation.networks[0] if predictor == "networks" else "kernel regression",
      "networks_a_split": settings.num_networks if predictor == "networks" else 1,
      "method": own.method,
      "ipc": own.synthetic.ipc,
      "init": own.synthetic.get("init"),
      "num_classes": pool.info.num_classes,
      "num_steps": job.num_steps,
      "full_epochs": settings.full_epochs if predictor == "networks" else None,
      "num_members": int(np.asarray(job.data.mask).sum(axis=1)[0]),
      "num_experts": own.get("experts", {}).get("num_experts"),
      "target_batch_size": job.distiller.batch_sizes.get("outer.target_batch_size"),
    },
  )


def promise_of(job: Job) -> dict[str, dict[str, float]]:
  """{"promise": epsilon and delta of each split's set}, or nothing without a guarantee."""
  if (guarantee := job.distiller.guarantee) is None:
    return {}
  return {"promise": {"epsilon": guarantee["spent_epsilon"], "delta": guarantee["delta"]}}


def _distill(job: Job, watch: Watch) -> DistilledSet:
  """Every split's set, leading [s], resumed where it was left."""
  settings = job.config.trainer
  with Checkpoints(job.workdir / "checkpoints", 1) as checkpoints:
    job = expert_start.attach(job, watch)
    state = job.initial_state()
    if checkpoints.latest_step() is not None:
      state = checkpoints.restore(state)
    start = int(np.ravel(state.step)[0])
    if start < job.num_steps:
      job = experts.attach(job, watch)
    with Progress(job.num_steps, start, f"{job.config.num_replicas} splits") as progress:
      state = trainer.train(
        job.distiller,
        job.data,
        state,
        job.layout,
        trainer.Schedule(
          num_steps=job.num_steps,
          steps_per_call=settings.steps_per_call,
          checkpoint_every_steps=settings.checkpoint_every_steps,
          checkpoint_every_minutes=settings.checkpoint_every_minutes,
        ),
        trainer.Hooks(checkpoints, progress.show_rows, stop_request=watch.stop_request),
        host_data=job.host_data,
      )
    return extract(job, state)


def _baselines(job: Job) -> dict[str, DistilledSet]:
  """A random subset of each split's members, and all of them; leading [s]."""
  data = jax.tree.map(jnp.asarray, jax.device_get(job.data))
  ipc, info = job.config.synthetic.ipc, job.real.info
  is_centred = job.distiller.label_kind == "centred"
  kind = "centred" if is_centred else "one_hot"
  rngs = jax.random.split(stream(job.config.seed, "random subset"), len(data.mask))

  def draw(rng, mask):
    return synthetic.draw_members(rng, data.replace(mask=mask), ipc).reshape(-1)

  rows = jax.vmap(draw)(rngs, data.mask)
  labels = np.asarray(synthetic.one_hot_labels(info.num_classes, ipc, is_centred))
  subsets = DistilledSet(
    np.asarray(standardise(data.images[rows], data)),
    np.broadcast_to(labels, (len(rows), *labels.shape)),
    {"label_kind": kind},
  )
  members = np.stack([np.flatnonzero(mask) for mask in np.asarray(data.mask)])  # equally many
  targets = np.eye(info.num_classes, dtype=np.float32)[job.real.train_labels[members]]
  targets -= np.float32(is_centred / info.num_classes)
  whole = DistilledSet(
    np.asarray(standardise(data.images[members], data)), targets, {"label_kind": kind}
  )
  return {"random_subset": subsets, "full": whole}


def _fit(
  job: Job,
  settings: ConfigDict,
  evaluation: ConfigDict,
  predictor: str,
  sets: Mapping[str, DistilledSet],
  watch: Watch,
) -> dict[str, Models]:
  """Predictors of every split, by set."""
  sets = dict(sets)
  distilled = sets["distilled"]
  sets["distilled"] = distilled.replace(info=distilled.info or set_info(job))
  rng = stream(job.config.seed, f"fit {predictor} of splits")
  if predictor == "kernel":
    fit = make_kernel_fit(job.config, job.real.info, job.real.preprocessing)
    return {name: models["kernel"] for name, models in fit(sets, rng).items()}
  config = evaluation.copy_and_resolve_references().unlock()
  config.networks, config.feature_ridge = evaluation.networks[:1], None
  config.num_seeds = config.random_subset_seeds = settings.num_networks
  if settings.num_epochs is not None:
    config.num_epochs = settings.num_epochs
  whole = config.copy_and_resolve_references()
  whole.num_epochs = settings.full_epochs
  options: dict[str, Any] = dict(
    use_flip=get_facts(job.real.info.name).use_flip,
    devices=local_devices(job.layout),
    cached_sets=("random_subset", "full"),  # of these splits, whatever was distilled from them
  )
  models = {}
  for own, names in ((config, ("distilled", "random_subset")), (whole, ("full",))):
    fit = make_fit(own, job.real.info, job.real.preprocessing, **options)
    fitted = fit({name: sets[name] for name in names}, rng, watch)
    models |= {name: of_set[config.networks[0]] for name, of_set in fitted.items()}
  return models


def _mean_prediction(logits: np.ndarray) -> np.ndarray:
  """Mean log-probabilities f[s N k] of a split's networks f[s q N k]; logits of a single one."""
  if logits.shape[1] == 1:
    return logits[:, 0]
  return np.asarray(jax.nn.log_softmax(logits)).mean(axis=1)
