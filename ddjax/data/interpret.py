"""Images and labels as people save them, brought into one form: u8[N h w c] and i32[N].

What an array means is told by its shape, its type and its values, and said in the log where it is
not the plain form. Where two readings are possible, the error names both.
"""

import math
from typing import NamedTuple

from absl import logging
import numpy as np

from ddjax.data.source import DataError

_WHITES = (1, 15, 16, 31, 63, 127, 255, 511, 1023, 2047, 4095)
"""Values of white that images of another type may have."""
_DARK = 8  # a set whose brightest value is less than an eighth of white is nearly black
_MOST_LABEL = 2**31 - 1
ORDERS = ("last", "first")
"""Where channels stand: [N h w c] or [N c h w]."""
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")
"""Pillow's names for grey pictures of 16 bits."""


class Labels(NamedTuple):
  """Labels of one part of a set.

  Attributes:
    index: i32[N].
    names: the classes' names in the order of their index, where the labels are names; else ().
    width: of one-hot rows, whose last class may have no example; else 0.
  """

  index: np.ndarray
  names: tuple[str, ...] = ()
  width: int = 0


def as_images(
  where: str, images: np.ndarray, channels: str | None = None, max_value: float | None = None
) -> np.ndarray:
  """Images in any usual form as u8[N h w c], c = 1 or 3.

  Args:
    where: the file and the array, for errors and the log.
    images: [N h w], [N h w c] or [N c h w]; uint8, another integer type with values in 0 to 255,
      uint16 (divided by 65535), bool, or float in [0, 1] (rounded to 255ths).
    channels: a name in `ORDERS`; None goes by the shape.
    max_value: the value of white; None goes by the type.
  Raises:
    DataError: naming the first value that is wrong.
  """
  images = images[..., None] if images.ndim == 3 else images
  if images.ndim != 4 or not images.size:
    raise DataError(f"{where} has shape {images.shape}, not [N h w c].")
  if channel_order(where, images.shape, channels) == "first":
    logging.info(
      "%s is %s: taken as [N c h w] (data.channels=first) and transposed.", where, images.shape
    )
    images = images.transpose(0, 2, 3, 1)
  if images.shape[3] not in (1, 3):
    alpha = " Where the fourth is alpha, save images[..., :3]." if images.shape[3] == 4 else ""
    raise DataError(
      f"{where} has {images.shape[3]} channels; 1 (grey) or 3 (colour) are needed, which "
      f"augmentations, corruptions and pictures are made for.{alpha}"
    )
  return as_bytes(where, images, max_value)


def channel_order(where: str, shape: tuple[int, ...], wanted: str | None = None) -> str:
  """Where the channels of [N ...] images stand, a name in `ORDERS`.

  They are the axis that is shorter than both others: the last one or the first after N.

  Raises:
    DataError: for an unknown `wanted`, or None where the shape does not say.
  """
  if wanted is not None:
    if wanted not in ORDERS:
      raise DataError(f"data.channels={wanted!r} must be one of {', '.join(ORDERS)}.")
    return wanted
  first, middle, last = shape[1:]
  if (order := likely_order(shape)) is not None:
    return order
  if first == middle and last <= 4:  # tiny images, as [N 3 3 3]
    return "last"
  raise DataError(
    f"{where} has shape {tuple(shape)}: images of {first} x {middle} px with {last} channels "
    f"(data.channels=last), or of {middle} x {last} px with {first} (data.channels=first)? Name it."
  )


def likely_order(shape: tuple[int, ...]) -> str | None:
  """Where the channels of [N ...] images stand, by the shape alone; None where it is open."""
  first, middle, last = shape[1:]
  if last < min(first, middle) or (last == 1 and first > 1):
    return "last"
  if first < min(middle, last) or (first == 1 and last > 1):
    return "first"
  return None


def usual_white(dtype: np.dtype) -> int:
  """The value of white in images of a type: 255, of uint16 65535, of bool and float 1."""
  if dtype.kind in "bf":
    return 1
  return 65535 if dtype == np.uint16 else 255


def check_not_dark(where: str, words: str, most: float, white: float, field: str) -> None:
  """Raises DataError where the brightest value says that another one may be white.

  Args:
    where: what holds the images, for errors.
    words: their type, likewise.
    most: the greatest value; 0 is black whatever white is.
    white: the value that the type makes white.
    field: of the config that decides.
  """
  if not 0 < most < white / _DARK:
    return
  other = next((value for value in _WHITES if most <= value), white) if most > 1 or white > 1 else 0
  other = other or math.ceil(most * 1e6) / 1e6
  raise DataError(
    f"{where} is {words}, and its greatest value is {most:g}. White is {other:g} "
    f"({field}={other:g}), or it is {white:g} and all images are nearly black ({field}={white:g})? "
    "Name it."
  )


def to_bytes(values: np.ndarray, white: float) -> np.ndarray:
  """Values in 0 to `white`, of any type and shape, as uint8, rounded to 255ths."""
  return np.round(values.astype(np.float64).clip(0, white) * (255 / white)).astype(np.uint8)


def as_bytes(
  where: str, images: np.ndarray, max_value: float | None = None, field: str = "data.max_value"
) -> np.ndarray:
  """Images of any usual type as uint8.

  Args:
    where: the file and the array, for errors and the log.
    images: of any shape.
    max_value: the value of white; None goes by the type, and asks where all would be nearly black.
    field: of the config that has `max_value`, for errors.
  Raises:
    DataError: naming the first value that no reading explains.
  """
  if images.dtype.kind not in "biuf":
    raise DataError(f"{where} is {images.dtype}, neither whole numbers nor float.")
  white = usual_white(images.dtype) if max_value is None else max_value
  if not 0 < white < float("inf"):
    raise DataError(f"{field}={white} must be positive.")
  _check_range(where, images, 0, white, field)
  if images.dtype.kind != "b" and max_value is None:
    check_not_dark(where, str(images.dtype), images.max(initial=0), white, field)
  if images.dtype.kind in "iu" and white == 255:
    if images.dtype != np.uint8:
      logging.info("%s is %s in 0 to 255: taken as uint8.", where, images.dtype)
    return images.astype(np.uint8, copy=False)
  if images.dtype.kind == "f" and white == 1:
    return np.round(images.astype(np.float32) * 255).astype(np.uint8)
  if images.dtype.kind != "b":
    logging.info("%s is %s: divided by %g, and kept to 255ths.", where, images.dtype, white)
  return to_bytes(images, white)


def as_labels(where: str, labels: np.ndarray, count: int, names: tuple[str, ...] = ()) -> Labels:
  """Labels in any usual form as indices of classes.

  Args:
    where: the file and the array, for errors and the log.
    labels: integers 0 to k-1, [N] or [N 1]; one-hot rows [N k]; or names of classes.
    count: N, the number of images.
    names: the classes' names where they are known, in order; names get their index from it.
  Raises:
    DataError: naming the first label that is wrong.
  """
  if labels.ndim == 2 and labels.shape[1] == 1:
    labels = labels[:, 0]
  if labels.ndim not in (1, 2) or len(labels) != count:
    raise DataError(
      f"{where} is {labels.dtype}{list(labels.shape)}, not a label for each of the {count} images."
    )
  if labels.ndim == 2:
    return Labels(_from_one_hot(where, labels), width=labels.shape[1])
  if labels.dtype.kind in "US":
    return _from_names(where, labels, names)
  is_whole = labels.dtype.kind == "f" and (np.isfinite(labels) & (labels == np.floor(labels))).all()
  if labels.dtype.kind not in "iub" and not is_whole:
    raise DataError(f"{where} is {labels.dtype}, not an integer for each of the {count} images.")
  if count and labels.min() < 0:
    index = int(np.argmin(labels))
    raise DataError(f"{where}[{index}] = {labels[index]} is negative.")
  if count and labels.max() > _MOST_LABEL:  # before it is cast
    index = int(np.argmax(labels))
    raise DataError(f"{where}[{index}] = {labels[index]} is too large for the number of a class.")
  return Labels(labels.astype(np.int32))


def _from_one_hot(where: str, labels: np.ndarray) -> np.ndarray:
  """i32[N] of rows that hold a single 1."""
  is_one_hot = np.isin(labels, (0, 1)).all(1) & (labels.astype(np.float64).sum(1) == 1)
  if not is_one_hot.all():
    row = int(np.argmin(is_one_hot))
    raise DataError(
      f"{where}[{row}] = {np.array2string(labels[row], threshold=10)} is no one-hot row; real "
      "images have one class each."
    )
  logging.info("%s is one-hot: taken as the index of the 1.", where)
  return labels.argmax(1).astype(np.int32)


def _from_names(where: str, labels: np.ndarray, names: tuple[str, ...]) -> Labels:
  """Indices of names, in the order that is known, or by alphabet."""
  labels = np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
  found = tuple(map(str, np.unique(labels)))
  unknown = sorted(set(found) - set(names)) if names else []
  if unknown:
    raise DataError(f"{where} holds {unknown[0]!r}, which is no name of a class.")
  names = names or found
  logging.info("%s holds names: the classes are %s.", where, ", ".join(names[:10]))
  index = {name: row for row, name in enumerate(names)}
  return Labels(np.array([index[str(name)] for name in labels], np.int32), names)


def _check_range(where: str, images: np.ndarray, low: float, high: float, field: str) -> None:
  """Raises DataError for the first value that is not finite or lies outside [low, high]."""
  flat = images.reshape(len(images), -1)
  if flat.dtype.kind == "b" or flat.dtype == np.uint8 and high >= 255:
    return
  for is_bad, what in (
    (~np.isfinite(flat), "is not finite"),
    (flat < low, f"lies outside [{low:g}, {high:g}]"),
    (flat > high, f"lies outside [{low:g}, {high:g}]; {field} names another value of white"),
  ):
    if is_bad.any():
      row, column = np.unravel_index(np.argmax(is_bad), is_bad.shape)
      raise DataError(f"{where}[{row}] holds {flat[row, column]}, which {what}.")
