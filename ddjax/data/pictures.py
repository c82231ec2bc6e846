"""Picture files of 16 bits a value."""

import numpy as np

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L")
"""Pillow's names for grey pictures of 16 bits."""


def as_bytes(deep: np.ndarray) -> np.ndarray:
  """u8[h w] of a picture with values in 0 to 65535: divided by 65535, and rounded to 255ths."""
  return np.round(deep.astype(np.float64).clip(0, 65535) * (255 / 65535)).astype(np.uint8)
