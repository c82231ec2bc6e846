"""A user's own images in an npz file, and the test part of sets that come without one."""

import hashlib
from pathlib import Path
import zipfile

from absl import logging
import numpy as np

from ddjax.data.interpret import as_images, as_labels, usual_white
from ddjax.data.source import DataError, Source
from ddjax.data.splits import stratified_rows, without_rows
from ddjax.files.plain_arrays import bytes_of

_TEST_SHARE = 0.2
_NAMES = (
  ("images", "labels", "test_images", "test_labels"),
  ("x_train", "y_train", "x_test", "y_test"),  # Keras
  ("train_images", "train_labels", "test_images", "test_labels"),
)
"""Names of the arrays of an npz: images and labels to train on, and those to test on."""
_GROUPS = ("groups", "test_groups")
"""Arrays that may stand beside them, whatever these are called."""


def read_npz(path: str, channels: str | None = None, max_value: float | None = None) -> Source:
  """Reads images and labels, and where they are there a test part and the classes' names.

  Arrays are called as in one of `_NAMES`; `class_names`, and `groups` and `test_groups` with a
  group for each image, may stand beside them. What images, labels and groups may be, see
  `ddjax.data.interpret`: groups are given as labels are. Every class has a train example.

  Args:
    path: of the file.
    channels: "first" or "last", where the shape of the images does not say.
    max_value: the value of white, where the type of the images does not say.
  Returns:
    the Source; its test part is empty where the file has none.
  Raises:
    DataError: naming the file, the array, and the first value that is wrong.
  """
  file = Path(path).expanduser()
  if not file.is_file():
    raise DataError(f"There is no file {file} (config.data.path).")
  if not zipfile.is_zipfile(file):
    raise DataError(f"{file} is not an npz file, or it is damaged.")
  names, arrays = _load(file)
  has_test = names[2] in arrays
  if has_test != (names[3] in arrays):
    raise DataError(f"{file} has only one of {names[2]} and {names[3]}.")
  images = as_images(f"{file}: {names[0]}", arrays[names[0]], channels, max_value)
  known = _class_names(file, arrays.get("class_names"))
  train = as_labels(f"{file}: {names[1]}", arrays[names[1]], len(images), known)
  class_names = known or train.names
  num_classes = max(len(train.names), train.width) or int(train.index.max()) + 1
  _check_classes(file, train.index, num_classes, class_names)
  class_names = class_names or tuple(map(str, range(num_classes)))
  if len(class_names) != num_classes:
    raise DataError(f"{file}: {len(class_names)} class_names for {num_classes} classes.")
  if not has_test:
    source = Source(images, train.index, images[:0], train.index[:0], class_names, "own")
    return _with_groups(file, arrays, source)
  of_test = arrays[names[2]]
  if max_value is None and of_test.dtype == arrays[names[0]].dtype:
    max_value = usual_white(of_test.dtype)  # as that of train, however dark these are
  test_images = as_images(f"{file}: {names[2]}", of_test, channels, max_value)
  if not known and _is_text(arrays[names[1]]) != _is_text(arrays[names[3]]):
    words = ("names", "numbers") if _is_text(arrays[names[1]]) else ("numbers", "names")
    raise DataError(
      f"{file}: {names[1]} are {words[0]} and {names[3]} {words[1]} of classes. An array "
      "class_names, the names in the order of their numbers, says which is which."
    )
  test = as_labels(f"{file}: {names[3]}", arrays[names[3]], len(test_images), known or train.names)
  if test_images.shape[1:] != images.shape[1:]:
    raise DataError(f"{file}: {names[2]} are {test_images.shape[1:]}, images {images.shape[1:]}.")
  if test.index.max() >= num_classes:
    raise DataError(f"{file}: test label {test.index.max()} is no label of a train example.")
  if test.width not in (0, num_classes):
    raise DataError(f"{file}: {names[3]} are of {test.width} classes, {names[1]} of {num_classes}.")
  source = Source(images, train.index, test_images, test.index, class_names, "own")
  return _with_groups(file, arrays, source)


def _with_groups(file: Path, arrays: dict[str, np.ndarray], source: Source) -> Source:
  """The source with the groups of its images, where the file has them.

  Raises:
    DataError: for groups without images, a single group, or one without a train example.
  """
  images = {"groups": source.train_images, "test_groups": source.test_images}
  given = {name: arrays[name] for name in _GROUPS if name in arrays}
  if not given:
    return source
  if "test_groups" in given and not len(source.test_images):
    raise DataError(f"{file} has test_groups, but no test images.")
  is_text = [_is_text(array) for array in given.values()]
  if len(set(is_text)) > 1:
    raise DataError(f"{file}: one of groups and test_groups holds names, the other numbers.")
  names = tuple(map(str, np.unique(np.concatenate([*given.values()])))) if is_text[0] else ()
  found = {
    name: as_labels(f"{file}: {name}", array, len(images[name]), names).index
    for name, array in given.items()
  }
  num_groups = max(int(index.max()) for index in found.values()) + 1
  if num_groups < 2:
    raise DataError(f"{file}: all images are of one group; at least 2 are needed.")
  missing = set(range(num_groups)) - set(found.get("groups", np.arange(num_groups)).tolist())
  if missing:
    raise DataError(
      f"{file}: groups run to {num_groups - 1}, but {min(missing)} has no train example."
    )
  return source._replace(train_groups=found.get("groups"), test_groups=found.get("test_groups"))


def _load(file: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
  """(names of images and labels, the arrays of a set); what else the file holds is left alone."""
  name = ""
  try:
    with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
      names = next((names for names in _NAMES if set(names[:2]) <= set(stored.files)), None)
      if names is None:
        raise _without_names(file, stored.files)
      arrays = {}
      for name in (*names, "class_names", *_GROUPS):
        if name in stored.files:
          arrays[name] = stored[name]
      return names, arrays
  except DataError:
    raise
  except Exception as error:  # a damaged zip, or pickled objects, which could run code
    if "Object arrays" not in str(error):
      raise DataError(
        f"Cannot read {file} as an npz of plain arrays: {str(error)[:300]}"
      ) from error
    advice = f"{name}.astype(str)" if "images" not in name and "x_" not in name else (
      "numpy.stack of images of one size, as uint8"
    )  # fmt: skip
    raise DataError(
      f"{file}: {name} is an array of Python objects, which could run code and is never loaded. "
      f"Save {advice} instead."
    ) from error


def _without_names(file: Path, found: list[str]) -> DataError:
  """The error of a file that has no images, or no labels."""
  pairs = ", or ".join(f"{names[0]!r} and {names[1]!r}" for names in _NAMES)
  missing = next((name for name in _NAMES[0][:2] if name not in found), _NAMES[0][0])
  return DataError(
    f"{file} has no array {missing!r}; it holds {', '.join(sorted(found))}. Needed are {pairs}."
  )


def _class_names(file: Path, names: np.ndarray | None) -> tuple[str, ...]:
  """The names of the classes, each once; () where there are none."""
  if names is None:
    return ()
  if names.ndim != 1:
    raise DataError(f"{file}: class_names is {names.dtype}{list(names.shape)}, no list of names.")
  names = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
  found = tuple(map(str, names))
  twice = next((name for name in found if found.count(name) > 1), None)
  if twice is not None:
    raise DataError(f"{file}: class_names has {twice!r} {found.count(twice)} times.")
  return found


def _is_text(labels: np.ndarray) -> bool:
  return labels.dtype.kind in "US"


def check_told_apart(where: str, source: Source) -> None:
  """Raises DataError where all train images are equal, or two classes have the same ones.

  Nothing is there to distil then, and kernels of such images are singular.
  """
  images, labels = source.train_images, source.train_labels
  if (images == images[0]).all():
    raise DataError(f"{where}: all {len(images)} train images are equal; there is nothing to tell.")
  held: dict[frozenset, str] = {}
  for label, name in enumerate(source.class_names):
    rows = np.flatnonzero(labels == label)
    digests = frozenset(hashlib.sha256(bytes_of(images[row])).digest() for row in rows)
    if (other := held.setdefault(digests, name)) != name:
      raise DataError(
        f"{where}: classes {other!r} and {name!r} have the same images; nothing tells them apart."
      )


def with_test_part(source: Source, seed: int) -> Source:
  """Where the test part is empty, a stratified fifth of train becomes it, and the log says so."""
  if len(source.test_labels):
    return source
  images, labels = source.train_images, source.train_labels
  test = stratified_rows(labels, round(_TEST_SHARE * len(labels)), seed)
  train = without_rows(len(labels), test)
  logging.info("No test part is given: %d of %d images become it.", len(test), len(labels))
  groups = source.train_groups
  return source._replace(
    train_images=images[train],
    train_labels=labels[train],
    test_images=images[test],
    test_labels=labels[test],
    train_groups=None if groups is None else groups[train],
    test_groups=None if groups is None else groups[test],
  )


def _check_classes(
  file: Path, labels: np.ndarray, num_classes: int, names: tuple[str, ...]
) -> None:
  """Raises DataError for a single class, or one without an example."""
  present = np.unique(labels)  # their number may be 2^31
  if len(present) < num_classes:
    gap = np.flatnonzero(present != np.arange(len(present)))
    absent = int(gap[0]) if gap.size else len(present)
    name = f" ({names[absent]!r})" if absent < len(names) else ""
    raise DataError(f"{file}: labels run to {num_classes - 1}, but {absent}{name} has no example.")
  if num_classes < 2:
    raise DataError(f"{file}: all {len(labels)} examples are of one class; at least 2 are needed.")
