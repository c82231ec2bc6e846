"""What every reader of real images returns, and the error that all of them raise."""

from typing import NamedTuple

import numpy as np


class DataError(ValueError):
  """A data set cannot be read; the sentence says which, where, and what to do about it."""


class Source(NamedTuple):
  """A data set as it was published, decoded, before any cut.

  Attributes:
    train_images: u8[N h w c].
    train_labels: i32[N], in [0, k).
    test_images: u8[M h w c].
    test_labels: i32[M].
    class_names: k names.
    version: the publisher's version.
    train_groups: i32[N], in [0, g), where the examples have groups; else None.
    test_groups: i32[M], likewise.
  """

  train_images: np.ndarray
  train_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  class_names: tuple[str, ...]
  version: str
  train_groups: np.ndarray | None = None
  test_groups: np.ndarray | None = None

  def to_arrays(self) -> dict[str, np.ndarray]:
    """The same as a dict of plain arrays, for a cache file."""
    return {name: np.asarray(value) for name, value in self._asdict().items() if value is not None}

  @classmethod
  def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Source":
    """Inverse of `to_arrays`."""
    arrays = dict(arrays)
    class_names = tuple(map(str, arrays.pop("class_names")))
    return cls(class_names=class_names, version=str(arrays.pop("version")), **arrays)
