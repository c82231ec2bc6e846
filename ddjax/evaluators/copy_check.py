"""The copy check of an audit: what lies nearest to synthetic images, in pixels and in features."""

from typing import Callable, Mapping

import jax
import numpy as np

from ddjax.augment.multiformation import decode_set
from ddjax.data.load import RealData
from ddjax.data.preprocess import as_pixels
from ddjax.data.splits import stratified_rows
from ddjax.evaluators import copies
from ddjax.fitting.predictions import in_blocks
from ddjax.types import EvaluationContext, Models, Report

_NUM_PAIRS = 8
_MOST_CONTROLS = 500


def enter(
  report: Report,
  models: Mapping[str, Mapping[str, Models]],
  dataset: RealData,
  context: EvaluationContext,
) -> None:
  """The copy check in pixels and, where there is a network of the full set, in features."""
  train = np.arange(len(dataset.train_labels))  # all: a copy may be of any
  held_out = np.arange(len(dataset.test_labels))
  controls = stratified_rows(
    dataset.test_labels, min(_MOST_CONTROLS, len(dataset.test_labels)), (0, 0)
  )
  pixels = {
    "train": as_pixels(dataset.train_images[train], dataset.max_value),
    "held_out": as_pixels(dataset.test_images[held_out], dataset.max_value),
  }
  for name in ("distilled", "random_subset"):
    if name in context.sets:
      whole = decode_set(context.sets[name])
      images = np.asarray(whole.images).reshape(-1, *whole.images.shape[2:])
      pixels[name] = np.asarray(dataset.preprocessing.inverse(images))
  spaces: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pixels": _flat}
  if context.feature_fn is not None and "full" in models:
    spaces["features"] = _make_features(models["full"], dataset, context.feature_fn)
  else:
    reason = "there is no network trained on the full set whose features could be compared"
    report.scalars["nearest_is_train_features"] = None
    report.settings["not_measured"]["nearest_is_train_features"] = reason
  for space, to_space in spaces.items():
    rows = {name: to_space(images) for name, images in pixels.items()}
    for name in ("distilled", "random_subset", "held_out"):
      if name not in rows:
        continue
      own_rows = controls if name == "held_out" else None
      images = rows[name] if own_rows is None else rows[name][own_rows]
      checked = copies.check_copies(images, rows["train"], rows["held_out"], own_rows=own_rows)
      mean, *ends = copies.mean_interval(checked.is_train)
      key = f"{_prefix(name)}nearest_is_train_{space}"
      report.scalars[key], report.interval[key] = mean, ends
      report.settings["interval_over"][key] = "images of the set"
      if name == "distilled":
        report.settings["nearest_is_train_without_copying"] = checked.expected
      for to in ("train", "held_out"):
        distance = np.median(getattr(checked, to).distance)
        report.scalars[f"{_prefix(name)}distance_to_{to}_{space}"] = float(distance)
      if name == "distilled":
        report.settings[f"closest_pairs_{space}"] = _closest(checked, train, held_out)


def _closest(checked: copies.Copies, train: np.ndarray, held_out: np.ndarray) -> list[dict]:
  """The synthetic images that lie nearest to a train image, and what they lie beside."""
  order = np.argsort(checked.train.distance)[:_NUM_PAIRS]
  return [
    {
      "synthetic": int(i),
      "train": int(train[checked.train.index[i]]),
      "distance_to_train": float(checked.train.distance[i]),
      "held_out": int(held_out[checked.held_out.index[i]]),
      "distance_to_held_out": float(checked.held_out.distance[i]),
    }
    for i in order
  ]


def _flat(images: np.ndarray) -> np.ndarray:
  return images.reshape(len(images), -1)


def _make_features(full: Mapping[str, Models], dataset: RealData, feature_fn: Callable):
  """(pixels f32[b h w c]) -> features f32[b d] of the first network of the full set."""
  params = jax.tree.map(lambda leaf: leaf[0], next(iter(full.values())).params)
  embed = jax.jit(lambda pixels: feature_fn(params, dataset.preprocessing.forward(pixels)))
  return lambda pixels: _flat(in_blocks(embed, np.asarray(pixels, np.float32)))


def _prefix(name: str) -> str:
  return "" if name == "distilled" else f"{name}_"
