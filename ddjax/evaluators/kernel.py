"""Kernel ridge regression on a distilled set, as a model like any other, and its test accuracy."""

import hashlib
from typing import Any, Mapping

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.augment.multiformation import decode_set
from ddjax.config.precision import precision_of
from ddjax.data.load import RealData
from ddjax.files.plain_arrays import bytes_of
from ddjax.fitting.predictions import predict_classes
from ddjax.kernels.architectures import POOLED
from ddjax.kernels.blocked import make_blocked_kernel
from ddjax.kernels.ridge import coefficients
from ddjax.statistics import intervals
from ddjax.training.progress import Progress
from ddjax.types import Array, DatasetInfo, DistilledSet, EvaluationContext, Models, Report

PREDICTOR = "kernel"
ROWS_PER_BLOCK = 2000
_DEAR_ROWS = 100  # a block of a kernel with pooling, which takes seconds on a CPU


def make_kernel_fit(config: ConfigDict, info: DatasetInfo, preprocessing):
  """Kernel predictors by the config's kernel and ridge.

  Args:
    config: the whole config, for `kernel`, `ridge`, `precision` and `memory_budget_gb`.
    info: of the data set.
    preprocessing: with `forward`, pixels f32[b h w c] in [0, 1] -> what the kernel sees.
  Returns:
    fit(sets, rng) -> {set name: {"kernel": Models}}, one model per leading entry of the sets
    (images f32[r n h w c], labels f32[r n k], one-hot or centred as they are); deterministic.
  """
  kernel_fn = make_blocked_kernel(config, info.image_shape)
  dtype = jnp.dtype(precision_of(config).kernels)
  ridge = config.ridge
  at_once = _DEAR_ROWS if config.kernel.family in POOLED else None

  def predict_fn(params, pixels: Array) -> Array:
    inputs = preprocessing.forward(pixels).astype(dtype)
    with jax.default_matmul_precision("highest"):
      return kernel_fn(inputs, params["images"]) @ params["coefficients"]

  @jax.jit
  def fit_one(images, labels):
    return coefficients(kernel_fn, images, labels, ridge)

  def fit(sets: Mapping[str, DistilledSet], rng: Array | None = None):
    del rng  # nothing is drawn
    models = {}
    for name, distilled in sets.items():
      distilled = decode_set(distilled)
      images = jnp.asarray(distilled.images, dtype)
      labels = jnp.asarray(distilled.labels, dtype)
      solved = jnp.stack([fit_one(x, y) for x, y in zip(images, labels, strict=True)])
      params = {"images": images, "coefficients": solved}
      models[name] = {PREDICTOR: Models(predict_fn, params, np.arange(len(images)), at_once)}
    return models

  return fit


def make_kernel_evaluator(config: ConfigDict, info: DatasetInfo):
  """Test accuracy of the kernel predictors, with paired differences.

  Args:
    config: the whole config, for `kernel_evaluation` and what the settings of the report name.
    info: of the data set.
  Returns:
    measure(models, dataset, rng, context) -> Report of kind "kernel" with `test_accuracy`,
    `initial_accuracy`, `random_subset_accuracy` and the paired gains.
  """
  num_bootstrap = config.kernel_evaluation.num_bootstrap
  expected = {"initial": "initial_accuracy", "random_subset": "random_subset_accuracy"}

  def measure(
    models, dataset: RealData, rng=None, context: EvaluationContext = EvaluationContext({})
  ) -> Report:
    del rng
    predicted = _predict({name: one[PREDICTOR] for name, one in models.items()}, dataset, context)
    correct = {name: classes == dataset.test_labels for name, classes in predicted.items()}
    group = {name: of_set[PREDICTOR].group for name, of_set in models.items()}
    keys = {name: f"{name}_accuracy" for name in models} | {"distilled": "test_accuracy"}
    if "chosen" in models:
      keys["chosen"] = "chosen_test_accuracy"
    gains = {
      (name, other): f"{intervals.GAINS[other]}_{keys[name]}"
      for name in ("distilled", "chosen")
      for other in intervals.GAINS
      if {name, other} <= models.keys()
    }
    resampling = intervals.Resampling(num_bootstrap, config.seed)
    estimates = intervals.bootstrap_accuracies(correct, group, list(gains), resampling)
    named = {**keys, **gains}
    settings = {
      "kernel": config.kernel.to_dict(),
      "ridge": config.ridge,
      "precision": config.precision,
      "num_test": len(dataset.test_labels),
      "interval_over": {named[source]: estimate.over for source, estimate in estimates.items()},
      "not_measured": {
        named: f"there is no set {name!r}" for name, named in expected.items() if name not in models
      },
      "confusion": _confusion(dataset.test_labels, predicted["distilled"], info.num_classes),
    }
    classes = np.eye(info.num_classes, dtype=bool)[dataset.test_labels]
    return Report(
      kind="kernel",
      scalars={named[source]: estimate.mean for source, estimate in estimates.items()}
      | dict.fromkeys(settings["not_measured"]),
      spread={
        named[source]: estimate.std
        for source, estimate in estimates.items()
        if estimate.std is not None
      },
      interval={named[source]: [e.low, e.high] for source, e in estimates.items()},
      per_model={keys[name]: rows.mean(axis=1).tolist() for name, rows in correct.items()},
      per_class={
        keys[name]: _per_class(rows.mean(axis=0), classes) for name, rows in correct.items()
      },
      settings=settings,
    )

  return measure


def _predict(
  models: Mapping[str, Models], dataset: RealData, context: EvaluationContext
) -> dict[str, np.ndarray]:
  """Classes i32[m T] of the test images, by set; sets that a killed run had finished are kept."""
  images = jnp.asarray(dataset.test_images)
  options: dict[str, Any] = dict(rows_per_block=ROWS_PER_BLOCK)
  is_dear = any(one.images_at_once for one in models.values())
  if not is_dear:
    return {
      name: predict_classes(one, images, dataset.max_value, **options)
      for name, one in models.items()
    }
  predicted, done = {}, 0
  total = len(images) * sum(len(one.group) for one in models.values())
  with Progress(total, description="kernel regression of the test set", unit="image") as progress:
    for name, one in models.items():

      def on_block(count: int, num: int = len(one.group)) -> None:
        nonlocal done
        done += count * num
        progress.update(min(done, total), {})
        context.check_stop()

      def make(one: Models = one, on_block=on_block) -> dict[str, np.ndarray]:
        return {
          "classes": predict_classes(one, images, dataset.max_value, on_block=on_block, **options)
        }

      predicted[name] = context.keep(f"kernel regression on {_digest(one)}", make)["classes"]
  return predicted


def _digest(models: Models) -> str:
  """Of the support images and coefficients."""
  content = hashlib.sha256()
  for leaf in jax.tree.leaves(models.params):
    content.update(bytes_of(leaf))
  return content.hexdigest()[:16]


def _per_class(accuracy: np.ndarray, classes: np.ndarray) -> list[float | None]:
  """Mean of f[T] over each class of bool[T k]; None for a class without test examples."""
  return [float(accuracy[members].mean()) if members.any() else None for members in classes.T]


def _confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> list[list[int]]:
  """Counts [k k], rows true, columns predicted, over all models."""
  cells = labels.astype(np.int64) * num_classes + predicted
  counts = np.bincount(cells.reshape(-1), minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes).tolist()
