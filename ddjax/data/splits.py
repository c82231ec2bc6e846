"""Cutting a real set: stratified draws and the rows of each class. NumPy, on the host."""

from typing import Sequence

import numpy as np


def stratified_rows(labels: np.ndarray, count: int, seed: int | Sequence[int]) -> np.ndarray:
  """Draws `count` rows so that every class keeps its share.

  Shares are rounded by largest remainder. The draw ranks raw bits of a counter-based generator, so
  that it is the same on every platform and version.

  Args:
    labels: int[N].
    count: how many rows to draw, in [0, N].
    seed: non-negative integers.
  Returns:
    i64[count], ascending rows.
  Raises:
    ValueError: if `count` lies outside [0, N].
  """
  if not 0 <= count <= len(labels):
    raise ValueError(f"Cannot draw {count} examples from {len(labels)}.")
  classes, counts = np.unique(labels, return_counts=True)
  exact = counts * count / max(len(labels), 1)
  shares = np.floor(exact).astype(np.int64)
  shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
  bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw(len(labels))
  order = np.argsort(bits, kind="stable")
  of_class = [order[labels[order] == k][:share] for k, share in zip(classes, shares)]
  return np.sort(np.concatenate([np.zeros(0, np.int64), *of_class]))


def without_rows(num_examples: int, rows: np.ndarray) -> np.ndarray:
  """The rows in [0, num_examples) that are not in `rows`, ascending."""
  return np.setdiff1d(np.arange(num_examples), rows, assume_unique=True)


def rows_by_class(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
  """The rows of each class as one rectangular table.

  Args:
    labels: int[N], in [0, k).
    num_classes: k.
  Returns:
    index i32[k q], the ascending rows of each class, padded to the largest class by repetition;
    counts i32[k], how many entries of each row are real.
  Raises:
    ValueError: if a class has no example.
  """
  counts = np.bincount(labels, minlength=num_classes)
  if not counts.all():
    raise ValueError(f"Classes {np.flatnonzero(counts == 0).tolist()} have no train example.")
  rows = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
  index = np.stack([np.resize(of_class, counts.max()) for of_class in rows])
  return index.astype(np.int32), counts.astype(np.int32)
