"""Arrays under the names that people give images and labels, whatever file they lie in."""

from pathlib import Path
from typing import Any, Mapping, NamedTuple

import numpy as np

from ddjax.io.foreign.arrays import describe, make_set
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet

IMAGE_NAMES = (
  "images", "x_syn", "image_syn", "images_syn", "syn_images", "x_train", "image", "data", "x",
)  # fmt: skip
LABEL_NAMES = (
  "labels", "y_syn", "label_syn", "labels_syn", "syn_labels", "y_train", "label", "targets", "y",
)  # fmt: skip
_RATE_NAMES = ("learning_rate", "lr", "syn_lr", "lr_syn")
NEEDED = f"images ({', '.join(IMAGE_NAMES)}) and labels ({', '.join(LABEL_NAMES)})"


class Names(NamedTuple):
  """Names of arrays in a file; `rate` is None where there is none."""

  images: str
  labels: str
  rate: str | None


def find_names(arrays: Mapping[str, Any]) -> Names | None:
  """Under which names images, labels and, where it is there, a learning rate lie; None for none."""
  known = (IMAGE_NAMES, LABEL_NAMES, _RATE_NAMES)
  found = [next((name for name in names if name in arrays), None) for names in known]
  return Names(*found) if found[0] and found[1] else None


def set_of_tensors(path: Path, layout: str, value: Any, options: ForeignOptions) -> ForeignSet:
  """The set of a dict of tensors as PyTorch's users save it, channels first where open.

  uint8 is pixels. Labels that are no distributions are logits, unless `options` say otherwise.

  Args:
    path: of the file, for errors.
    layout: its name.
    value: {name: array or number}, or whatever else the file held.
    options: what the file does not say of itself.
  Raises:
    ValueError: naming the file, for other names, float images whose space is not named, a learning
      rate that is none, or arrays that are no set.
  """
  names = find_names(value) if type(value) is dict else None
  if names is None:
    raise wrong(path, layout, NEEDED, value)
  space = space_of(path, layout, value[names.images], options)
  rate = value.get(names.rate)
  rate = rate.item() if isinstance(rate, np.ndarray) and rate.size == 1 else rate
  if rate is not None and not (isinstance(rate, (int, float)) and 0 < rate < float("inf")):
    raise ValueError(f"{path}: {names.rate} is {describe(rate)}, not one positive learning rate.")
  remarks = (f"Arrays {' and '.join(names[:2])}.",)
  images, labels = value[names.images], value[names.labels]
  one = make_set(path, layout, images, labels, options, space, remarks, "logits", "first")
  return one._replace(learning_rate=rate)


def space_of(path: Path, layout: str, images: Any, options: ForeignOptions) -> str | None:
  """Where images lie: in pixels for uint8; None where the options say it.

  Raises:
    ValueError: for other images where they do not.
  """
  if isinstance(images, np.ndarray) and images.dtype == np.uint8:
    return "pixels"
  if options.space is not None:
    return None
  raise ValueError(
    f"{path}: layout {layout!r} does not say where its images lie, and their values run from "
    f"{_end(images, np.min)} to {_end(images, np.max)}. Name foreign.space: pixels or network."
  )


def wrong(path: Path, layout: str, needs: str, found: Any) -> ValueError:
  """The error of a file that does not have the layout."""
  return ValueError(f"{path}: layout {layout!r} needs {needs}; found {describe(found)}.")


def _end(images: Any, end) -> str:
  """The least or the largest value of an array, for a message."""
  is_number = isinstance(images, np.ndarray) and images.size and images.dtype.kind in "biufV"
  return f"{float(end(images.astype(np.float64))):.3g}" if is_number else "nothing"
