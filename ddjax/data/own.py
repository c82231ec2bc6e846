"""A user's own images: an npz file, or a folder with one folder of images for each class."""

from pathlib import Path
import zipfile

from absl import logging
import numpy as np

from ddjax.data.source import DataError, Source
from ddjax.data.splits import stratified_rows, without_rows

_TEST_SHARE = 0.2
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_GREY_MODES = ("1", "L")
_COLOUR_MODES = ("RGB", "RGBA", "P", "CMYK", "YCbCr")


def read_npz(path: str) -> Source:
  """Reads arrays `images`, `labels` and, optionally, `test_images`, `test_labels`, `class_names`.

  Images are u8[N h w c], or float in [0, 1], which is rounded to 255ths; grey ones may lack the
  last axis. Labels are integers 0 to k-1, every class present.

  Args:
    path: of the file.
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
  for name in ("images", "labels"):
    if name not in arrays:
      raise DataError(f"{file} has no array {name!r}; it holds {', '.join(sorted(arrays))}.")
  has_test = "test_images" in arrays
  if has_test != ("test_labels" in arrays):
    raise DataError(f"{file} has only one of test_images and test_labels.")
  images, labels = _checked(file, arrays, "images", "labels")
  num_classes = int(labels.max()) + 1
  absent = np.setdiff1d(np.arange(num_classes), labels)
  if absent.size:
    raise DataError(f"{file}: labels run to {num_classes - 1}, but {absent[0]} has no example.")
  class_names = tuple(map(str, arrays.get("class_names", range(num_classes))))
  if len(class_names) != num_classes:
    raise DataError(f"{file}: {len(class_names)} class_names for {num_classes} classes.")
  if not has_test:
    return Source(images, labels, images[:0], labels[:0], class_names, "own")
  test_images, test_labels = _checked(file, arrays, "test_images", "test_labels")
  if test_images.shape[1:] != images.shape[1:]:
    raise DataError(f"{file}: test_images are {test_images.shape[1:]}, images {images.shape[1:]}.")
  if test_labels.max() >= num_classes:
    raise DataError(f"{file}: test label {test_labels.max()} is no label of a train example.")
  return Source(images, labels, test_images, test_labels, class_names, "own")


def read_folder(path: str) -> Source:
  """Reads `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png` without a test part.

  Any common image format will do. All images must have one size; if any has colour, all become RGB.

  Args:
    path: of the folder.
  Returns:
    the Source, classes in alphabetical order; its test part is empty where there is none.
  Raises:
    DataError: naming the file or folder that is wrong.
  """
  folder = Path(path).expanduser()
  if not folder.is_dir():
    raise DataError(f"There is no folder {folder} (config.data.path).")
  has_train, has_test = (folder / "train").is_dir(), (folder / "test").is_dir()
  if has_test and not has_train:
    raise DataError(f"{folder} has a folder test, but no folder train.")
  train = _list_images(folder / "train" if has_train else folder)
  test = _list_images(folder / "test") if has_test else {}
  if has_test and train.keys() != test.keys():
    odd = sorted(train.keys() ^ test.keys())[0]
    raise DataError(f"Class {odd!r} stands in only one of {folder}/train and {folder}/test.")
  files = [file for part in (train, test) for of_class in part.values() for file in of_class]
  images = _decode(files)
  counts = [len(of_class) for part in (train, test) for of_class in part.values()]
  labels = np.repeat(np.arange(len(counts), dtype=np.int32) % len(train), counts)
  cut = sum(map(len, train.values()))
  return Source(images[:cut], labels[:cut], images[cut:], labels[cut:], tuple(train), "own")


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


def _checked(file: Path, arrays, images_name: str, labels_name: str):
  """Images u8[N h w c] and labels i32[N], or an error that names the first offender."""
  images, labels = arrays[images_name], arrays[labels_name]
  where = f"{file}: {images_name}"
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or not images.size:
    raise DataError(f"{where} has shape {images.shape}, not [N h w c].")
  if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
    raise DataError(
      f"{file}: {labels_name} is {labels.dtype}{list(labels.shape)}, not an integer for each of "
      f"the {len(images)} images."
    )
  if labels.min() < 0:
    index = int(np.argmin(labels))
    raise DataError(f"{file}: {labels_name}[{index}] = {labels[index]} is negative.")
  if np.issubdtype(images.dtype, np.floating):
    flat = images.reshape(len(images), -1)
    for is_bad, what in (
      (~np.isfinite(flat), "is not finite"),
      ((flat < 0) | (flat > 1), "lies outside [0, 1]"),
    ):
      if is_bad.any():
        row, column = np.unravel_index(np.argmax(is_bad), is_bad.shape)
        raise DataError(f"{where}[{row}] holds {flat[row, column]}, which {what}.")
    images = np.round(images * 255).astype(np.uint8)
  elif images.dtype != np.uint8:
    raise DataError(f"{where} is {images.dtype}, neither uint8 nor float.")
  return images, labels.astype(np.int32)


def _list_images(folder: Path) -> dict[str, list[Path]]:
  """{class: its image files}, both in order."""
  classes = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
  if len(classes) < 2:
    raise DataError(f"{folder} holds {len(classes)} folders of classes; at least 2 are needed.")
  files = {
    path.name: sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    for path in classes
  }
  for name, of_class in files.items():
    if not of_class:
      raise DataError(f"{folder / name} holds no image ({', '.join(_SUFFIXES)}).")
  return files


def _decode(files: list[Path]) -> np.ndarray:
  """u8[n h w c] with c = 3 if any image has colour, else 1."""
  from PIL import Image

  def opened(file: Path, read):
    try:
      with Image.open(file) as image:
        return read(image)
    except OSError as error:
      raise DataError(f"{file} is not a readable image: {error}") from error

  facts = [opened(file, lambda image: (image.size, image.mode)) for file in files]
  for file, (size, mode) in zip(files, facts):
    if size != facts[0][0]:
      raise DataError(f"{file} is {size}, but {files[0]} is {facts[0][0]} (width, height).")
    if mode not in _GREY_MODES + _COLOUR_MODES:
      raise DataError(f"{file} has mode {mode!r}; images of 8 bits a channel are needed.")
  mode = "L" if all(mode in _GREY_MODES for _, mode in facts) else "RGB"
  images = np.stack([opened(file, lambda image: np.array(image.convert(mode))) for file in files])
  return images[..., None] if mode == "L" else images
