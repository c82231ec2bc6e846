"""A decoded data set as one plain npz, which needs neither TFDS nor a network: `NAME.npz`.

Arrays `images` u8[N h w c], `labels` i32[N], `test_images`, `test_labels`, `class_names`, and
`facts`, a JSON text: format, name, version, shapes, and the SHA-256 of everything. They are stored
compressed: CIFAR-10 takes little less that way, MNIST a fifth.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from ddjax.data.facts import Facts
from ddjax.data.source import DataError, Source
from ddjax.io import atomic, plain_arrays

FORMAT = 1
_ARRAYS = ("images", "labels", "test_images", "test_labels", "class_names")


def packed_path(folder: Path, name: str) -> Path:
  """Where the packed set of this name lies in a folder."""
  return folder / f"{name}.npz"


def content_hash(source: Source) -> str:
  """SHA-256 over names, shapes and bytes of the set's arrays."""
  digest = hashlib.sha256()
  for name, array in _arrays(source).items():
    digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


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
    OutputError: if it cannot be written.
  """
  facts = {
    "format": FORMAT,
    "name": name,
    "version": source.version,
    "image_shape": list(source.train_images.shape[1:]),
    "num_classes": len(source.class_names),
    "max_value": max_value,
    "num_train": len(source.train_labels),
    "num_test": len(source.test_labels),
    "sha256": content_hash(source),
  }
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **_arrays(source), facts=np.array(json.dumps(facts)))
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write_bytes(path, buffer.getvalue())
  return facts


def read(path: Path, name: str, facts: Facts) -> Source:
  """Reads a packed set and holds its content against its hash.

  Args:
    path: of the file.
    name: of the data set that it should hold.
    facts: what is known of that.
  Raises:
    DataError: for a file that is damaged, of another version, or of another data set, by name.
  """
  try:
    arrays = plain_arrays.read_npz(path)
    stored = json.loads(str(arrays["facts"]))
    version = stored["format"]
  except KeyError as error:
    raise DataError(f"{path} is no packed data set: it has no {error}.") from error
  except (OSError, ValueError, TypeError) as error:  # the message names the file
    raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
  if version != FORMAT:
    raise DataError(f"{path} is a packed set of version {version}; this is version {FORMAT}.")
  if stored.get("name") != name:
    raise DataError(f"{path} holds the data set {stored.get('name')!r}, not {name!r}.")
  if missing := [array for array in _ARRAYS if array not in arrays]:
    raise DataError(f"{path} is damaged: it has no array {missing[0]!r}.")
  source = Source(
    *(arrays[array] for array in _ARRAYS[:4]),
    class_names=tuple(map(str, arrays["class_names"])),
    version=str(stored.get("version")),
  )
  if content_hash(source) != stored.get("sha256"):
    raise DataError(f"{path} is damaged: its content does not have the hash that it records.")
  shape = source.train_images.shape[1:]
  if facts.image_shape and (shape != facts.image_shape or stored["max_value"] != facts.max_value):
    raise DataError(
      f"{path} holds images {shape} up to {stored['max_value']}; {name} has {facts.image_shape} up "
      f"to {facts.max_value}."
    )
  return source


def _arrays(source: Source) -> dict[str, np.ndarray]:
  """The set's arrays by the names of the file."""
  return dict(
    images=source.train_images,
    labels=np.asarray(source.train_labels, np.int32),
    test_images=source.test_images,
    test_labels=np.asarray(source.test_labels, np.int32),
    class_names=np.array(source.class_names),
  )
