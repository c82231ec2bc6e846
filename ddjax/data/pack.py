"""A decoded data set as one plain npz, which needs neither TFDS nor a network: `NAME.npz`.

Arrays `images` u8[N h w c], `labels` i32[N], `test_images`, `test_labels`, `class_names`, where a
user's own set has them `groups` i32[N] and `test_groups`, and
`facts`, a JSON text: format, name, version, image shape, counts, the value of a white pixel, and
the SHA-256 of the arrays. They are deflated: MNIST 54.9 to 11.5 MB, CIFAR-10 184.6 to 169.6 MB,
which costs 1.4 s at each start (two busy cores). Level 9 saves nothing more on CIFAR-10, bzip2
gives 159.8 MB and takes 18 s to read. Differences of pixels and colours would take 112 MB, but then
the arrays would be no images.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ddjax.data.facts import Facts
from ddjax.data.source import DataError, Source
from ddjax.files import atomic, plain_arrays

FORMAT = 1
_ARRAYS = ("images", "labels", "test_images", "test_labels", "class_names")
_OF_GROUPS = ("groups", "test_groups")
"""Arrays that a file may have besides."""


def packed_path(folder: Path, name: str) -> Path:
  """Where the packed set of this name lies in a folder."""
  return folder / f"{name}.npz"


def content_hash(source: Source) -> str:
  """SHA-256 over names, shapes and bytes of the set's arrays."""
  return _hash(_arrays(source))


def write(path: Path, name: str, source: Source, max_value: int) -> dict[str, Any]:
  """Writes a set, whole or not at all.

  Args:
    path: of the file.
    name: of the data set.
    source: as decoded, before any cut.
    max_value: the stored value of a white pixel.
  Returns:
    its facts, as they are stored.
  Raises:
    atomic.OutputError: if it cannot be written; an earlier file stays.
  """
  facts = _facts(name, source, max_value) | {"sha256": content_hash(source)}
  arrays: dict[str, Any] = dict(_arrays(source))
  with atomic.replacing(path) as file:
    np.savez_compressed(file, **arrays, facts=np.array(json.dumps(facts)))
  return facts


def read(path: Path, name: str, facts: Facts) -> Source:
  """Reads a packed set and holds its content against its hash.

  Args:
    path: of the file.
    name: of the data set that it should hold.
    facts: what is known of that.
  Returns:
    the Source, its arrays read-only: images u8[N h w c], labels i32[N] in [0, k), and of test.
  Raises:
    DataError: for a file that is damaged, of another version, or of another data set, by name.
  """
  try:
    arrays = plain_arrays.read_npz(path)
    stored = json.loads(str(arrays["facts"]))
    version = stored["format"]
  except KeyError as error:
    raise DataError(f"{path} is no packed data set: it has no {error}.") from error
  except (OSError, ValueError, TypeError, RecursionError) as error:  # text that is no JSON, too
    raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
  if version != FORMAT:
    raise DataError(f"{path} is a packed set of version {version}; this is version {FORMAT}.")
  if stored.get("name") != name:
    raise DataError(f"{path} holds the data set {stored.get('name')!r}, not {name!r}.")
  if missing := [array for array in _ARRAYS if array not in arrays]:
    raise DataError(f"{path} is damaged: it has no array {missing[0]!r}.")
  if _hash(arrays) != stored.get("sha256"):
    raise DataError(f"{path} is damaged: its content does not have the hash that it records.")
  _check_split(path, arrays, "images", "labels")
  _check_split(path, arrays, "test_images", "test_labels")
  for groups, labels in zip(_OF_GROUPS, ("labels", "test_labels")):
    _check_groups(path, groups, arrays.get(groups), arrays[labels])
  source = Source(
    *(arrays[array] for array in _ARRAYS[:4]),
    class_names=tuple(map(str, arrays["class_names"].ravel())),
    version=str(stored.get("version")),
    train_groups=arrays.get("groups"),
    test_groups=arrays.get("test_groups"),
  )
  found = _facts(name, source, stored.get("max_value"))
  if wrong := [key for key in found if stored.get(key) != found[key]]:
    key = wrong[0]
    raise DataError(f"{path}: its facts say {key} {stored.get(key)}, its arrays {found[key]}.")
  shape, num_classes = source.train_images.shape[1:], len(source.class_names)
  of_file = (shape, num_classes, found["max_value"])
  if facts.image_shape and of_file != (facts.image_shape, facts.num_classes, facts.max_value):
    raise DataError(
      f"{path} holds images {shape} of {num_classes} classes up to {found['max_value']}; {name} "
      f"has {facts.image_shape} of {facts.num_classes} up to {facts.max_value}."
    )
  return source


def _facts(name: str, source: Source, max_value: Any) -> dict[str, Any]:
  """What a file of this set records, but for the hash."""
  return {
    "format": FORMAT,
    "name": name,
    "version": source.version,
    "image_shape": list(source.train_images.shape[1:]),
    "num_classes": len(source.class_names),
    "max_value": max_value,
    "num_train": len(source.train_labels),
    "num_test": len(source.test_labels),
  }


def _check_split(path: Path, arrays: dict[str, np.ndarray], images: str, labels: str) -> None:
  """Refuses arrays that are no split, which a program of somebody else's may have written."""
  x, y, num_classes = arrays[images], arrays[labels], arrays["class_names"].size
  if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != arrays["images"].shape[1:]:
    raise DataError(f"{path}: {images} is {x.dtype}{list(x.shape)}, not uint8 [n h w c].")
  if y.dtype != np.int32 or y.shape != x.shape[:1]:
    raise DataError(f"{path}: {labels} is {y.dtype}{list(y.shape)}, not int32[{len(x)}].")
  if y.size and not 0 <= y.min() <= y.max() < num_classes:
    raise DataError(f"{path}: {labels} run from {y.min()} to {y.max()} of {num_classes} classes.")


def _check_groups(path: Path, name: str, groups: np.ndarray | None, labels: np.ndarray) -> None:
  """Refuses groups that are none, for the same reason."""
  if groups is None:
    return
  if groups.dtype != np.int32 or groups.shape != labels.shape:
    raise DataError(
      f"{path}: {name} is {groups.dtype}{list(groups.shape)}, not int32[{len(labels)}]."
    )
  if groups.size and groups.min() < 0:
    raise DataError(f"{path}: {name} run from {groups.min()}, not from 0.")


def _hash(arrays: dict[str, np.ndarray]) -> str:
  """SHA-256 over names, dtypes, shapes and bytes of the set's arrays, always in one order."""
  digest = hashlib.sha256()
  for name in (*_ARRAYS, *(name for name in _OF_GROUPS if name in arrays)):
    array = np.asarray(arrays[name], order="C")
    digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _arrays(source: Source) -> dict[str, np.ndarray]:
  """The set's arrays by the names of the file."""
  groups = {"groups": source.train_groups, "test_groups": source.test_groups}
  arrays = dict(
    images=source.train_images,
    labels=np.asarray(source.train_labels, np.int32),
    test_images=source.test_images,
    test_labels=np.asarray(source.test_labels, np.int32),
    class_names=np.array(source.class_names),
  )
  return arrays | {
    name: np.asarray(array, np.int32) for name, array in groups.items() if array is not None
  }
