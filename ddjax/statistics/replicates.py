"""Replicates of means of a few seeds, drawn so that they are no surer than the seeds allow.

Resampling three seeds gives means that vary too little and can take ten values alone. Here a mean
is drawn as mean + standard error * t with n - 1 degrees of freedom, which is what Student (1908)
says of the true one. Means of the same seeds are drawn together (a multivariate t with the sample
covariance), so that differences between them are as sure as the paired test says.
"""

from typing import Mapping, Sequence

from jaxtyping import Float
import numpy as np

Sample = Mapping[int, Sequence[float]]
"""A figure by seed and network: {seed: one number a network}."""


def sample_mean(sample: Sample) -> float:
  """Mean over seeds of the mean over networks."""
  return float(np.mean([np.mean(networks) for networks in sample.values()]))


def draw_means(
  samples: Sequence[Sample],
  num: int,
  rng: np.random.Generator,
  errors: Sequence[float] | None = None,
) -> Float[np.ndarray, "k num"]:
  """Draws of the true mean of each sample.

  Of several seeds the mean varies as seeds do, and samples with a seed in common share its draw.
  Of one seed it varies as its networks do, apart from all others. A single number varies by its
  standard error, as normal noise.

  Args:
    samples: k of them, none empty.
    num: of draws.
    rng: of the draws.
    errors: standard error of each sample that is a single number; 0 for all.
  Returns:
    f64[k num].
  """
  normal: dict[int, np.ndarray] = {}
  stretch: dict[tuple[int, ...], np.ndarray] = {}
  made = []
  for place, sample in enumerate(samples):
    seeds = tuple(sorted(sample))
    if len(seeds) > 1:
      values = np.array([np.mean(sample[seed]) for seed in seeds])
      for seed in seeds:
        if seed not in normal:
          normal[seed] = rng.standard_normal(num)
      if seeds not in stretch:
        stretch[seeds] = _stretch(len(seeds), num, rng)
      noise, wide = np.stack([normal[seed] for seed in seeds]), stretch[seeds]
    else:
      (only,) = sample.values()
      values = np.asarray(only, np.float64)
      if len(values) == 1:
        error = errors[place] if errors is not None else 0.0
        made.append(values[0] + error * rng.standard_normal(num))
        continue
      noise, wide = rng.standard_normal((len(values), num)), _stretch(len(values), num, rng)
    count = len(values)
    centre = values.mean()
    made.append(centre + wide * ((values - centre) @ noise) / np.sqrt(count * (count - 1)))
  return np.stack(made)


def _stretch(count: int, num: int, rng: np.random.Generator) -> np.ndarray:
  """What turns normal draws into those of Student, f64[num]."""
  return np.sqrt((count - 1) / rng.chisquare(count - 1, num))
