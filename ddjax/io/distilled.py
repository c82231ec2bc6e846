"""Distilled sets on disk: `distilled.npz`, which is complete in itself, and `info.json` beside it.

The npz holds the images, the labels, the arrays of the preprocessing and the whole record of the
set's origin; it is replaced in one rename, so a set and its record cannot disagree. `info.json`
repeats the record for people and other programs, with the SHA-256 of the npz that it describes. A
process killed between the two leaves a readable set and an older record, which loading names.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Mapping

from absl import logging
import numpy as np

import ddjax
from ddjax.data.preprocess import Preprocessing
from ddjax.files import atomic
from ddjax.files.bounded import read_bytes
from ddjax.files.plain_arrays import bytes_of, parse_npz
from ddjax.types import DistilledSet
from ddjax.wording import nearest

ARRAYS_NAME = "distilled.npz"
INFO_NAME = "info.json"
LABEL_KINDS = ("one_hot", "centred", "probabilities", "logits")
INFO_FIELDS = (
  "label_kind",
  "method",
  "dataset",
  "ipc",
  "seed",
  "step",
  "learning_rate",
  "member_hash",
  "real_data_hash",
  "decode_factor",
  "config",
)
_PREFIX = "preprocessing/"


def save_distilled(
  folder: str | os.PathLike,
  distilled: DistilledSet,
  info: Mapping[str, Any],
  preprocessing: Preprocessing,
) -> Path:
  """Writes one distilled set.

  Args:
    folder: where `distilled.npz` and `info.json` go; made where it is missing.
    distilled: images f32[n h w c] in the space the networks see, labels f32[n k]; no replica axis.
    info: the origin, JSON-safe, with every name in `INFO_FIELDS`: label_kind (one of
      `LABEL_KINDS`), method, dataset, ipc, seed, step, learning_rate (learned, or None),
      member_hash (of the member indices, or None where all are), real_data_hash, decode_factor
      (1 where an image is stored as it is), config; more names may follow. The code version and
      the facts of the preprocessing are added here.
    preprocessing: the map from pixels to the space of the images.
  Returns:
    the path of the npz.
  Raises:
    ValueError: for wrong shapes, numbers that are not finite, or a missing name in `info`.
    atomic.OutputError: where the files cannot be written; the earlier set stays.
  """
  folder = Path(folder)
  arrays = {
    "images": np.asarray(distilled.images, np.float32),
    "labels": np.asarray(distilled.labels, np.float32),
  }
  parts, facts = preprocessing.to_arrays()
  arrays |= {_PREFIX + name: part for name, part in parts.items()}
  record = atomic.json_safe(
    dict(info) | {"preprocessing": facts, "code_version": ddjax.__version__}
  )
  _check(arrays, record, folder / ARRAYS_NAME)
  content = atomic.npz_bytes(arrays | {"info": np.array(json.dumps(record))})
  atomic.write_bytes(folder / ARRAYS_NAME, content)
  atomic.write_json(folder / INFO_NAME, record | {"npz_sha256": _digest(content)})
  return folder / ARRAYS_NAME


def load_distilled(path: str | os.PathLike) -> DistilledSet:
  """Reads a distilled set that `save_distilled` wrote.

  Args:
    path: a run folder, its `distilled` folder, or the npz itself.
  Returns:
    DistilledSet of NumPy arrays, images f32[n h w c] and labels f32[n k]; in `info` the record of
    its origin, with the `Preprocessing` itself under "preprocessing".
  Raises:
    FileNotFoundError: where there is no set.
    ValueError: naming file and field, for a file that is damaged, lacks a field (the preprocessing
      above all), holds Python objects, or numbers that are not finite.
  """
  path = find_distilled(path)
  content = read_bytes(path)
  others = len(list(path.parent.glob("replica_*")))
  if others:
    logging.info("%s is the first of %d distillations of its run.", path, others + 1)
  arrays = {name: array.copy() for name, array in parse_npz(content, path).items()}
  record = _read_record(arrays.pop("info", None), path)
  _check(arrays, record, path)
  _compare_record(path, content)
  parts = {name.removeprefix(_PREFIX): a for name, a in arrays.items() if name.startswith(_PREFIX)}
  try:
    preprocessing = Preprocessing.from_arrays(parts, record["preprocessing"])
    check_map(preprocessing, arrays["images"].shape)
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{path}: the preprocessing cannot be rebuilt: {error}.") from error
  info = record | {"preprocessing": preprocessing}
  return DistilledSet(images=arrays["images"], labels=arrays["labels"], info=info)


def find_distilled(path: str | os.PathLike) -> Path:
  """The npz that a run folder, a `distilled` folder or a path to an npz stands for.

  Raises:
    FileNotFoundError: where there is none, naming the places looked at.
  """
  path = Path(path)
  places = [path / "distilled" / ARRAYS_NAME, path / ARRAYS_NAME] if path.is_dir() else [path]
  for place in places:
    if place.is_file():
      return place
  raise FileNotFoundError(f"No distilled set at {' or '.join(map(str, places))}.")


def check_map(preprocessing: Preprocessing, shape: tuple[int, ...]) -> None:
  """Raises ValueError where a preprocessing does not suit images [n h w c]."""
  dimension, channels = int(np.prod(shape[1:])), shape[-1:]
  expected = dict(mean=channels, std=channels, centre=(dimension,), matrix=(dimension, dimension))
  for name, array in preprocessing.to_arrays()[0].items():
    if array.shape != expected.get(name, ()) or not np.isfinite(array).all():
      raise ValueError(f"its preprocessing has {name} {list(array.shape)}, or not finite")


def set_digest(distilled: DistilledSet) -> str:
  """SHA-256 of a set and of how it is read, in hexadecimal."""
  content = hashlib.sha256(bytes_of(distilled.images))
  content.update(bytes_of(distilled.labels))
  names = ("label_kind", "decode_factor", "learning_rate")
  facts = [distilled.info.get(name) for name in names]
  content.update(repr([*facts, distilled.info["preprocessing"].digest()]).encode())
  return content.hexdigest()


def _read_record(text: np.ndarray | None, path: Path) -> dict[str, Any]:
  """The record of origin inside the npz."""
  if text is None:
    raise ValueError(
      f"{path} has no field 'info', and so no preprocessing: its images have no meaning without."
    )
  try:
    record = json.loads(str(text))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: field 'info' is not JSON: {error}.") from error
  if not isinstance(record, dict):
    raise ValueError(f"{path}: field 'info' is not a JSON object.")
  return record


def _check(arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], path: Path) -> None:
  """Raises ValueError, naming file and field, for what no reader could use."""
  for name in ("images", "labels"):
    if name not in arrays:
      raise ValueError(f"{path} has no field {name!r}.")
  if not isinstance(record.get("preprocessing"), dict) or not record["preprocessing"]:
    raise ValueError(f"{path} has no preprocessing: its images have no meaning without.")
  missing = [name for name in INFO_FIELDS if name not in record]
  if missing:
    raise ValueError(f"{path}: the record of origin lacks {', '.join(missing)}.")
  if record["label_kind"] not in LABEL_KINDS:
    kind = record["label_kind"]
    raise ValueError(f"{path}: unknown label_kind {kind!r}. {nearest(kind, LABEL_KINDS)}")
  images, labels = arrays["images"], arrays["labels"]
  if images.ndim != 4 or labels.ndim != 2 or len(images) != len(labels):
    raise ValueError(
      f"{path}: images {images.shape} and labels {labels.shape} are not [n h w c] and [n k]."
    )
  for name, array in arrays.items():
    if array.dtype.kind not in "biuf" and name in ("images", "labels"):
      raise ValueError(f"{path}: field {name!r} holds {array.dtype}, not numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
      index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
      raise ValueError(f"{path}: field {name!r} holds {array[index]} at {index}.")


def _compare_record(path: Path, content: bytes) -> None:
  """Warns where `info.json` describes another npz than the one beside it."""
  beside = path.with_name(INFO_NAME)
  try:
    digest = json.loads(beside.read_bytes())["npz_sha256"]
  except FileNotFoundError:
    return
  except (ValueError, KeyError, TypeError):
    digest = None
  if digest != _digest(content):
    logging.warning("%s does not describe %s beside it; the record in the npz holds.", beside, path)


def _digest(content: bytes) -> str:
  """SHA-256 in hexadecimal."""
  return hashlib.sha256(content).hexdigest()
