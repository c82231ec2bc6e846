"""Folders of image files, one folder for each class."""

from pathlib import Path

from absl import logging
import numpy as np

from ddjax.data.interpret import DEEP_MODES, check_not_dark, to_bytes
from ddjax.data.source import DataError, Source

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_GREY_MODES = ("1", "L")
_COLOUR_MODES = ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LA")


def read_folder(path: str, side: int | None = None, max_value: float | None = None) -> Source:
  """Reads `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png` without a test part.

  Any common image format will do, 16 bits a channel too. If any image has colour, all become RGB.
  Names that begin with a dot, and files of other kinds, are left out.

  Args:
    path: of the folder.
    side: to which the central square of every image is resized, pixels (bicubic, antialiased);
      None: all images must have one size.
    max_value: the value of white in pictures of 16 bits; None: 65535, unless all are nearly black.
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
  train = list_images(folder / "train" if has_train else folder)
  test = list_images(folder / "test") if has_test else {}
  if has_test and train.keys() != test.keys():
    odd = sorted(train.keys() ^ test.keys())[0]
    raise DataError(f"Class {odd!r} stands in only one of {folder}/train and {folder}/test.")
  files = [file for part in (train, test) for of_class in part.values() for file in of_class]
  images = decode(files, side, max_value)
  counts = [len(of_class) for part in (train, test) for of_class in part.values()]
  labels = np.repeat(np.arange(len(counts), dtype=np.int32) % len(train), counts)
  cut = sum(map(len, train.values()))
  version = "own" if side is None else f"own, central squares resized to {side} x {side} px"
  return Source(images[:cut], labels[:cut], images[cut:], labels[cut:], tuple(train), version)


def list_images(folder: Path, inside: str = "") -> dict[str, list[Path]]:
  """{class: its image files}, both in order.

  Args:
    folder: with one folder for each class.
    inside: a folder of each class's in which its images lie; "" for none.
  Raises:
    DataError: for fewer than two classes, or one without an image.
  """
  classes = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
  if len(classes) < 2:
    raise DataError(f"{folder} holds {len(classes)} folders of classes; at least 2 are needed.")
  files = {
    path.name: sorted(
      file
      for file in (path / inside).iterdir()
      if file.suffix.lower() in _SUFFIXES and file.name[0] != "."
    )
    for path in classes
  }
  for name, of_class in files.items():
    if not of_class:
      raise DataError(f"{folder / name} holds no image ({', '.join(_SUFFIXES)}).")
  return files


def decode(files: list[Path], side: int | None, max_value: float | None = None) -> np.ndarray:
  """Image files as u8[n h w c], c = 3 if any has colour, else 1.

  Args:
    files: of any common format, 8 or 16 bits a channel.
    side: to which central squares are resized; None: all must have one size.
    max_value: the value of white in pictures of 16 bits; None: 65535.
  Raises:
    DataError: naming the first file that cannot be read, or is of another size; where pictures of
      16 bits are all nearly black and `max_value` is not named.
  """
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
  white, most = 65535 if max_value is None else max_value, 0
  if not 0 < white <= 65535:
    raise DataError(f"data.max_value={white} must lie in (0, 65535].")
  if num_deep := sum(mode in DEEP_MODES for _, mode in facts):
    logging.info("%d images have 16 bits: divided by %g, and kept to 255ths.", num_deep, white)
  is_grey = all(mode in _GREY_MODES + DEEP_MODES for _, mode in facts)

  def read(image):
    nonlocal most
    if image.mode in DEEP_MODES:
      values = np.asarray(image)
      most = max(most, int(values.max()))
      image = Image.fromarray(to_bytes(values, white))
    image = image.convert("L" if is_grey else "RGB")
    return np.array(image if side is None else _square(image, side))

  images = np.stack([opened(file, read) for file in files])
  if max_value is None:
    first = next((file for file, (_, mode) in zip(files, facts) if mode in DEEP_MODES), files[0])
    where = f"{first.parent.parent}: what has 16 bits a channel, as {first.name},"
    check_not_dark(where, "16-bit", most, white, "data.max_value")
  return images[..., None] if is_grey else images


def _square(image, side: int):
  """The central square of an image, resized to side x side with antialiasing."""
  from PIL import Image

  width, height = image.size
  short = min(width, height)
  left, top = (width - short) / 2, (height - short) / 2
  box = (left, top, left + short, top + short)
  return image.resize((side, side), Image.Resampling.BICUBIC, box=box)
