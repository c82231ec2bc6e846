"""Another project's set as one of ours: in network space, with a preprocessing fitted here."""

import hashlib
import os
from pathlib import Path
import re
from typing import Any, Mapping
import zipfile

from absl import logging
from ml_collections import ConfigDict
import numpy as np

import ddjax
from ddjax.data.facts import get_facts
from ddjax.data.load import RealData, is_at_hand
from ddjax.data.preprocess import (
  KINDS,
  Preprocessing,
  as_pixels,
  check_kind,
  fit_preprocessing,
  is_fitted,
)
from ddjax.io.distilled import find_distilled, load_distilled
from ddjax.io.foreign import pixel_statistics
from ddjax.io.foreign.containers import class_number
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.read import read_foreign
from ddjax.types import DistilledSet
from ddjax.wording import nearest

_NUM_REAL = 1000  # real images whose moments are compared
_MOST_NAMES = 10
_QUICK_DIMENSIONS = 256  # of an image up to which a whitening is fitted in no time
_WHITENED = 0.7  # correlation of neighbours; CIFAR-10: .92, whitened .36 to .62
_MOST_DIMENSIONS = 4096  # of an image up to which whitenings are fitted only to compare


def load_any(
  path: str | os.PathLike,
  real: RealData,
  options: Mapping[str, Any] | None = None,
  foreign: ForeignSet | None = None,
) -> DistilledSet:
  """Reads one of our own sets, or another project's.

  Args:
    path: a run folder, a `distilled` folder, or a file or folder of another layout.
    real: the real set that it stands for.
    options: the group `ddjax.config.foreign_group.foreign`, or some of its fields.
    foreign: what `open_foreign` gave for the same path and options, which is then not read again.
  Returns:
    the DistilledSet; `info` as `ddjax.io.distilled.load_distilled` gives it. Another project's set
    has `remarks`, `layout` and `file_sha256` besides.
  Raises:
    FileNotFoundError: where there is nothing.
    ValueError: for a file that cannot be read or understood; an option that must be named, or is
      unknown, or does not suit a set of our own; a set that does not suit the real set.
  """
  foreign = open_foreign(path, options) if foreign is None else foreign
  if foreign is None:
    return load_distilled(path)
  distilled = as_distilled(foreign, real, dict(options or {}).get("preprocessing"))
  return distilled.replace(info={**distilled.info, "file_sha256": _digest(Path(path))})


def open_foreign(
  path: str | os.PathLike, options: Mapping[str, Any] | None = None
) -> ForeignSet | None:
  """Another project's set as it lies at a path, before the real set is read; None for our own.

  Raises:
    FileNotFoundError, ValueError: as `load_any`, for what does not need the real set.
  """
  given = dict(options or {})
  for name in given.keys() - set(ForeignOptions._fields):
    raise ValueError(f"Unknown option foreign.{name}. {nearest(name, ForeignOptions._fields)}")
  chosen = ForeignOptions(**given)
  if not is_own(Path(path)) or chosen.layout is not None:
    check_kind(chosen.preprocessing)
    return read_foreign(path, chosen)
  default = ForeignOptions()
  for name, value in chosen._asdict().items():
    if value != getattr(default, name):
      raise ValueError(
        f"foreign.{name}={value!r}, but {path} is a set of our own, which says that itself."
      )
  return None


def check_alone(foreign: ForeignSet, config: ConfigDict, preprocessing: str | None) -> None:
  """What can be refused before a real set is read that takes long to read.

  Args:
    foreign: from `open_foreign`.
    config: the group `ddjax.config.groups.data`.
    preprocessing: as named; None for none.
  Raises:
    ValueError: as `as_distilled`.
  """
  if is_at_hand(config):
    return  # `as_distilled` says more
  facts = get_facts(config.name)
  if facts.image_shape is not None and config.colour_bias is None:
    num_classes = config.num_classes or facts.num_classes
    assert num_classes is not None  # known where the shape is
    _check_suits(foreign, config.name, facts.image_shape, num_classes)
  if foreign.preprocessing is None and preprocessing is None:
    raise ValueError(_advice_alone(foreign, facts.mean is not None))


def as_distilled(
  foreign: ForeignSet, real: RealData, preprocessing: str | None = None
) -> DistilledSet:
  """A foreign set in our convention: images in the space the networks see.

  Images in pixels are mapped forward; images in network space stay as they are. The claim is held
  against pixel statistics, and a warning names the kind that fits clearly better, if one does.

  Args:
    foreign: from `read_foreign`.
    real: the real set; the preprocessing is fitted on its train images.
    preprocessing: one of `KINDS`; not needed where the file carries its own.
  Returns:
    DistilledSet of NumPy arrays; `info` as `load_distilled` gives it. The hash of the real data
    that it was made of is not known, and so None.
  Raises:
    ValueError: if no preprocessing is known, one is named that the file contradicts, or images or
      classes do not suit the real set, naming both.
  """
  _check_suits(foreign, real.info.name, real.info.image_shape, real.info.num_classes)
  foreign = _in_order_of_classes(foreign, real)
  fitted = foreign.preprocessing
  if fitted is not None and preprocessing not in (None, fitted.kind):
    raise ValueError(
      f"foreign.preprocessing={preprocessing!r}, but the file carries {fitted.kind!r}."
    )
  if fitted is None:
    if preprocessing is None:
      raise ValueError(_advice(foreign, real))
    fitted = _fit(preprocessing, real)
  is_grid = foreign.decode_factor > 1
  if is_grid and fitted.is_whitening and foreign.space == "pixels":
    raise ValueError(
      f"foreign.preprocessing={fitted.kind!r} cannot be applied to undecoded grids "
      f"(decode_factor={foreign.decode_factor}); they were made for standardised images."
    )
  images, remarks = foreign.images, foreign.remarks
  if doubt := _doubt(foreign, real, fitted):
    logging.warning("%s", doubt)
    remarks += (doubt,)
  if foreign.space == "pixels":
    images = np.asarray(fitted.forward(images), np.float32)
  counts = np.bincount(foreign.labels.argmax(axis=1), minlength=foreign.labels.shape[1])
  info = {
    "label_kind": foreign.label_kind,
    "method": foreign.method,
    "dataset": real.info.name,
    "ipc": int(counts[0]) if (counts == counts[0]).all() else None,
    "seed": None,
    "step": None,
    "learning_rate": foreign.learning_rate,
    "member_hash": None,
    "real_data_hash": None,
    "decode_factor": foreign.decode_factor,
    "config": {},
    "code_version": ddjax.__version__,
    "layout": foreign.layout,
    "remarks": list(remarks),
    "preprocessing": fitted,
  }
  return DistilledSet(images=images, labels=foreign.labels, info=info)


def check_statistics(
  images: np.ndarray, claimed: str, fitted: Preprocessing, real: RealData
) -> pixel_statistics.Findings:
  """Holds images against real ones under the claimed preprocessing, and under the others.

  The others are fitted only where the claim fits badly, and whitenings of large images never.

  Args:
    images: f32[n h w c], as stored.
    claimed: one of `KINDS`; "none" where they are said to be pixels.
    fitted: the claimed preprocessing.
    real: the real set.
  Returns:
    the Findings.
  """
  rows = np.linspace(0, len(real.train_images) - 1, _NUM_REAL).astype(int)
  pixels = as_pixels(real.train_images[np.unique(rows)], real.max_value)
  alone = pixel_statistics.compare(images, pixels, claimed, {claimed: fitted})
  if alone.distances[claimed] < pixel_statistics.DOUBT:
    return alone
  others = {kind: _fit(kind, real) for kind in _comparable(real) if kind != claimed}
  return pixel_statistics.compare(images, pixels, claimed, {claimed: fitted} | others)


def is_own(path: Path) -> bool:
  """Whether a path is one of a set that `save_distilled` wrote."""
  try:
    place = find_distilled(path)
    with zipfile.ZipFile(place) as file:
      return "info.npy" in file.namelist()
  except Exception:  # absent, or no zip, or a damaged one: the readers say so
    return path.is_dir() and (path / "distilled").is_dir()


def _check_suits(
  foreign: ForeignSet, name: str, image_shape: tuple[int, ...], num_classes: int
) -> None:
  """Raises ValueError where images or classes are not those of the real set."""
  shape, expected = foreign.images.shape[1:], tuple(image_shape)
  if shape != expected:
    what = "channels" if shape[:2] == expected[:2] else "size"
    raise ValueError(
      f"The set's images are {list(shape)}, but {name}'s {list(expected)} "
      f"(height, width, channels): another {what}."
    )
  width = foreign.labels.shape[1]
  if width != num_classes:
    raise ValueError(f"The set's labels are of {width} classes; {name} has {num_classes}.")


def _in_order_of_classes(foreign: ForeignSet, real: RealData) -> ForeignSet:
  """With the labels of a set whose classes have names in the order of the real set's.

  Numbers, alone or before an underscore, are in order already.

  Raises:
    ValueError: for names that are neither numbers nor those of the real set's classes.
  """
  names = [_plain_name(name) for name in foreign.class_names]
  wanted = [_plain_name(name) for name in real.class_names]
  if sorted(names) == sorted(wanted) and len(set(names)) == len(names):
    order = [names.index(name) for name in wanted]
    return foreign._replace(labels=foreign.labels[:, order], class_names=real.class_names)
  if all(class_number(name) is not None for name in foreign.class_names):
    return foreign
  theirs, ours = (
    ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    for names in (foreign.class_names, real.class_names)
  )
  raise ValueError(
    f"The set's classes are {theirs}, those of {real.info.name} {ours}: call them so, or by number."
  )


def _plain_name(name: str) -> str:
  """Letters and digits of a name, in lower case."""
  return re.sub(r"[\W_]+", "", name).lower()


def _doubt(foreign: ForeignSet, real: RealData, fitted: Preprocessing) -> str | None:
  """A sentence where pixel statistics speak against what is claimed."""
  is_pixels = foreign.space == "pixels"
  claimed = "none" if is_pixels else fitted.kind
  found = check_statistics(foreign.images, claimed, Preprocessing() if is_pixels else fitted, real)
  if not found.is_doubtful:
    return None
  return (
    f"The images are taken as {_as_words(claimed)}, but their pixel statistics fit "
    f"{_as_words(found.best)} better: distance {found.distances[found.best]:.2f} against "
    f"{found.distances[claimed]:.2f}."
  )


def _advice(foreign: ForeignSet, real: RealData) -> str:
  """What to say where no preprocessing is named."""
  has_published = get_facts(real.info.name).mean is not None
  if foreign.space == "pixels":
    return _advice_alone(foreign, has_published)
  comparable, is_quick = _comparable(real), np.prod(real.info.image_shape) <= _QUICK_DIMENSIONS
  fitted = [kind for kind in comparable if is_quick or is_fitted(kind, real.fingerprint)]
  if not any(kind.startswith("zca") for kind in fitted):
    return _advice_alone(foreign, has_published)
  candidates = {kind: _fit(kind, real) for kind in fitted}
  pixels = as_pixels(real.train_images[:_NUM_REAL], real.max_value)
  found = pixel_statistics.compare(foreign.images, pixels, "none", candidates)
  order = sorted(found.distances, key=lambda name: found.distances[name])
  listed = ", ".join(f"{kind} {found.distances[kind]:.2f}" for kind in order)
  others = ", ".join(kind for kind in comparable if kind not in fitted)
  listed += f" ({others} not compared, as the cache has none)" if others else ""
  return (
    "The file carries no preprocessing, and none is guessed. Name foreign.preprocessing, one of "
    f"{_kinds(has_published)}. Distance of its pixel statistics from real images: {listed}; so "
    f"{order[0]} is the most likely."
  )


def _advice_alone(foreign: ForeignSet, has_published: bool) -> str:
  """The same without the real set, or without whitenings of it, which take a minute to fit."""
  known = _kinds(has_published)
  if foreign.space == "pixels":
    return (
      "The set lies in pixels and its file names no preprocessing. Name with "
      f"foreign.preprocessing the one under which networks are to see it: {known}."
    )
  found = pixel_statistics.moments(foreign.images)
  likely = "a whitening (zca) is likely" if found.correlation < _WHITENED else "none is excluded"
  return (
    "The file carries no preprocessing, and none is guessed. Name foreign.preprocessing, one of "
    f"{known}. Its values have the mean {found.mean.mean():.2f} and the deviation "
    f"{found.std.mean():.2f}; neighbouring pixels are correlated by {found.correlation:.2f}, those "
    f"of photographs by about 0.9: {likely}. When a run has named one, its report says whether "
    "another fits better."
  )


def _kinds(has_published: bool) -> str:
  """The kinds that can be named."""
  return ", ".join(kind for kind in KINDS if has_published or kind != "published")


def _comparable(real: RealData) -> list[str]:
  """The kinds that can be fitted on a real set at little cost."""
  is_small = np.prod(real.info.image_shape) <= _MOST_DIMENSIONS
  return [
    kind
    for kind in KINDS
    if (is_small or not kind.startswith("zca"))
    and (kind != "published" or get_facts(real.info.name).mean is not None)
  ]


def _fit(kind: str, real: RealData) -> Preprocessing:
  """A preprocessing as published, fitted on the train images."""
  facts = get_facts(real.info.name)
  published = facts.published
  return fit_preprocessing(
    kind, real.train_images, real.max_value, published=published, fingerprint=real.fingerprint
  )


def _as_words(kind: str) -> str:
  """A kind for a sentence."""
  return "pixels" if kind == "none" else kind


def _digest(path: Path) -> str | None:
  """SHA-256 of a file; None for a folder."""
  return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
