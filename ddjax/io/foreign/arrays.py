"""Images and labels of a foreign file, checked and brought into our form."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddjax.data.interpret import check_not_dark, likely_order, usual_white
from ddjax.io.distilled import LABEL_KINDS
from ddjax.io.foreign.foreign_set import SPACES, ForeignOptions, ForeignSet
from ddjax.io.foreign.pictures import MAX_VALUE
from ddjax.wording import nearest

_MOST_PIXEL = 16  # distilled pixels leave [0, 1] by some, but not by that
MOST_CLASSES = 25_000  # ImageNet-21k has 21,841


class Convention(NamedTuple):
  """How the project of a layout stores its sets.

  Attributes:
    layout: its name.
    space: where its images lie, if they are floats; None where only the options say it.
    soft_kind: the kind of its labels that are no distributions; None asks for it.
    channels: "first" or "last".
    remarks: what its reader assumed of this file.
  """

  layout: str
  space: str | None
  soft_kind: str | None = None
  channels: str = "last"
  remarks: tuple[str, ...] = ()


def make_set(
  path: Path, images: Any, labels: Any, options: ForeignOptions, convention: Convention
) -> ForeignSet:
  """Checks images and labels and brings them into our form.

  Args:
    path: of the file, for errors.
    images: [n h w c] or [n c h w], numbers; uint8, and in pixels all whole numbers, are divided by
      the value of white.
    labels: classes [n], or [n k].
    options: what the file does not say of itself.
    convention: what holds where neither the file nor the options say it.
  Raises:
    ValueError: naming the file and what is wrong.
  """
  images = _numbers(path, "images", images)
  if images.ndim != 4 or not images.size:
    raise ValueError(f"{path}: images are {list(images.shape)}, not [n h w c].")
  images, turned = _last_channels(images, convention.channels)
  own_space = "pixels" if images.dtype.kind in "biu" else convention.space
  space = options.space or own_space
  if space not in SPACES:
    raise ValueError(f"{path}: unknown space {str(space)[:40]!r}. {nearest(str(space), SPACES)}")
  images = _scaled(path, images, space, options.max_value)
  labels = _as_classes(_numbers(path, "labels", labels))
  check_no_teacher(path, labels)  # before their length, which is that of augmentations or epochs
  if labels.shape[:1] != images.shape[:1]:
    raise ValueError(f"{path}: {len(images)} images, but labels {list(labels.shape)}.")
  images, labels = _first_of_each_class(path, images, labels, options.ipc)
  labels, kind, remark = _labels(path, labels, options, convention.soft_kind)
  factor = options.decode_factor or 1
  if type(factor) is not int or factor < 1 or images.shape[1] % factor or images.shape[2] % factor:
    raise ValueError(
      f"{path}: decode_factor={factor} does not divide images of {images.shape[1]} x "
      f"{images.shape[2]}."
    )
  return ForeignSet(
    images=images.astype(np.float32),
    labels=labels.astype(np.float32),
    label_kind=kind,
    space=space,
    layout=convention.layout,
    remarks=(*convention.remarks, *turned, *remark),
    decode_factor=factor,
  )


def _as_classes(labels: np.ndarray) -> np.ndarray:
  """Labels without the axis of a column, and whole floats [n] as integers."""
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  is_whole = labels.ndim == 1 and labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
  if is_whole and (np.abs(labels) < MOST_CLASSES).all():
    return labels.astype(np.int64)
  return labels


def check_no_teacher(path: Path, labels: Any) -> None:
  """Raises ValueError for labels of several axes."""
  if isinstance(labels, np.ndarray) and labels.ndim > 2:
    raise ValueError(
      f"{path}: labels are {list(labels.shape)}: one for each augmentation or epoch of a teacher, "
      "which goes with its training only. One label [n k] for each image can be read."
    )


def _scaled(path: Path, images: np.ndarray, space: str, white: float | None) -> np.ndarray:
  """Images as floats; whole numbers that are pixels, and all for which white is named, over white.

  Raises:
    ValueError: for pixels that are no whole numbers from 0 to white, or nearly black in all images
      if white is what their type says; for floats that run to 255.
  """
  kind = images.dtype.kind
  if kind == "f" and white is None:
    most = float(images.max())
    if space == "pixels" and most > _MOST_PIXEL:
      raise ValueError(
        f"{path}: images run from {images.min():.3g} to {most:.3g}, where pixels (foreign.space) "
        "run from 0 to 1. Name the value of white: foreign.max_value=255?"
      )
    return images
  if kind != "f" and space == "network" and images.dtype != np.uint8 and white is None:
    return images
  if kind == "f" and space == "network":
    raise ValueError(f"{path}: foreign.max_value={white:g} is of pixels, not of network space.")
  named, white = white, usual_white(images.dtype) if white is None else white
  if not 0 < white < float("inf"):
    raise ValueError(f"foreign.max_value={white} must be positive.")
  if kind != "f" and (images.min() < 0 or images.max() > white):
    raise ValueError(
      f"{path}: images are {images.dtype} and run from {images.min()} to {images.max()}, not "
      f"within 0 to {white:g}. Name foreign.max_value, the value of white."
    )
  if named is None and kind != "b":
    check_not_dark(str(path), str(images.dtype), images.max(), white, MAX_VALUE)
  return images / np.float32(white)


def is_centred(labels: np.ndarray) -> bool:
  """Whether labels [n k] are one-hot rows minus 1/k."""
  if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind != "f":
    return False
  moved = labels.astype(np.float64) + 1 / labels.shape[1]
  is_whole = (np.abs(moved) < 1e-3) | (np.abs(moved - 1) < 1e-3)
  return bool(is_whole.all() and (np.abs(moved.sum(1) - 1) < 1e-2).all())


def _first_of_each_class(
  path: Path, images: np.ndarray, labels: np.ndarray, ipc: int | None
) -> tuple[np.ndarray, np.ndarray]:
  """The first `ipc` images of each class, in the order of the file; all for None.

  Raises:
    ValueError: for a number below 1, or above what the smallest class has.
  """
  if ipc is None:
    return images, labels
  classes = labels if labels.ndim == 1 else labels.reshape(len(labels), -1).argmax(1)
  rows = [np.flatnonzero(classes == label) for label in np.unique(classes)]
  fewest = min(map(len, rows))
  if type(ipc) is not int or not 1 <= ipc <= fewest:
    raise ValueError(f"foreign.ipc={ipc} must lie between 1 and {fewest}, its smallest class.")
  kept = np.sort(np.concatenate([of_class[:ipc] for of_class in rows]))
  return images[kept], labels[kept]


def _labels(
  path: Path, labels: np.ndarray, options: ForeignOptions, soft_kind: str | None
) -> tuple[np.ndarray, str, tuple[str, ...]]:
  """Labels [n k], their kind, and what was assumed."""
  kind = options.label_kind
  if kind is not None and kind not in LABEL_KINDS:
    raise ValueError(f"Unknown label_kind {str(kind)[:40]!r}. {nearest(kind, LABEL_KINDS)}")
  if labels.ndim == 1 and labels.dtype.kind in "iu" and labels.size:
    if kind not in (None, "one_hot"):
      raise ValueError(f"{path}: label_kind={kind!r}, but its labels are numbers of classes.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MOST_CLASSES:
      raise ValueError(f"{path}: labels run from {low} to {high}.")
    one_hot = np.zeros((len(labels), high + 1), np.float32)  # np.eye is up to 2.5 GB
    one_hot[np.arange(len(labels)), labels] = 1
    return one_hot, "one_hot", ()
  if labels.ndim != 2 or not labels.size:
    raise ValueError(
      f"{path}: labels are {labels.dtype}{list(labels.shape)}, neither classes [n] nor [n k]."
    )
  if kind is not None:
    return labels, kind, ()
  sums_to_one = np.allclose(labels.sum(axis=1), 1, atol=1e-3) and labels.min() >= 0
  if sums_to_one:
    kind = "one_hot" if np.isin(labels, (0, 1)).all() else "probabilities"
    return labels, kind, (f"Labels are taken as {kind}: each row sums to 1.",)
  if is_centred(labels):
    return labels, "centred", ("Labels are one-hot minus 1/k: taken as centred.",)
  if soft_kind is None:
    raise ValueError(
      f"{path}: its labels are no distributions over classes. Name foreign.label_kind: "
      f"{', '.join(LABEL_KINDS)}."
    )
  return labels, soft_kind, (f"Labels are taken as {soft_kind}, as its project has them.",)


def _numbers(path: Path, name: str, value: Any) -> np.ndarray:
  """An array of finite numbers, or a list of arrays of one shape, or of numbers."""
  if type(value) in (list, tuple) and value:
    parts = [np.asarray(one) for one in value if isinstance(one, (np.ndarray, int, float))]
    if len(parts) == len(value) and len({(one.shape, one.dtype) for one in parts}) == 1:
      value = np.stack(parts)
  if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufV":
    raise ValueError(f"{path}: {name} are {describe(value)}, no array of numbers.")
  value = value.astype(np.float32) if value.dtype.kind == "V" else value  # bfloat16
  with np.errstate(over="ignore"):
    is_finite = np.isfinite(value.astype(np.float32))
  if not is_finite.all():
    index = tuple(int(i) for i in np.argwhere(~is_finite)[0])
    raise ValueError(f"{path}: {name} hold {value[index]} at {index}.")
  return value


def _last_channels(images: np.ndarray, stored: str) -> tuple[np.ndarray, tuple[str, ...]]:
  """Images as [n h w c], and what was assumed.

  Where the shape leaves open which axis the channels are, the layout's order decides.

  Args:
    images: [n c h w] or [n h w c].
    stored: "first" or "last", where the layout's project puts the channels.
  """
  order = likely_order(images.shape) or stored
  if order == "last":
    note = ("Channels come last in the file, where its project puts them first.",)
    return images, note if stored == "first" else ()
  note = ("Channels come first in the file and were put last.",)
  return images.transpose(0, 2, 3, 1), note if stored == "last" else ()


def describe(value: Any) -> str:
  """A value in a few words, without going into what it contains."""
  if isinstance(value, np.ndarray):
    return f"an array {value.dtype}{list(value.shape)}"
  if type(value) is dict:
    names = ", ".join(str(key)[:30] for key in list(value)[:8])
    return f"a dict of {names or 'nothing'}"
  if type(value) in (list, tuple):
    return f"a {type(value).__name__} of {len(value)}"
  return f"a {type(value).__name__}"
