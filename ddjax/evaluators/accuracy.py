"""Test accuracy of the finite networks that were trained on each set."""

import functools
import math
from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Bool
from ml_collections import ConfigDict
import numpy as np

from ddjax.data.load import RealData
from ddjax.evaluators.report_keys import NO_FULL, check_distilled, figure_key, why_missing
from ddjax.fitting import protocols
from ddjax.statistics import dd_ranking, intervals
from ddjax.types import Array, DatasetInfo, Models, Report

IMAGES_TIMES_MODELS = 8192
"""How many images at once, times networks: it bounds the memory of the activations."""
IMAGES_IN_A_CALL = 1024
"""How many images one compiled call looks at, piece after piece."""

_EXPECTED = ("initial", "random_subset", "full")
LABEL_SCORE, AUGMENTATION_SCORE = "label_robust_score", "augmentation_robust_score"


def make_accuracy_evaluator(
  config: ConfigDict,
  info: DatasetInfo,
  unit: str = "distillation",
  *,
  use_flip: bool = True,
  is_alone: bool = False,
) -> Callable[..., Report]:
  """Test accuracy of every network on every set, with paired differences.

  Args:
    config: the group `accuracy_evaluation`.
    info: of the data set, whose classes are counted.
    unit: what one entry of the set `distilled` is, for what the intervals run over.
    use_flip: as in `make_fit`, for the description of the training.
    is_alone: whether no other set is expected beside `distilled`: of the full set itself.
  Returns:
    measure(models, dataset, rng, context=None) -> Report of kind "accuracy". For each network
    NETWORK it holds the mean test accuracies, fractions, `NETWORK` of the distilled set and
    `SET_NETWORK` of every other set, the paired differences `gain_over_random_NETWORK` and
    `gain_over_initial_NETWORK`, and `relative_NETWORK`, the share of the full set's accuracy. A set
    `chosen` has gains of its own, `gain_over_random_chosen_NETWORK`. With `use_robust_scores`
    the scores of `ddjax.statistics.dd_ranking` too. `models` is what the fits return.
  Raises:
    ValueError: for an unknown protocol; by measure, if there is no distilled set.
  """
  protocol = protocols.configure(config, use_flip)

  def measure(
    models: Mapping[str, Mapping[str, Models]],
    dataset: RealData,
    rng: Array,
    context: Any = None,
  ) -> Report:
    del context
    check_distilled(models)
    seed = int(jax.random.bits(rng, dtype=jnp.uint32))
    settings = {
      "protocol": config.protocol,
      "training": protocols.describe(protocol),
      "changes_to_protocol": _changes(config),
      "architectures": list(models["distilled"]),
      "headline": list(models["distilled"]),
      "loss_by_label_kind": {
        kind: protocols.find_loss(kind, protocol) for kind in protocols.LOSSES
      },
      "rate": protocol.learning_rate or f"that of the set; {protocols.FALLBACK_RATE} without one",
      "width": config.width or "published",
      "pairing": "gains by test example; over step 0 by distillation and seed too",
      "num_test": len(dataset.test_labels),
      "num_models": {name: len(next(iter(fits.values())).group) for name, fits in models.items()},
      "full_epochs": config.full_epochs
      or (protocol.num_epochs or 0) + protocol.extra_epochs
      or None,
      "epoch": "last",
      "subject": unit if is_alone else "distilled",
      "spread": "standard deviation over networks (ddof 1), over paired networks for a gain",
      "interval_over": {},
      "not_measured": {},
    }
    report = Report("accuracy", {}, {}, {}, {}, {}, settings)
    for network in models["distilled"]:
      fits = {name: of_set[network] for name, of_set in models.items() if network in of_set}
      correct = correctness(fits, dataset)
      group = {name: np.asarray(fit.group) for name, fit in fits.items()}
      pairs = [
        (name, other) for name in ("distilled", "chosen") for other in intervals.GAINS
        if name in fits and other in fits
      ]  # fmt: skip
      units = {name: unit for name in fits if name.startswith("distilled")}
      units |= {name: "subset" for name in fits if name.startswith("random_subset")}
      resampling = intervals.Resampling(config.num_bootstrap, seed, intervals.UNITS | units)
      estimates = intervals.bootstrap_accuracies(correct, group, pairs, resampling)
      for source, estimate in estimates.items():
        key = figure_key(source, network)
        report.scalars[key] = estimate.mean
        report.interval[key] = [estimate.low, estimate.high]
        settings["interval_over"][key] = estimate.over
        if estimate.std is not None:
          report.spread[key] = estimate.std
      for name, rows in correct.items():
        key = figure_key(name, network)
        report.per_model[key] = rows.mean(axis=1).tolist()
        report.per_class[key] = _per_class(rows, dataset.test_labels, info.num_classes)
      for name in () if is_alone else _EXPECTED:
        if name not in fits:
          missing = [figure_key(name, network)]
          missing += [figure_key(("distilled", name), network)] if name in intervals.GAINS else []
          reason = why_missing(name)
          for key in missing:
            report.scalars[key] = None
            settings["not_measured"][key] = reason
      ratios = {} if is_alone else _ratios(report.scalars, network, config.use_robust_scores)
      for key, value in ratios.items():
        report.scalars[key] = value
        if value is None:
          settings["not_measured"][key] = NO_FULL
    if "full" in models and config.full_epochs is not None:
      settings["checks"] = [
        f"Networks on the full set are trained for {config.full_epochs} epochs of it."
      ]
    return report

  return measure


def _ratios(
  scalars: Mapping[str, float | None], network: str, use_robust_scores: bool
) -> dict[str, float | None]:
  """What is computed from the accuracies of several sets."""

  def of(name: str) -> float | None:
    return scalars.get(figure_key(name, network))

  full, own, random = of("full"), scalars[network], of("random_subset")
  made = {f"relative_{network}": full and own and own / full}
  if not use_robust_scores:
    return made
  assert own is not None and random is not None  # both are always trained
  hard = of("distilled_hard_labels")
  made[f"{LABEL_SCORE}_{network}"] = full and dd_ranking.label_robust_score(
    full_hard=full,
    distilled_hard=own if hard is None else hard,
    distilled_any=own,
    random_any=random,
  )

  def pair(kind: str) -> tuple[float, float]:
    other = of(f"distilled_{kind}_augmentation"), of(f"random_subset_{kind}_augmentation")
    return (own, random) if other[0] is None or other[1] is None else (other[0], other[1])

  augmented, plain = pair("with"), pair("without")
  made[f"{AUGMENTATION_SCORE}_{network}"] = dd_ranking.augmentation_robust_score(
    distilled_with=augmented[0],
    random_with=augmented[1],
    distilled_without=plain[0],
    random_without=plain[1],
  )
  return made


def _changes(config: ConfigDict) -> dict[str, Any]:
  """What the config sets otherwise than the protocol."""
  return {name: config[name] for name in protocols.FIELDS if config[name] is not None}


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
    group = np.concatenate([fits[name].group for name in names])
    merged = fits[names[0]]._replace(params=params, group=group)
    classes = predicted_classes(merged, dataset.test_images, dataset.max_value)
    rows = classes == dataset.test_labels
    correct.update(zip(names, np.split(rows, np.cumsum(counts)[:-1]), strict=True))
  return correct


def predicted_classes(models: Models, images: np.ndarray, max_value: int) -> np.ndarray:
  """The class that each model gives each stored image, i32[m T], in blocks of one shape."""
  num_models, num_test = len(models.group), len(images)
  size = min(num_test, IMAGES_TIMES_MODELS // num_models, models.images_at_once or num_test)
  size = max(1, size)
  pieces = min(math.ceil(num_test / size), max(1, IMAGES_IN_A_CALL // size))
  blocks = []
  for start in range(0, num_test, size * pieces):
    rows = np.minimum(np.arange(start, start + size * pieces), num_test - 1)
    pixels = images[rows].reshape(pieces, size, *images.shape[1:])
    blocks.append(
      _classes(models.params, pixels, np.float32(max_value), predict_fn=models.predict_fn)
    )
  return np.concatenate(blocks, axis=1)[:, :num_test]


@functools.partial(jax.jit, static_argnames="predict_fn")
def _classes(params: Any, images: Array, max_value: Array, *, predict_fn) -> Array:
  """The class that each model gives each image of [pieces b h w c], i32[m pieces*b]."""

  def of_piece(images):
    pixels = images.astype(jnp.float32) / max_value
    return jnp.argmax(jax.vmap(predict_fn, in_axes=(0, None))(params, pixels), axis=-1)

  classes = jax.lax.map(of_piece, images)
  return classes.swapaxes(0, 1).reshape(classes.shape[1], -1)


def _per_class(correct: np.ndarray, labels: np.ndarray, num_classes: int) -> list[float | None]:
  """Mean accuracy over models on each class; None for a class without test examples."""
  means = correct.mean(axis=0)
  return [
    float(means[labels == c].mean()) if (labels == c).any() else None for c in range(num_classes)
  ]
