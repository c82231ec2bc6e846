"""The images and labels that experts give a distillation to begin with (DATM, Guo et al. 2024).

Images are real ones that the first expert classifies rightly, or where a class has too few of them
that further experts do. The label of an image is the mean of the logits of all experts that
classify it rightly. Both are kept in the run folder: they are needed once more where a finished run
is looked at again.

Ours: an image that no expert classifies rightly, where a class has nothing better, has a one-hot
label, of which a tenth is spread evenly.
"""

from typing import Any

import jax
from jax.flatten_util import ravel_pytree
import numpy as np

from ddjax.data.batches import standardise
from ddjax.distillers import synthetic
from ddjax.distillers.settings import build_network
from ddjax.files import atomic, plain_arrays
from ddjax.fitting.fit import make_predict
from ddjax.fitting.host import Watch
from ddjax.fitting.predictions import predict_logits
from ddjax.random_streams import stream
from ddjax.stages import experts
from ddjax.stages.prepare import Job
from ddjax.training import parallel, processes
from ddjax.types import Models, Trajectories

NAME = "expert_start.npz"
"""In a run folder: `images` f32[(r) n h w c] as networks see them, and `labels` f32[(r) n k]."""


def attach(job: Job, watch: Watch) -> Job:
  """The job with what its experts give to begin with; as it is where they give nothing.

  All hosts must come here together.

  Raises:
    ExpertBufferError, PreemptedError: where experts have to be looked up or trained first.
  """
  if job.distiller.start_epoch is None:
    return job
  path = job.workdir / NAME
  (is_known,) = parallel.of_main_process([path.exists()])
  if not is_known:
    job = job if job.host_data else experts.attach(job, watch)
    start = processes.on_main_process(lambda: _begin(job))
  else:
    start = processes.on_main_process(lambda: plain_arrays.read_npz(path))
  start = processes.from_main_process(start or _like(job))
  if not is_known and parallel.is_main_process():
    atomic.write_npz(path, start)
  data = job.data.replace(
    **parallel.replicate({"start": start["images"], "start_labels": start["labels"]}, job.layout)
  )
  return job._replace(data=data)


def _like(job: Job) -> dict[str, np.ndarray]:
  """Arrays of the right shapes, for what another host says."""
  info, replicas = job.real.info, (job.layout.num_replicas,) * (job.layout.num_replicas > 0)
  count = info.num_classes * job.config.synthetic.ipc
  shapes = dict(
    images=(*replicas, count, *info.image_shape), labels=(*replicas, count, info.num_classes)
  )
  return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def _begin(job: Job) -> dict[str, np.ndarray]:
  """Images and labels of every distillation."""
  masks = np.asarray(job.data.mask)
  found = []
  for replica in range(max(job.layout.num_replicas, 1)):
    mask = masks[replica] if masks.ndim == 2 else masks
    buffer = job.host_data[min(replica, len(job.host_data) - 1)]
    found.append(_begin_one(job, buffer, mask, job.config.seed + replica))
  arrays = {name: np.stack([one[name] for one in found]) for name in found[0]}
  return arrays if job.layout.num_replicas else {name: leaf[0] for name, leaf in arrays.items()}


def _begin_one(
  job: Job, buffer: Trajectories, mask: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
  """Images f32[n h w c] and labels f32[n k] of one distillation, class by class."""
  real, ipc = job.real, job.config.synthetic.ipc
  needs, epoch = job.distiller.experts, job.distiller.start_epoch
  assert needs is not None and epoch is not None
  num_experts = needs.num_experts
  network = build_network(job.config, real.info)
  image = np.zeros((1, *real.info.image_shape), np.float32)
  shapes = jax.eval_shape(network.init, jax.random.key(0), image)
  _, unravel = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))

  def logits_of(expert: int, rows: np.ndarray) -> np.ndarray:
    """What an expert says of real images: f32[q k]."""
    parameters: Any = buffer.read(expert, epoch)
    variables = jax.tree.map(lambda leaf: leaf[None], unravel(parameters))
    models = Models(make_predict(network, real.preprocessing), variables, np.zeros(1, np.int32))
    return predict_logits(models, real.train_images[rows], real.max_value)[0]

  words = jax.random.key_data(stream(seed, "expert start"))
  order = np.random.default_rng(np.asarray(words).tolist()).permutation(np.flatnonzero(mask))
  rows = choose_rows(order, real.train_labels, ipc, real.info.num_classes, num_experts, logits_of)
  every = np.stack([logits_of(expert, rows) for expert in range(num_experts)])
  labels = mean_of_right(every, real.train_labels[rows])
  images = standardise(np.asarray(job.data.images)[rows], job.data)
  return {"images": np.asarray(images), "labels": labels}


def choose_rows(order, train_labels, ipc, num_classes, num_experts, logits_of) -> np.ndarray:
  """Rows i[k*ipc] of the real set, class by class.

  Args:
    order: the members' rows in a random order.
    train_labels: i[N].
    ipc: images per class.
    num_classes: k.
    num_experts: that may be asked, one after another, until every class has enough.
    logits_of: (expert, rows i[q]) -> f32[q k].
  """
  by_class = [order[train_labels[order] == label] for label in range(num_classes)]
  chosen = [np.zeros(0, int)] * num_classes
  for expert in range(num_experts):
    asked = [label for label in range(num_classes) if len(chosen[label]) < ipc]
    if not asked:
      break
    rows = np.concatenate(
      [by_class[label][~np.isin(by_class[label], chosen[label])] for label in asked]
    )
    if not len(rows):
      break
    right = rows[logits_of(expert, rows).argmax(axis=1) == train_labels[rows]]
    for label in asked:
      own = right[train_labels[right] == label]
      chosen[label] = np.concatenate([chosen[label], own])[:ipc]
  for label in range(num_classes):  # whatever there is
    others = by_class[label][~np.isin(by_class[label], chosen[label])]
    chosen[label] = np.concatenate([chosen[label], others])[:ipc]
  return np.concatenate(chosen)


def mean_of_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Mean logits f32[n k] of the experts that are right on an image.

  Args:
    logits: f32[m n k] of m experts.
    labels: i[n].
  """
  is_right = (logits.argmax(axis=-1) == labels).astype(np.float32)
  counts = is_right.sum(axis=0)
  mean = np.einsum("mn,mnk->nk", is_right, logits) / np.maximum(counts, 1)[:, None]
  one_hot = np.eye(logits.shape[-1], dtype=np.float32)[labels]
  otherwise = np.asarray(synthetic.as_logits(one_hot))
  return np.where(counts[:, None] > 0, mean, otherwise).astype(np.float32)
