"""What stands beside a distilled set: random subsets, and coresets kept in the cache folder."""

import hashlib
import json

from absl import logging
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.config import compare, groups
from ddjax.data import cache
from ddjax.data.batches import standardise
from ddjax.distillers import synthetic
from ddjax.distillers.coreset import make_coreset
from ddjax.privacy.baseline import Stored, noised_means
from ddjax.random_streams import stream
from ddjax.stages.prepare import Job
from ddjax.types import DistilledSet

CORESETS = ("herding", "k_center", "k_means")
_FORMAT = 1  # of cached coresets: raise it when equal keys would mean other images


def check(job: Job) -> None:
  """Raises ValueError for a baseline that there is not."""
  for name in job.config.coreset_baselines:
    if name not in CORESETS:
      raise ValueError(f"coreset_baselines names {name!r}; known are {', '.join(CORESETS)}.")


def coresets(job: Job, labels: np.ndarray | None = None) -> dict[str, DistilledSet]:
  """{name: set f32[1 n h w c]} of the config's coreset baselines, labels of the method's kind.

  Args:
    job: the run.
    labels: f32[n k] of a set; a coreset has as many of each class. None for `ipc` of each.
  """
  made = {name: _coreset(job, name) for name in job.config.coreset_baselines}
  if labels is None:
    return made
  kept = first_of_each_class(labels, job.config.synthetic.ipc)
  return {
    name: one.replace(images=one.images[:, kept], labels=one.labels[:, kept])
    for name, one in made.items()
  }


def first_of_each_class(labels: np.ndarray, ipc: int) -> np.ndarray:
  """Which of `ipc` examples of each class to keep, bool[k*ipc], to have as many as these labels."""
  counts = np.bincount(labels.argmax(axis=1), minlength=labels.shape[1])
  return (np.arange(ipc)[None] < counts[:, None]).reshape(-1)


def _coreset(job: Job, name: str) -> DistilledSet:
  """One coreset, from the cache where it is there."""
  config = groups.base("coreset", job.config.data.name)
  config.synthetic = ConfigDict(dict(ipc=job.config.synthetic.ipc))
  config.coreset = groups.coreset(name, job.config.data.name)
  facts = [_FORMAT, compare.plain(config.coreset), job.config.synthetic.ipc, job.config.seed]
  facts += [job.real.fingerprint, job.real.preprocessing.digest()]
  digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
  made = cache.cached(f"coreset-{name}-{digest}", lambda: _choose(job, config, name))
  labels = made["labels"]
  if job.distiller.label_kind == "centred":
    labels = labels - np.float32(1 / labels.shape[1])
  return DistilledSet(made["images"][None], labels[None], {"label_kind": job.distiller.label_kind})


def _choose(job: Job, config: ConfigDict, name: str) -> dict[str, np.ndarray]:
  """Runs the method to its end, in calls of ten steps."""
  logging.info("Choosing the coreset %r.", name)
  distiller = make_coreset(config, job.real.info)
  data = jax.tree.map(jnp.asarray, jax.device_get(job.data))
  data = data.replace(mask=jnp.ones(len(data.labels), bool))  # of the whole train set
  state = jax.jit(distiller.init)(stream(job.config.seed, "distill"), data)

  @jax.jit
  def advance(state, data, count):
    return jax.lax.fori_loop(0, count, lambda _, state: distiller.step(state, data, 0)[0], state)

  num_steps = distiller.num_steps
  assert num_steps is not None  # of a coreset
  while int(state.step) < num_steps:
    state = advance(state, data, min(10, num_steps - int(state.step)))
  chosen = jax.device_get(distiller.extract(state))
  return {"images": chosen.images, "labels": chosen.labels}


def private_random(
  job: Job, distilled: DistilledSet, labels: np.ndarray | None = None
) -> dict[str, DistilledSet]:
  """{"private_random": noised class means f32[1 n h w c]} beside a set with a guarantee, else {}.

  They have the epsilon and delta of the set, and a budget of their own: no run publishes them, only
  their figures.

  Args:
    job: the run.
    distilled: the set, whose `info` holds its guarantee.
    labels: as in `random_subsets`.
  """
  guarantee = (distilled.info or {}).get("guarantee")
  if not guarantee:
    return {}
  real, ipc = job.real, job.config.synthetic.ipc
  words = np.asarray(jax.random.key_data(stream(job.config.seed, "private random set")))
  stored = Stored(real.train_images, real.train_labels, real.info.num_classes, real.max_value)
  promise = {name: guarantee[name] for name in ("epsilon", "delta")}
  pixels = noised_means(stored, ipc, **promise, seed=words.tolist())
  is_centred = job.distiller.label_kind == "centred"
  images = np.asarray(real.preprocessing.forward(jnp.asarray(pixels)))
  own = np.asarray(synthetic.one_hot_labels(real.info.num_classes, ipc, is_centred))
  kept = np.ones(len(own), bool) if labels is None else first_of_each_class(labels, ipc)
  info = {"label_kind": job.distiller.label_kind}
  return {"private_random": DistilledSet(images[None, kept], own[None, kept], info)}


def random_subsets(job: Job, labels: np.ndarray | None = None) -> DistilledSet:
  """Random subsets of equal size f32[s n h w c], labels of the method's kind.

  Args:
    job: the run.
    labels: f32[n k] of a set; a subset has as many of each class. None for `ipc` of each.
  """
  ipc, info = job.config.synthetic.ipc, job.real.info
  rngs = jax.random.split(stream(job.config.seed, "random subset"), job.config.num_random_subsets)
  data = jax.tree.map(jnp.asarray, jax.device_get(job.data))
  data = data.replace(mask=jnp.ones(len(data.labels), bool))  # of the whole train set
  rows = jax.vmap(lambda rng: synthetic.draw_members(rng, data, ipc).reshape(-1))(rngs)
  is_centred = job.distiller.label_kind == "centred"
  subset_labels = np.asarray(synthetic.one_hot_labels(info.num_classes, ipc, is_centred))
  if labels is not None:
    kept = first_of_each_class(labels, ipc)
    rows, subset_labels = rows[:, kept], subset_labels[kept]
  return DistilledSet(
    images=np.asarray(standardise(data.images[rows], data)),
    labels=np.broadcast_to(subset_labels, (len(rows), *subset_labels.shape)),
    info={"label_kind": job.distiller.label_kind},
  )
