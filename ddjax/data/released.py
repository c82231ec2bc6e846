"""Sets that are published as an archive of image files: Tiny ImageNet, ImageNette, ImageWoof.

Layout: `train/WNID/*.JPEG`, or `train/WNID/images/*.JPEG`; and `val/WNID/*.JPEG`, or
`val/images/*.JPEG` with `val/val_annotations.txt`, lines of file, tab, WNID. The published
validation part, whose labels are known, is the test part here, as in the papers on distillation.
WNIDs are WordNet's numbers of classes, such as n01440764; classes are in their order.
"""

from pathlib import Path
from typing import Mapping

import numpy as np

from ddjax.data.facts import Facts
from ddjax.data.folders import decode, list_images
from ddjax.data.source import DataError, Source

_ANNOTATIONS = "val_annotations.txt"
_WORDS = "words.txt"  # WNID, tab, names with commas between


def read_released(name: str, facts: Facts, folder: Path) -> Source:
  """Reads the unpacked archive of a set.

  Args:
    name: of the set, for errors.
    facts: its row; central squares are resized to `image_shape`.
    folder: that holds `train` and `val`.
  Raises:
    DataError: where it is missing, damaged, or of other classes than the row says.
  """
  for part in ("train", "val"):
    if not (folder / part).is_dir():
      raise DataError(
        f"There is no folder {folder / part}. {name} is read from its unpacked archive: a folder "
        f"{facts.folder!r} in config.data.data_dir, or config.data.path."
      )
  inside_train = sorted(path for path in (folder / "train").iterdir() if path.name[0] != ".")
  first = next((path for path in inside_train if path.is_dir()), None)
  inside = "images" if first is not None and (first / "images").is_dir() else ""
  train = list_images(folder / "train", inside)
  annotations = folder / "val" / _ANNOTATIONS
  test = _annotated(annotations, train) if annotations.is_file() else list_images(folder / "val")
  if train.keys() != test.keys() or len(train) != facts.num_classes:
    odd = sorted(train.keys() ^ test.keys())
    more = f"; {odd[0]!r} is in one of them only" if odd else ""
    raise DataError(
      f"{folder}: {len(train)} classes in train and {len(test)} in val, where {name} has "
      f"{facts.num_classes}{more}."
    )
  assert facts.image_shape is not None  # every row with a folder has one
  parts = []
  for files in (train, test):
    images = decode(
      [file for of_class in files.values() for file in of_class], facts.image_shape[0]
    )
    if images.shape[1:] != facts.image_shape:
      raise DataError(f"{folder}: images are {images.shape[1:]}, where {facts.image_shape} is due.")
    counts = [len(files[wnid]) for wnid in train]
    parts += [images, np.repeat(np.arange(len(counts), dtype=np.int32), counts)]
  names = _names(folder, list(train), facts.class_names)
  return Source(parts[0], parts[1], parts[2], parts[3], names, "released")


def _annotated(path: Path, classes: Mapping[str, object]) -> dict[str, list[Path]]:
  """{class: its image files} of the classes, by a file of annotations."""
  files: dict[str, list[Path]] = {wnid: [] for wnid in classes}
  for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
    columns = line.split("\t")
    if len(columns) < 2 or columns[1] not in files or "/" in columns[0] or columns[0][:1] == ".":
      raise DataError(f"{path}, line {number}: {line[:60]!r} is no file and class of train.")
    files[columns[1]].append(path.parent / "images" / columns[0])
  empty = next((wnid for wnid, of_class in files.items() if not of_class), None)
  if empty is not None:
    raise DataError(f"{path} names no image of class {empty}.")
  return files


def _names(folder: Path, wnids: list[str], known: Mapping[str, str]) -> tuple[str, ...]:
  """Names of classes: of the row, else of `words.txt`, else the WNIDs; each once."""
  words = folder / _WORDS
  if not known and words.is_file():
    lines = (line.split("\t") for line in words.read_text("utf-8", "replace").splitlines())
    known = {line[0]: line[1].split(",")[0].strip() for line in lines if len(line) > 1}
  names = [known.get(wnid, wnid) for wnid in wnids]
  return tuple(
    f"{name} ({wnid})" if names.count(name) > 1 else name for name, wnid in zip(names, wnids)
  )
