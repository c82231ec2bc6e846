"""Third stage: models fitted once on every set, and every evaluator's report."""

import pathlib
import time
from typing import Callable, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax import registry
from ddjax.data.batches import standardise
from ddjax.distillers import synthetic
from ddjax.evaluators.accuracy import make_accuracy_evaluator
from ddjax.evaluators.fit import make_fit
from ddjax.evaluators.kernel import make_kernel_evaluator, make_kernel_fit
from ddjax.random_streams import stream
from ddjax.stages.prepare import Job, load, prepare
from ddjax.types import DistilledSet, Report


class Evaluation(NamedTuple):
  """An evaluator: which models it looks at, and (job) -> measure."""

  models: str
  make: Callable


FITS: dict[str, Callable] = {
  "kernel": lambda job: make_kernel_fit(job.config, job.real.info, job.real.preprocessing),
  "networks": lambda job: make_fit(
    job.config.accuracy_evaluation, job.real.info, job.real.preprocessing
  ),
}
EVALUATORS: dict[str, Evaluation] = {
  "kernel": Evaluation("kernel", lambda job: make_kernel_evaluator(job.config, job.real.info)),
  "accuracy": Evaluation(
    "networks",
    lambda job: make_accuracy_evaluator(job.config.accuracy_evaluation, job.real.info),
  ),
}


def check_evaluators(names) -> None:
  """Raises ValueError for an unknown evaluator."""
  for name in names:
    registry.look_up(EVALUATORS, name, "evaluator")


def evaluate(
  job: Job, distilled: DistilledSet, initial: DistilledSet | None = None
) -> tuple[dict[str, Report], dict[str, float]]:
  """Runs the config's evaluators on a distilled set, beside its step 0 and random subsets.

  Args:
    job: from `prepare`.
    distilled: leading replica axis.
    initial: the same at step 0, where it is known.
  Returns:
    {evaluator: Report}, and the seconds of each.
  """
  sets = {"distilled": distilled, "random_subset": random_subsets(job)}
  if initial is not None:
    sets["initial"] = initial
  reports, seconds, fitted = {}, {}, {}
  for name in job.config.evaluators:
    evaluation = registry.look_up(EVALUATORS, name, "evaluator")
    started = time.monotonic()
    if evaluation.models not in fitted:
      logging.info("Fitting %s models on %s.", evaluation.models, ", ".join(sets))
      rng = stream(job.config.seed, f"fit {evaluation.models}")
      fitted[evaluation.models] = FITS[evaluation.models](job)(sets, rng)
    rng = stream(job.config.seed, f"measure {name}")
    reports[name] = evaluation.make(job)(fitted[evaluation.models], job.real, rng, None)
    seconds[name] = time.monotonic() - started
  return reports, seconds


def evaluate_saved(distilled: DistilledSet, config: ConfigDict | None = None) -> dict[str, Report]:
  """Evaluates a set from disk, without its step 0.

  Args:
    distilled: from `ddjax.io.distilled.load_distilled`, no replica axis.
    config: default that of the set itself.
  Returns:
    {evaluator: Report}.
  Raises:
    ValueError: if the set and the config differ in image shape, classes or preprocessing.
  """
  info = distilled.info
  config = ConfigDict(info["config"]) if config is None else config
  check_evaluators(config.evaluators)
  job = prepare(config, pathlib.Path(), load(config))
  shape = (*distilled.images.shape[1:], distilled.labels.shape[1])
  expected = (*job.real.info.image_shape, job.real.info.num_classes)
  if shape != expected:
    raise ValueError(f"The set has [h w c k] = {shape}, but {config.data.name} has {expected}.")
  if not job.real.preprocessing.same_as(info["preprocessing"]):
    raise ValueError(
      f"The set was made with preprocessing {info['preprocessing'].kind!r}, fitted on its own "
      f"data; the config's is {job.real.preprocessing.kind!r}."
    )
  batch = DistilledSet(
    distilled.images[None], distilled.labels[None], {"label_kind": info["label_kind"]}
  )
  return evaluate(job, batch)[0]


def random_subsets(job: Job) -> DistilledSet:
  """Class-balanced random subsets of equal size f32[s n h w c], labels of the method's kind."""
  ipc, info = job.config.synthetic.ipc, job.real.info
  rngs = jax.random.split(stream(job.config.seed, "random subset"), job.config.num_random_subsets)
  data = jax.tree.map(jnp.asarray, jax.device_get(job.data))
  rows = jax.vmap(lambda rng: synthetic.draw_members(rng, data, ipc).reshape(-1))(rngs)
  is_centred = job.distiller.label_kind == "centred"
  labels = synthetic.one_hot_labels(info.num_classes, ipc, is_centred)
  return DistilledSet(
    images=np.asarray(standardise(data.images[rows], data)),
    labels=np.broadcast_to(labels, (len(rows), *labels.shape)),
    info={"label_kind": job.distiller.label_kind},
  )
