"""Sets that Hugging Face's `datasets` wrote: folders of Arrow or parquet files, or one such file.

Their columns are read with pyarrow alone: no script of a folder is run, nothing is written to a
cache, and a picture is what its bytes are; the path beside them is never opened.
"""

from functools import partial
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddjax.data.interpret import as_bytes
from ddjax.files.bounded import MAX_BYTES
from ddjax.io.foreign.arrays import MOST_CLASSES, Convention, make_set
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.huggingface_folder import find_rows, read_json
from ddjax.io.foreign.named_arrays import IMAGE_NAMES, LABEL_NAMES, space_of
from ddjax.io.foreign.pictures import MAX_VALUE, stack_pictures

_SOFT_NAMES = ("soft_label", "soft_labels", *LABEL_NAMES)
_EXACT = "pixels"  # the column of our own export that is not rounded
_GREY = "Array2D"  # the feature of images [h w]
_MOST_SHOWN = 8
_NEEDED = (
  "one column of images (pictures, or lists of numbers [h w c] or [h w]) and one of labels "
  "(classes, their names, or a list of numbers)"
)


class Column(NamedTuple):
  """What a column could be.

  Attributes:
    name: of the column.
    kind: "pictures", "array" (of each image), "classes", "names" (of classes), "vector" (a label
      each) or "other".
    words: its type, for errors.
    is_float: whether its numbers are floats.
    class_names: of a ClassLabel.
  """

  name: str
  kind: str
  words: str
  is_float: bool
  class_names: tuple[str, ...] = ()


class Chosen(NamedTuple):
  """The columns of a set; `class_names` may be of another column than the labels'."""

  images: Column
  labels: Column
  class_names: tuple[str, ...]
  remarks: tuple[str, ...]


def read_set(path: Path, options: ForeignOptions) -> ForeignSet:
  """A folder of `save_to_disk` or of parquet files, or one parquet or Arrow file.

  Raises:
    FileNotFoundError: where a file went missing.
    ValueError: naming the file, for a damaged one, columns that are no set, or more bytes or rows
      than it may have.
  """
  files, remarks = find_rows(path)
  chosen, parts, room = None, [], MAX_BYTES
  for file in files:
    chosen, images, labels = _read_file(file, chosen, options.max_value)
    parts.append((images, labels))
    room -= images.nbytes + labels.nbytes
    if room < 0:
      raise ValueError(f"{path} holds more than {MAX_BYTES >> 30} GiB of images.")
  assert chosen is not None  # there is a file
  for row, column in enumerate((chosen.images, chosen.labels)):
    shapes = sorted({part[row].shape[1:] for part in parts})
    if len(shapes) > 1:
      name = column.name[:60]
      raise ValueError(f"{path}: its files hold {name!r} of several sizes: {shapes[:_MOST_SHOWN]}.")
  images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
  if chosen.labels.kind == "names":
    names, labels = np.unique(labels, return_inverse=True)
    chosen = chosen._replace(class_names=tuple(map(str, names)))
  remarks += (f"Columns {chosen.images.name[:60]} and {chosen.labels.name[:60]}.", *chosen.remarks)
  is_exact = False
  if chosen.images.kind == "array":
    images = images[..., None] if images.ndim == 3 else images
    images = (
      images
      if chosen.images.is_float
      else _as_pixels(f"{path}: column {chosen.images.name[:60]!r}", images, options.max_value)
    )
    is_exact = chosen.images.name == _EXACT
  options = options if chosen.images.is_float else options._replace(max_value=255)
  space = "pixels" if is_exact else space_of(path, "huggingface", images, options)
  convention = Convention("huggingface", space, remarks=remarks)
  one = make_set(path, images, labels, options, convention)
  return _with_names(path, one, chosen)


def _as_pixels(where: str, images: np.ndarray, max_value: float | None) -> np.ndarray:
  """Whole numbers, which Python's lists store in 64 bits, as uint8; bool as 0 and 255."""
  return as_bytes(where, images, max_value, MAX_VALUE) if images.size else images


def _with_names(path: Path, one: ForeignSet, chosen: Chosen) -> ForeignSet:
  """With the names of the classes, and a column of labels for classes without an image."""
  names, width = chosen.class_names, one.labels.shape[1]
  if not names:
    return one
  missing = len(names) - width
  if missing < 0 or missing and chosen.labels.kind == "vector":
    raise ValueError(f"{path}: its labels are of {width} classes, but it names {len(names)}.")
  labels = np.pad(one.labels, ((0, 0), (0, missing)))
  return one._replace(labels=labels, class_names=names)


def _read_file(
  path: Path, chosen: Chosen | None, max_value: float | None
) -> tuple[Chosen, np.ndarray, np.ndarray]:
  """(columns, images, labels) of one file; the columns are those of the first one, if given."""
  from ddjax.io.foreign import arrow_files

  try:
    table = arrow_files.open_table(path)
    columns = _columns(table.schema, _features(path, table.schema))
  except FileNotFoundError:
    raise
  except Exception as error:  # damaged bytes raise errors of a dozen kinds
    raise _damaged(path, error) from error
  if chosen is None:
    chosen = _choose(path, columns)
  for column in chosen[:2]:
    if (column.name, column.kind) not in [(one.name, one.kind) for one in columns]:
      raise ValueError(f"{path} has no column {column.name[:60]!r} as the files before it have.")
  images, labels, names = [], [], [column.name for column in chosen[:2]]
  is_pictures = chosen.images.kind == "pictures"
  read = arrow_files.binaries if is_pictures else arrow_files.numbers
  read_labels = arrow_files.texts if chosen.labels.kind == "names" else arrow_files.numbers
  try:
    for batch in table.batches(names):
      images.append(read(batch.column(names[0])))
      labels.append(read_labels(batch.column(names[1])))
    if not sum(map(len, labels)):
      raise ValueError("it has no rows")
    all_labels = _joined(names[1], labels)
    arrays = None if is_pictures else _joined(names[0], images)
  except Exception as error:
    raise _damaged(path, error) from error
  if arrays is None:
    contents = [content for part in images for content in part]
    arrays = _decode(path, names[0], contents, max_value)
  return chosen, arrays, all_labels


def _joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
  """Batches of a column as one array."""
  shapes = sorted({part.shape[1:] for part in parts if len(part)})
  if len(shapes) > 1:
    raise ValueError(f"column {name[:60]!r} has rows of several sizes: {shapes[:_MOST_SHOWN]}")
  return np.concatenate([part for part in parts if len(part)])


def _decode(
  path: Path, name: str, contents: list[bytes | None], max_value: float | None
) -> np.ndarray:
  """The pictures of a column."""
  where = f"{path}: column {name[:60]!r}"
  known = [content for content in contents if content is not None]
  if len(known) < len(contents):
    raise ValueError(
      f"{where} has no bytes in row {contents.index(None)}; a path alone is not opened."
    )
  pictures = ((f"{where}, row {row}", partial(bytes, content)) for row, content in enumerate(known))
  return stack_pictures(where, pictures, ("PNG", "JPEG"), max_value)


def _features(path: Path, schema: Any) -> dict[str, Any]:
  """What `datasets` says of the columns: in the file, or in the dataset_info.json beside it."""
  text = (schema.metadata or {}).get(b"huggingface")
  beside = path.with_name("dataset_info.json")
  facts = json.loads(text)["info"] if text else read_json(beside) if beside.is_file() else {}
  features = facts.get("features") or {}
  if type(features) is not dict:
    raise ValueError("its features are no object")
  return features


def _columns(schema: Any, features: dict[str, Any]) -> list[Column]:
  """What each column could be, by its type and its feature."""
  if len(set(schema.names)) < len(schema.names):
    raise ValueError("two columns have one name")
  return [_column(field, features.get(field.name)) for field in schema]


def _column(field: Any, feature: Any) -> Column:
  """What one column could be."""
  import pyarrow as pa

  from ddjax.io.foreign import arrow_files

  around, leaf = arrow_files.depth(field.type)
  facts = feature if type(feature) is dict else {}
  kind, names = "other", ()
  if around == 0 and pa.types.is_struct(leaf) and facts.get("_type", "Image") == "Image":
    place = leaf.get_field_index("bytes")
    kind = "pictures" if place >= 0 and arrow_files.is_binary(leaf.field(place).type) else kind
  elif around == 0 and arrow_files.is_binary(leaf):
    kind = "pictures" if field.name in IMAGE_NAMES or facts.get("_type") == "Image" else kind
  elif around == 0 and pa.types.is_integer(leaf):
    kind = "classes"
    listed = facts.get("names") if facts.get("_type") == "ClassLabel" else None
    names = tuple(name for name in listed or () if type(name) is str)
    if len(names) != len(listed or ()) or len(set(names)) < len(names):
      raise ValueError(f"the classes of column {field.name[:60]!r} have no names of their own")
    if len(names) > MOST_CLASSES:
      raise ValueError(f"column {field.name[:60]!r} is of {len(names)} classes")
  elif around == 0 and arrow_files.is_text(leaf):
    kind = "names" if field.name in LABEL_NAMES else kind
  elif arrow_files.is_number(leaf):
    is_grey = around == 2 and (field.name in (*IMAGE_NAMES, _EXACT) or facts.get("_type") == _GREY)
    kind = {1: "vector", 3: "array"}.get(around, "array" if is_grey else kind)
  return Column(field.name, kind, str(field.type)[:60], pa.types.is_floating(leaf), names)


def _choose(path: Path, columns: list[Column]) -> Chosen:
  """The columns of images and labels: by type, and where several have it by name.

  Raises:
    ValueError: where there is none, or several of which the names choose none.
  """
  pictures = [one for one in columns if one.kind == "pictures"]
  arrays = [one for one in columns if one.kind == "array"]
  exact = [one for one in arrays if one.name == _EXACT and one.is_float and pictures]
  images = _one(path, "images", exact or pictures or arrays, IMAGE_NAMES, columns)
  remarks = ()
  if exact:
    beside = ", ".join(one.name[:40] for one in pictures[:_MOST_SHOWN])
    remarks = (f"The floats of {_EXACT} rather than the pictures of {beside}.",)
  named = [one for one in columns if one.class_names]
  classes = named or [one for one in columns if one.kind == "classes"]
  vectors = [one for one in columns if one.kind == "vector"]
  soft = [one for one in vectors if one.name in _SOFT_NAMES]
  texts = [one for one in columns if one.kind == "names"]
  labels = _one(path, "labels", soft or classes or vectors or texts, _SOFT_NAMES, columns)
  names = labels.class_names
  if labels.kind == "names":
    remarks += ("Its labels are names; the classes are in the order of the alphabet.",)
  if labels.kind == "vector" and len(named) == 1:
    names = named[0].class_names
    remarks += (f"Names of the classes are those of {named[0].name}.",)
  return Chosen(images, labels, names, remarks)


def _one(
  path: Path, what: str, found: list[Column], names: tuple[str, ...], columns: list[Column]
) -> Column:
  """The only column of those found, or the first that has one of the usual names."""
  if not found:
    listed = ", ".join(f"{one.name[:40]} ({one.words})" for one in columns[:_MOST_SHOWN])
    raise ValueError(
      f"{path}: layout 'huggingface' needs {_NEEDED}; of {what} there is none among "
      f"{listed or 'no columns'}."
    )
  if len(found) == 1:
    return found[0]
  chosen = next((one for name in names for one in found if one.name == name), None)
  if chosen is None:
    listed = ", ".join(one.name[:40] for one in found[:_MOST_SHOWN])
    raise ValueError(f"{path}: its {what} could be {listed}. Call the one that is meant {what!r}.")
  return chosen


def _damaged(path: Path, error: Exception) -> ValueError:
  """The error of a file that pyarrow or the checks refuse."""
  reason = " ".join(str(error).split())[:300] or type(error).__name__
  return ValueError(f"{path} is damaged or no parquet or Arrow file of a set: {reason}")
