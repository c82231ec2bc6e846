"""Test accuracy of the finite networks that were trained on each set."""

import functools
from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Bool
from ml_collections import ConfigDict
import numpy as np

from ddjax.data.load import RealData
from ddjax.evaluators import protocols, statistics
from ddjax.types import Array, DatasetInfo, Models, Report

IMAGES_TIMES_MODELS = 8192
"""How many images in one call, times networks: it bounds the memory of the activations."""

_GAINS = {"random_subset": "gain_over_random", "initial": "gain_over_initial"}


def make_accuracy_evaluator(config: ConfigDict, info: DatasetInfo) -> Callable[..., Report]:
  """Test accuracy of every network on every set, with paired differences.

  Args:
    config: the group `accuracy_evaluation`: networks, width, protocol, num_bootstrap.
    info: of the data set, whose classes are counted.
  Returns:
    measure(models, dataset, rng, context=None) -> Report of kind "accuracy". For each network
    NETWORK it holds the mean test accuracies, fractions, `NETWORK` of the distilled set and
    `SET_NETWORK` of every other set, and the paired differences `gain_over_random_NETWORK` and
    `gain_over_initial_NETWORK`. `models` is what `ddjax.evaluators.fit` returns.
  Raises:
    ValueError: for an unknown protocol; by measure, if there is no distilled set.
  """
  protocol = protocols.find_protocol(config.protocol)

  def measure(
    models: Mapping[str, Mapping[str, Models]],
    dataset: RealData,
    rng: Array,
    context: Any = None,
  ) -> Report:
    del context
    if "distilled" not in models:
      raise ValueError(f"There is no set 'distilled' to measure among {sorted(models)}.")
    seed = int(jax.random.bits(rng, dtype=jnp.uint32))
    absent = [name for name in _GAINS if name not in models]
    settings = {
      "protocol": config.protocol,
      "training": protocol._asdict(),
      "loss": "by the kind of labels, the random subset like the distilled set",
      "loss_by_label_kind": dict(protocols.LOSSES),
      "width": config.width,
      "networks": "convnet: `width` channels; mlp: two hidden layers of 4 * `width` units",
      "pairing": "gains by test example; over step 0 by distillation and seed too",
      "num_test": len(dataset.test_labels),
      "num_models": {name: len(next(iter(fits.values())).group) for name, fits in models.items()},
      "epoch": "last",
      "spread": "standard deviation over networks (ddof 1), over paired networks for a gain",
      "interval_over": {},
      "not_measured": {},
    }
    report = Report("accuracy", {}, {}, {}, {}, {}, settings)
    for network in models["distilled"]:
      fits = {name: of_set[network] for name, of_set in models.items()}
      correct = correctness(fits, dataset)
      group = {name: np.asarray(fit.group) for name, fit in fits.items()}
      pairs = [("distilled", name) for name in _GAINS if name in models]
      estimates = statistics.bootstrap_accuracies(
        correct, group, pairs, num_bootstrap=config.num_bootstrap, seed=seed
      )
      for source, estimate in estimates.items():
        key = _key(source, network)
        report.scalars[key] = estimate.mean
        report.interval[key] = [estimate.low, estimate.high]
        settings["interval_over"][key] = estimate.over
        if estimate.std is not None:
          report.spread[key] = estimate.std
      for name, rows in correct.items():
        key = _key(name, network)
        report.per_model[key] = rows.mean(axis=1).tolist()
        report.per_class[key] = _per_class(rows, dataset.test_labels, info.num_classes)
      for name in absent:
        for key in (_key(name, network), _key(("distilled", name), network)):
          report.scalars[key] = None
          settings["not_measured"][key] = f"no network was fitted on a set {name!r}"
    return report

  return measure


def correctness(
  fits: Mapping[str, Models], dataset: RealData
) -> dict[str, Bool[np.ndarray, "m T"]]:
  """Whether each model is right on each test example.

  Models of all sets that share a `predict_fn` look at a block of images together, so it is read
  and preprocessed once.

  Returns:
    {set: bool[m T]}.
  """
  correct = {}
  for predict_fn in dict.fromkeys(fit.predict_fn for fit in fits.values()):
    names = [name for name, fit in fits.items() if fit.predict_fn is predict_fn]
    params = jax.tree.map(
      lambda *leaves: jnp.concatenate(leaves), *(fits[name].params for name in names)
    )
    counts = [len(fits[name].group) for name in names]
    rows = _correct(predict_fn, params, sum(counts), dataset)
    correct.update(zip(names, np.split(rows, np.cumsum(counts)[:-1]), strict=True))
  return correct


def _correct(
  predict_fn: Callable[[Any, Array], Array], params: Any, num_models: int, dataset: RealData
) -> np.ndarray:
  """bool[m T], block by block; the last block is filled up with the last image."""
  num_test = len(dataset.test_labels)
  size = min(num_test, max(1, IMAGES_TIMES_MODELS // num_models))
  blocks = []
  for start in range(0, num_test, size):
    rows = np.minimum(np.arange(start, start + size), num_test - 1)
    pixels = dataset.test_images[rows]
    classes = _classes(params, pixels, np.float32(dataset.max_value), predict_fn=predict_fn)
    blocks.append(np.asarray(classes) == dataset.test_labels[rows])
  return np.concatenate(blocks, axis=1)[:, :num_test]


@functools.partial(jax.jit, static_argnames="predict_fn")
def _classes(params: Any, images: Array, max_value: Array, *, predict_fn) -> Array:
  """The class that each model gives each image, i32[m b]."""
  pixels = images.astype(jnp.float32) / max_value
  logits = jax.vmap(predict_fn, in_axes=(0, None))(params, pixels)
  return jnp.argmax(logits, axis=-1)


def _key(source: str | tuple[str, str], network: str) -> str:
  """The report's name for a set's accuracy, or for the gain over another set."""
  if isinstance(source, tuple):
    return f"{_GAINS[source[1]]}_{network}"
  return network if source == "distilled" else f"{source}_{network}"


def _per_class(correct: np.ndarray, labels: np.ndarray, num_classes: int) -> list[float | None]:
  """Mean accuracy over models on each class; None for a class without test examples."""
  means = correct.mean(axis=0)
  return [
    float(means[labels == c].mean()) if (labels == c).any() else None for c in range(num_classes)
  ]
