"""A user's own images: an npz file, or a folder with one folder of images for each class."""

from pathlib import Path
import zipfile

from absl import logging
import numpy as np

from ddjax.data.interpret import DEEP_MODES, as_images, as_labels, from_sixteen_bits
from ddjax.data.source import DataError, Source
from ddjax.data.splits import stratified_rows, without_rows

_TEST_SHARE = 0.2
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_GREY_MODES = ("1", "L")
_COLOUR_MODES = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LA")
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


def read_folder(path: str, side: int | None = None) -> Source:
  """Reads `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png` without a test part.

  Any common image format will do, 16 bits a channel too. If any image has colour, all become RGB.
  Names that begin with a dot, and files of other kinds, are left out.

  Args:
    path: of the folder.
    side: to which the central square of every image is resized, pixels (bicubic, antialiased);
      None: all images must have one size.
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
  images = _decode(files, side)
  counts = [len(of_class) for part in (train, test) for of_class in part.values()]
  labels = np.repeat(np.arange(len(counts), dtype=np.int32) % len(train), counts)
  cut = sum(map(len, train.values()))
  version = "own" if side is None else f"own, central squares resized to {side} x {side} px"
  return Source(images[:cut], labels[:cut], images[cut:], labels[cut:], tuple(train), version)


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


def _list_images(folder: Path) -> dict[str, list[Path]]:
  """{class: its image files}, both in order."""
  classes = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
  if len(classes) < 2:
    raise DataError(f"{folder} holds {len(classes)} folders of classes; at least 2 are needed.")
  files = {
    path.name: sorted(
      file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.name[0] != "."
    )
    for path in classes
  }
  for name, of_class in files.items():
    if not of_class:
      raise DataError(f"{folder / name} holds no image ({', '.join(_SUFFIXES)}).")
  return files


def _decode(files: list[Path], side: int | None) -> np.ndarray:
  """u8[n h w c] with c = 3 if any image has colour, else 1."""
  from PIL import Image

  def opened(file: Path, read):
    try:
      with Image.open(file) as image:
        return read(image)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
      raise DataError(f"{file} is not a readable image: {error}") from error

  facts = [opened(file, lambda image: (image.size, image.mode)) for file in files]
  for file, (size, mode) in zip(files, facts):
    if size != facts[0][0] and side is None:
      raise DataError(
        f"{file} is {size}, but {files[0]} is {facts[0][0]} (width, height). With "
        "data.image_size=32, say, all are made 32 x 32."
      )
    if mode not in _GREY_MODES + _COLOUR_MODES + DEEP_MODES:
      raise DataError(f"{file} has mode {mode!r}; images of 8 or 16 bits a channel are needed.")
  if num_deep := sum(mode in DEEP_MODES for _, mode in facts):
    logging.info("%d images have 16 bits: divided by 65535, and kept to 255ths.", num_deep)
  is_grey = all(mode in _GREY_MODES + DEEP_MODES for _, mode in facts)

  def read(image):
    if image.mode in DEEP_MODES:
      image = Image.fromarray(from_sixteen_bits(np.asarray(image)))
    image = image.convert("L" if is_grey else "RGB")
    return np.array(image if side is None else _square(image, side))

  images = np.stack([opened(file, read) for file in files])
  return images[..., None] if is_grey else images


def _square(image, side: int):
  """The central square of an image, resized to side x side with antialiasing."""
  from PIL import Image

  width, height = image.size
  short = min(width, height)
  left, top = (width - short) / 2, (height - short) / 2
  box = (left, top, left + short, top + short)
  return image.resize((side, side), Image.Resampling.BICUBIC, box=box)
