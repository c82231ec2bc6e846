"""PNGs and JPEGs that a stranger made, as one array; decoded by Pillow within bounds."""

import io
import math
from typing import Any, Callable, Iterable

import numpy as np

from ddjax.data.interpret import DEEP_MODES, check_not_dark, to_bytes
from ddjax.files.bounded import MAX_BYTES

MOST_PICTURES = 100_000
_MOST_PIXELS = 4096 * 4096  # of one image
MAX_VALUE = "foreign.max_value"
_MODES = ("1", "L", "LA", "RGB", "RGBA", "P")


def stack_pictures(
  where: Any,
  pictures: Iterable[tuple[Any, Callable[[], bytes]]],
  formats: tuple[str, ...],
  max_value: float | None = None,
) -> np.ndarray:
  """Pictures of one size as u8[n h w c], c = 3 if any has colour, else 1.

  Args:
    where: what holds them, for errors.
    pictures: (what it is called, () -> its bytes) of each; at least one.
    formats: names of Pillow that are allowed.
    max_value: the value of white in pictures of 16 bits; None: 65535.
  Raises:
    ValueError: naming the picture that cannot be read, or `where` for several sizes, more than
      `MAX_BYTES` of pixels, or pictures of 16 bits that are nearly black if white is 65535.
  """
  images, room, most, white = [], MAX_BYTES, 0, 65535 if max_value is None else max_value
  for name, read in pictures:
    image = decode(name, read(), formats)
    room -= image.size
    if image.dtype != np.uint8:
      most = max(most, int(image.max()))
      image = to_bytes(image, white)
    images.append(image)
    if room < 0:
      raise ValueError(f"{where} holds more than {MAX_BYTES >> 30} GiB of pixels.")
  if max_value is None:
    check_not_dark(f"{where}: what has 16 bits a channel", "16-bit", most, white, MAX_VALUE)
  sizes = {image.shape[:2] for image in images}
  if len(sizes) > 1:
    listed = str(sorted(sizes)[:8])[:-1] + (", ...]" if len(sizes) > 8 else "]")
    raise ValueError(f"{where} holds images of several sizes: {listed} (height, width).")
  channels = max(image.shape[2] for image in images)
  return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images])


def decode(name: Any, content: bytes, formats: tuple[str, ...]) -> np.ndarray:
  """A picture as u8[h w c], c = 1 or 3, or of another type for 16 bits; transparency is dropped.

  Raises:
    ValueError: naming it, for a damaged one, another format, too many pixels, or another mode.
  """
  from PIL import Image

  try:
    with Image.open(io.BytesIO(content), formats=formats) as image:
      if math.prod(image.size) > _MOST_PIXELS:
        raise ValueError(f"{image.size[0]} x {image.size[1]} pixels, too many")
      if image.mode in DEEP_MODES:
        return np.asarray(image)[..., None]
      if image.mode not in _MODES:
        raise ValueError(f"mode {image.mode!r}, where 8 or 16 bits a channel are needed")
      array = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
  except Exception as error:
    reason = str(error)[:300] or type(error).__name__
    raise ValueError(f"{name} is no readable {' or '.join(formats)}: {reason}") from error
  return array[..., None] if array.ndim == 2 else array
