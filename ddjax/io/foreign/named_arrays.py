"""Arrays under the names that people give images and labels, whatever file they lie in."""

from pathlib import Path
from typing import Any, Mapping, NamedTuple

import numpy as np

from ddjax.io.foreign.arrays import Convention, check_no_teacher, describe, make_set
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet

IMAGE_NAMES = (
  "images", "x_syn", "image_syn", "images_syn", "syn_images", "x_train", "image", "data", "x",
)  # fmt: skip
LABEL_NAMES = (
  "labels", "y_syn", "label_syn", "labels_syn", "syn_labels", "y_train", "label", "targets", "y",
)  # fmt: skip
_PIXELS_BELOW, _NETWORK_ABOVE = 0.1, 0.3  # shares of the absolute sum that is negative
_LEAST_SIDE = 8  # pixels; kernels of convolutions have up to 7
_MOST_PIXEL = 2  # pixels of distilled images may leave [0, 1] by some
_RATE_NAMES = ("learning_rate", "lr", "syn_lr", "lr_syn")
NEEDED = f"images ({', '.join(IMAGE_NAMES)}) and labels ({', '.join(LABEL_NAMES)})"


class Names(NamedTuple):
  """Names of arrays in a file; `rate` is None where there is none."""

  images: str
  labels: str
  rate: str | None


def find_names(arrays: Mapping[str, Any]) -> Names | None:
  """Under which names images, labels and, where it is there, a learning rate lie; None for none.

  Where names are none of the usual ones, the only stack of images and the only array that has a
  label for each of them.
  """
  known = (IMAGE_NAMES, LABEL_NAMES, _RATE_NAMES)
  images, labels, rate = (next((name for name in names if name in arrays), None) for names in known)
  plain = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
  stacks = [images] if images else [name for name in plain if _is_stack(plain[name])]
  if not labels and len(stacks) == 1 and stacks[0] in plain:
    count = len(plain[stacks[0]]) if plain[stacks[0]].ndim else 0
    fitting = [
      name
      for name, value in plain.items()
      if name not in (*stacks, rate, "class_names") and value.ndim in (1, 2) and len(value) == count
    ]
    labels = fitting[0] if len(fitting) == 1 else None
  return Names(stacks[0], labels, rate) if len(stacks) == 1 and labels else None


def _is_stack(value: np.ndarray) -> bool:
  """Whether an array could be images; weights of a convolution are smaller."""
  return value.ndim == 4 and value.size > 0 and sorted(value.shape[1:])[1] >= _LEAST_SIDE


def set_of_tensors(path: Path, layout: str, value: Any, options: ForeignOptions) -> ForeignSet:
  """The set of a dict of tensors, or of a pair, as PyTorch's users save it.

  Channels come first where the shape leaves it open. Whole numbers are pixels. Labels that are no
  distributions are logits, unless `options` say otherwise.

  Args:
    path: of the file, for errors.
    layout: its name.
    value: {name: array or number}, a pair (images, labels), or whatever else the file held.
    options: what the file does not say of itself.
  Raises:
    ValueError: naming the file, for other names, float images whose space is not named, a learning
      rate that is none, or arrays that are no set.
  """
  if is_pair(value):
    value = {"images": value[0], "labels": value[1]}
  names = find_names(value) if type(value) is dict else None
  if names is None:
    raise wrong(path, layout, NEEDED, value)
  check_no_teacher(path, value[names.labels])
  space = space_of(path, layout, value[names.images], options)
  rate = value.get(names.rate)
  rate = rate.item() if isinstance(rate, np.ndarray) and rate.size == 1 else rate
  if rate is not None and not (isinstance(rate, (int, float)) and 0 < rate < float("inf")):
    raise ValueError(f"{path}: {names.rate} is {describe(rate)}, not one positive learning rate.")
  remarks = (f"Arrays {' and '.join(names[:2])}.",)
  images, labels = value[names.images], value[names.labels]
  convention = Convention(layout, space, "logits", "first", remarks)
  one = make_set(path, images, labels, options, convention)
  return one._replace(learning_rate=rate)


def space_of(path: Path, layout: str, images: Any, options: ForeignOptions) -> str | None:
  """Where images lie: in pixels for whole numbers; None where the options say it.

  Raises:
    ValueError: for other images where they do not.
  """
  if options.space is not None:
    return None
  first = images[0] if type(images) in (list, tuple) and images else images
  if isinstance(first, np.ndarray) and first.dtype.kind in "biu":
    return "pixels"
  raise ValueError(
    f"{path}: layout {layout!r} does not say where its images lie, and their values run from "
    f"{_end(images, np.min)} to {_end(images, np.max)}. Name foreign.space: pixels or network."
  )


def class_names(path: Path, arrays: Mapping[str, Any], num_classes: int) -> tuple[str, ...]:
  """The names of the classes beside a set, in the order of its labels; () where there are none.

  Raises:
    ValueError: for names of another number, or one twice.
  """
  names = arrays.get("class_names")
  if not isinstance(names, np.ndarray) or names.ndim != 1 or names.dtype.kind != "U":
    return ()
  names = tuple(map(str, names))
  if len(names) != num_classes or len(set(names)) < len(names):
    raise ValueError(
      f"{path}: class_names are {len(set(names))} names in {len(names)} places, where its labels "
      f"are of {num_classes} classes."
    )
  return names


def is_pair(value: Any) -> bool:
  """Whether a value could be (images, labels)."""
  return (
    type(value) in (list, tuple)
    and len(value) == 2
    and all(isinstance(part, (np.ndarray, list, tuple)) for part in value)
  )


def likely_space(images: Any) -> str | None:
  """Where float images lie, by how much of them is negative: nothing of pixels, half of what is
  standardised or whitened; None where it is open.
  """
  if not isinstance(images, np.ndarray) or not images.size or images.dtype.kind not in "fV":
    return None
  values = images.astype(np.float64)
  negative = -values[values < 0].sum() / max(np.abs(values).sum(), 1e-12)
  if negative < _PIXELS_BELOW and values.max() <= _MOST_PIXEL:
    return "pixels"
  return "network" if _NETWORK_ABOVE < negative < 1 - _NETWORK_ABOVE else None


def wrong(path: Path, layout: str, needs: str, found: Any) -> ValueError:
  """The error of a file that does not have the layout."""
  return ValueError(f"{path}: layout {layout!r} needs {needs}; found {describe(found)}.")


def _end(images: Any, end) -> str:
  """The least or the largest value of an array, for a message."""
  is_number = isinstance(images, np.ndarray) and images.size and images.dtype.kind in "biufV"
  return f"{float(end(images.astype(np.float64))):.3g}" if is_number else "nothing"
