"""The released loops of DC and DSA: how often images and networks are updated."""

import numpy as np

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""Released settings of DC and DSA: ipc: (outer loop, inner loop)."""


def loops_of(ipc: int) -> tuple[int, int]:
  """(outer loop, inner loop): updates of the images a network, epochs of training between them.

  The released ones for 1, 10, 20, 30, 40 and 50 images per class, straight lines between, and those
  of 50 above.

  Args:
    ipc: images per class, at least 1.
  """
  known = sorted(LOOPS)
  outer, inner = (np.interp(ipc, known, [LOOPS[n][i] for n in known]) for i in (0, 1))
  return round(float(outer)), round(float(inner))
