"""A user's own images in an npz file, and the test part of sets that come without one."""

from pathlib import Path
import zipfile

from absl import logging
import numpy as np

from ddjax.data.interpret import as_images, as_labels
from ddjax.data.source import DataError, Source
from ddjax.data.splits import stratified_rows, without_rows

_TEST_SHARE = 0.2
_NAMES = (
  ("images", "labels", "test_images", "test_labels"),
  ("x_train", "y_train", "x_test", "y_test"),  # Keras
  ("train_images", "train_labels", "test_images", "test_labels"),
)
"""Names of the arrays of an npz: images and labels to train on, and those to test on."""


def read_npz(path: str, channels: str | None = None) -> Source:
  """Reads images and labels, and where they are there a test part and the classes' names.

  Arrays are called as in one of `_NAMES`; `class_names` may stand beside them. What images and
  labels may be, see `ddjax.data.interpret`. Every class has a train example.

  Args:
    path: of the file.
    channels: "first" or "last", where the shape of the images does not say.
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
  try:
    with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
      arrays = {name: stored[name] for name in stored.files}
  except Exception as error:  # a damaged zip, or pickled objects, which could run code
    raise DataError(f"Cannot read {file} as an npz of plain arrays: {error}") from error
  names = next((names for names in _NAMES if set(names[:2]) <= arrays.keys()), None)
  if names is None:
    pairs = ", or ".join(f"{names[0]!r} and {names[1]!r}" for names in _NAMES)
    missing = next((name for name in _NAMES[0][:2] if name not in arrays), _NAMES[0][0])
    raise DataError(
      f"{file} has no array {missing!r}; it holds {', '.join(sorted(arrays))}. Needed are {pairs}."
    )
  has_test = names[2] in arrays
  if has_test != (names[3] in arrays):
    raise DataError(f"{file} has only one of {names[2]} and {names[3]}.")
  images = as_images(f"{file}: {names[0]}", arrays[names[0]], channels)
  known = tuple(map(str, arrays.get("class_names", ())))
  train = as_labels(f"{file}: {names[1]}", arrays[names[1]], len(images), known)
  num_classes = int(train.index.max()) + 1
  _check_classes(file, train.index, num_classes)
  class_names = known or train.names or tuple(map(str, range(num_classes)))
  if len(class_names) != num_classes:
    raise DataError(f"{file}: {len(class_names)} class_names for {num_classes} classes.")
  if not has_test:
    return Source(images, train.index, images[:0], train.index[:0], class_names, "own")
  test_images = as_images(f"{file}: {names[2]}", arrays[names[2]], channels)
  where = f"{file}: {names[3]}"
  test = as_labels(where, arrays[names[3]], len(test_images), train.names)
  if test_images.shape[1:] != images.shape[1:]:
    raise DataError(f"{file}: {names[2]} are {test_images.shape[1:]}, images {images.shape[1:]}.")
  if test.index.max() >= num_classes:
    raise DataError(f"{file}: test label {test.index.max()} is no label of a train example.")
  return Source(images, train.index, test_images, test.index, class_names, "own")


def with_test_part(source: Source, seed: int) -> Source:
  """Where the test part is empty, a stratified fifth of train becomes it, and the log says so."""
  if len(source.test_labels):
    return source
  images, labels = source.train_images, source.train_labels
  test = stratified_rows(labels, round(_TEST_SHARE * len(labels)), seed)
  train = without_rows(len(labels), test)
  logging.info("No test part is given: %d of %d images become it.", len(test), len(labels))
  return source._replace(
    train_images=images[train],
    train_labels=labels[train],
    test_images=images[test],
    test_labels=labels[test],
  )


def _check_classes(file: Path, labels: np.ndarray, num_classes: int) -> None:
  """Raises DataError for a single class, or one without an example."""
  absent = np.setdiff1d(np.arange(num_classes), labels)
  if absent.size:
    raise DataError(f"{file}: labels run to {num_classes - 1}, but {absent[0]} has no example.")
  if num_classes < 2:
    raise DataError(f"{file}: all {len(labels)} examples are of one class; at least 2 are needed.")
