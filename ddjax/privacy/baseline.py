"""Private random sets: noised class means, what a private distillation is held against.

Every example is put at random into one of `ipc` groups of its class, and the mean of each group is
published with Gaussian noise, once. NumPy, on the host.
"""

import math
from typing import NamedTuple, Sequence

from jaxtyping import Float, Int, UInt8
import numpy as np

from ddjax.privacy import accounting

_ROWS_PER_BLOCK = 4096
_CENTRE = 0.5  # of pixels: no image lies farther from it than half the diagonal of [0, 1]^d


class Stored(NamedTuple):
  """Real examples as they are stored.

  Attributes:
    images: integers, white is `max_value`.
    labels: in [0, num_classes).
    num_classes: k.
    max_value: the stored value of white.
  """

  images: UInt8[np.ndarray, "N h w c"]
  labels: Int[np.ndarray, " N"]
  num_classes: int
  max_value: int


def noised_means(
  real: Stored, ipc: int, *, epsilon: float, delta: float, seed: Sequence[int]
) -> Float[np.ndarray, "n h w c"]:
  """Means of groups of real images with (epsilon, delta)-differential privacy, by the Gaussian
  mechanism.

  An image less the middle grey has a norm of sqrt(h w c) / 2 at most, so that nothing is clipped,
  and it is in one group, so that taking it out moves all sums together by no more. Sums are divided
  by N / (k ipc), which is public: the mean of a class of another size is scaled about grey.

  Args:
    real: the examples.
    ipc: groups of each class.
    epsilon: of all means together.
    delta: likewise.
    seed: non-negative integers, of groups and noise.
  Returns:
    f32[k*ipc h w c], pixels in [0, 1], class by class.
  """
  images, labels, num_classes, max_value = real
  rng = np.random.default_rng(seed)
  group = labels.astype(np.int64) * ipc + rng.integers(ipc, size=len(labels))
  sums = np.zeros((num_classes * ipc, images[0].size))
  for start in range(0, len(images), _ROWS_PER_BLOCK):
    rows = slice(start, start + _ROWS_PER_BLOCK)
    centred = images[rows].reshape(-1, images[0].size) / max_value - _CENTRE
    np.add.at(sums, group[rows], centred)
  noise = noise_scale(images[0].size, epsilon, delta) * rng.standard_normal(sums.shape)
  means = (sums + noise) * len(sums) / len(images) + _CENTRE
  return np.clip(means, 0, 1).astype(np.float32).reshape(-1, *images.shape[1:])


def noise_scale(num_pixels: int, epsilon: float, delta: float) -> float:
  """Standard deviation of the noise on the sums."""
  multiplier = accounting.find_noise_multiplier(epsilon, delta, 1.0, 1)
  return multiplier * math.sqrt(num_pixels) / 2
