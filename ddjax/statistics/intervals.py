"""Accuracies of several models on one test set, and their paired differences, with intervals.

Two things are random: which examples lie in the test set, and which distillations, subsets or
models were run. Both are resampled at once (a bootstrap crossed over examples and top-level
units; Owen, 2007, shows that it errs on the wide side). Few units make percentile intervals too
narrow (Hesterberg, 2015), so an interval is the mean +- t * the bootstrap's standard error: units
are drawn n - 1 at a time, which makes their variance unbiased (Rao, Wu, 1988), and t has the
degrees of freedom of Satterthwaite (1946).
"""

from typing import Mapping, NamedTuple, Sequence

from jaxtyping import Bool, Float, Integer
import numpy as np
import scipy  # its parts, which take a second, load on first use

from ddjax.wording import nearest

UNITS = {
  "distilled": "distillation",
  "initial": "distillation",
  "chosen": "distillation",
  "random_subset": "subset",
  "herding": "herding coreset",
  "k_center": "k-centre coreset",
  "k_means": "k-means coreset",
  "private_random": "private random set",
  "full": "full set",
}
"""What one group of a set's models is. Sets with the same units are resampled together."""

GAINS = {
  "random_subset": "gain_over_random",
  "initial": "gain_over_initial",
  "herding": "gain_over_herding",
  "k_center": "gain_over_k_center",
  "k_means": "gain_over_k_means",
  "private_random": "gain_over_private_random",
}
"""{baseline: what a report calls the paired difference from it}."""

_COUNTS_AT_ONCE = 2_000_000


class Estimate(NamedTuple):
  """A mean with its 95 % interval.

  Attributes:
    mean: mean over models of the accuracy, or of the difference; a fraction.
    std: standard deviation over models (ddof 1), for a difference over pairs of models; None for
      a single model, or where the models of two sets are not paired.
    low: lower end of the interval, no less than the least possible value.
    high: upper end.
    over: what the interval runs over, and on which single unit it is conditional.
    corrected: the mean without what the noise of the test examples adds, about which the interval
      lies; None where nothing is corrected.
  """

  mean: float
  std: float | None
  low: float
  high: float
  over: str
  corrected: float | None = None


class Resampling(NamedTuple):
  """How a bootstrap draws.

  Attributes:
    num_bootstrap: replicates, at least 2.
    seed: of the draws; equal arguments give equal results.
    units: {set: what one of its groups is called}.
  """

  num_bootstrap: int
  seed: int
  units: Mapping[str, str] = UNITS


class Sample(NamedTuple):
  """One set as it is resampled, m models in n units.

  Attributes:
    rows: f64[m T], right or wrong of each model and test example.
    members: i[m], the unit that a model belongs to.
    unit_means: f64[n T], means of `rows` by unit.
    groups: equal for two sets whose models are paired.
    units: equal for two sets whose units are drawn together.
    over: in words.
  """

  rows: np.ndarray
  members: np.ndarray
  unit_means: np.ndarray
  groups: tuple
  units: tuple[str, tuple]
  over: str


class Figure(NamedTuple):
  """A figure of one set.

  Attributes:
    mean: over units, as counted.
    per_model: f64[m].
    unit_means: f64[n], of each unit.
    replicates: f64[B], of the bootstrap.
  """

  mean: float
  per_model: np.ndarray
  unit_means: np.ndarray
  replicates: np.ndarray


def bootstrap_accuracies(
  correct: Mapping[str, Bool[np.ndarray, "m T"] | Float[np.ndarray, "m T"]],
  group: Mapping[str, Integer[np.ndarray, " m"]],
  pairs: Sequence[tuple[str, str]],
  resampling: Resampling,
  limits: tuple[float, float] = (0.0, 1.0),
) -> dict[str | tuple[str, str], Estimate]:
  """Mean accuracies and paired differences with 95 % intervals.

  Each replicate draws the test examples once for all sets, then each set's top-level units: the
  groups, or the models of a single group. Models stay with their unit, whose mean already varies
  with them. Every accuracy 0 or 1 alike gives an interval of width zero.

  Args:
    correct: {set: bool[m T]}, whether each model is right on each test example; T for all. Numbers
      f64[m T] between the limits do as well.
    group: {set: i[m]}, the distillation or subset of each model.
    pairs: (a, b), whose difference a - b is wanted.
    resampling: how often and by what is drawn.
    limits: the least and the largest possible value, to which intervals are cut.
  Returns:
    {set: Estimate} for every set, and {(a, b): Estimate} for every pair.
  Raises:
    ValueError: for sets tested on unequal numbers of examples, groups that do not fit the models,
      a pair of unknown sets, or too few replicates.
  """
  samples = samples_of(correct, group, pairs, resampling)
  stacked = np.concatenate([sample.unit_means for sample in samples.values()])
  rng = np.random.default_rng(resampling.seed)
  drawn = redraw_examples(stacked, resampling.num_bootstrap, rng)
  parts = np.split(drawn, np.cumsum([len(s.unit_means) for s in samples.values()])[:-1], axis=1)
  weights = unit_weights(samples, resampling)
  figures = {
    name: Figure(
      sample.unit_means.mean(),
      sample.rows.mean(axis=1),
      sample.unit_means.mean(axis=1),
      (part * weights[sample.units]).sum(axis=1),
    )
    for (name, sample), part in zip(samples.items(), parts, strict=True)
  }
  return estimates_of(samples, figures, pairs, limits)


def samples_of(
  correct: Mapping[str, np.ndarray],
  group: Mapping[str, np.ndarray],
  pairs: Sequence[tuple[str, str]],
  resampling: Resampling,
) -> dict[str, Sample]:
  """Every set by its units, once the arguments have been found to fit.

  Args, errors: as `bootstrap_accuracies`.
  """
  if resampling.num_bootstrap < 2:
    raise ValueError(f"num_bootstrap={resampling.num_bootstrap} must be at least 2.")
  for name in (name for pair in pairs for name in pair):
    if name not in correct:
      raise ValueError(f"Unknown set {name!r} among the pairs. {nearest(name, correct)}")
  tested = {name: np.shape(rows)[1] for name, rows in correct.items()}
  if len(set(tested.values())) != 1:
    raise ValueError(f"Sets were tested on unequal numbers of examples: {tested}.")
  return {
    name: _sample(name, np.asarray(rows, np.float64), np.asarray(group[name]), resampling.units)
    for name, rows in correct.items()
  }


def bootstrap_means(
  values: Mapping[str, Float[np.ndarray, "m T"]],
  group: Mapping[str, Integer[np.ndarray, " m"]],
  pairs: Sequence[tuple[str, str]],
  resampling: Resampling,
) -> dict[str | tuple[str, str], Estimate]:
  """Means of non-negative numbers that some examples lack, with 95 % intervals.

  The mean of a model is a ratio, the sum over its n examples that have a number, over n. Each such
  example enters as mean + (number - mean) T / n and each other one as the mean, whose average over
  all T has the mean and, to first order, the variance of that ratio (the linearised ratio of
  Woodruff, 1971).

  Args:
    values: {set: f64[m T]}, NaN where an example has no number; at least one number a model.
    group: as for `bootstrap_accuracies`, as is what follows.
    pairs: as there.
    resampling: as there.
  Raises:
    ValueError: for a model without any number, and as `bootstrap_accuracies`.
  """
  linear = {}
  for name, rows in values.items():
    rows = np.asarray(rows, np.float64)
    is_known = ~np.isnan(rows)
    counts = is_known.sum(axis=1, keepdims=True)
    if not counts.all():
      raise ValueError(f"Set {name!r} has a model without a number for any example.")
    means = np.nansum(rows, axis=1, keepdims=True) / counts
    scale = rows.shape[1] / counts
    linear[name] = means + np.where(is_known, scale * (rows - means), 0.0)
  return bootstrap_accuracies(linear, group, pairs, resampling, (0.0, np.inf))


def _sample(name: str, rows: np.ndarray, group: np.ndarray, units: Mapping[str, str]) -> Sample:
  """Averages the models of each top-level unit."""
  if group.shape != rows.shape[:1]:
    raise ValueError(f"Set {name!r} has {len(rows)} models but groups of shape {group.shape}.")
  unit = units.get(name, f"{name} set")
  labels, members = np.unique(group, return_inverse=True)
  sizes = np.bincount(members)
  if len(labels) == 1:
    over = f"{len(rows)} models, given one {unit}" if len(rows) > 1 else f"given one {unit}"
    labels, means = np.arange(len(rows)), rows
    members = labels
    unit = f"model of one {unit}"
  else:
    means = np.stack([rows[members == i].mean(axis=0) for i in range(len(labels))])
    over = f"{len(labels)} {unit}s"
    if sizes.min() == sizes.max() > 1:
      over += f" of {sizes[0]} models each"
  groups = (unit, tuple(group.tolist()))
  return Sample(rows, members, means, groups, (unit, tuple(labels.tolist())), over)


def unit_weights(
  samples: Mapping[str, Sample], resampling: Resampling
) -> dict[tuple[str, tuple], np.ndarray]:
  """The draws of units: {`Sample.units`: weights f64[num_bootstrap n]}, each row summing to 1.

  Sets of the same units share a draw.
  """
  return {
    sample.units: _redraw_units(
      len(sample.unit_means), resampling.num_bootstrap, (resampling.seed, order)
    )
    for order, sample in enumerate(samples.values(), 1)
  }


def redraw_examples(means: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
  """Means over T examples drawn with replacement, one draw for all rows.

  Args:
    means: f64[rows T].
    num: replicates.
    rng: of the draws.
  Returns:
    f64[num rows].
  """
  count = means.shape[1]
  columns = np.ascontiguousarray(means.T, np.float32)
  block = max(1, _COUNTS_AT_ONCE // count)
  drawn = []
  for start in range(0, num, block):
    size = min(block, num - start)
    cells = rng.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
    counts = np.bincount(cells.ravel(), minlength=size * count).reshape(size, count)
    drawn.append(counts.astype(np.float32) @ columns / count)
  return np.concatenate(drawn).astype(np.float64)


def _redraw_units(count: int, num: int, seed: tuple[int, int]) -> np.ndarray:
  """Weights f64[num count], each row summing to 1, of count - 1 units drawn with replacement."""
  if count == 1:
    return np.ones((num, 1))
  drawn = np.random.default_rng(seed).integers(count, size=(num, count - 1))
  return (drawn[:, :, None] == np.arange(count)).mean(axis=1)


def estimates_of(
  samples: Mapping[str, Sample],
  figures: Mapping[str, Figure],
  pairs: Sequence[tuple[str, str]],
  limits: tuple[float, float] = (0.0, 1.0),
  is_corrected: bool = False,
) -> dict[str | tuple[str, str], Estimate]:
  """The estimate of every set and pair.

  Args:
    samples: from `samples_of`.
    figures: {set: Figure}.
    pairs: (a, b), whose difference a - b is wanted.
    limits: the least and the largest possible value of a set.
    is_corrected: whether intervals lie about the mean of `unit_means`, which then stands in
      `corrected`, instead of `mean`.
  """
  examples = f"{next(iter(samples.values())).rows.shape[1]} test examples"
  estimates: dict[str | tuple[str, str], Estimate] = {
    name: _estimate(
      figure.unit_means.mean() if is_corrected else figure.mean,
      figure.per_model,
      figure.replicates,
      [figure.unit_means],
      limits,
      f"{examples}, {samples[name].over}",
    )
    for name, figure in figures.items()
  }
  for a, b in pairs:
    one, other = figures[a], figures[b]
    means = one.unit_means, other.unit_means
    is_paired = samples[a].groups == samples[b].groups
    estimates[a, b] = _estimate(
      means[0].mean() - means[1].mean(),
      one.per_model - other.per_model if is_paired else None,
      one.replicates - other.replicates,
      [means[0] - means[1]] if samples[a].units == samples[b].units else list(means),
      (limits[0] - limits[1], limits[1] - limits[0]),
      ", ".join(dict.fromkeys([examples, samples[a].over, samples[b].over])),
    )
  if not is_corrected:
    return estimates
  counted = {name: figure.mean for name, figure in figures.items()}
  counted |= {(a, b): counted[a] - counted[b] for a, b in pairs}
  return {
    source: estimate._replace(mean=float(counted[source]), corrected=estimate.mean)
    for source, estimate in estimates.items()
  }


def _estimate(
  mean: float,
  per_model: np.ndarray | None,
  replicates: np.ndarray,
  unit_means: Sequence[np.ndarray],
  limits: tuple[float, float],
  over: str,
) -> Estimate:
  """The interval; `unit_means` holds, for each independent kind of unit, one mean a unit."""
  variance = replicates.var(ddof=1)
  half = 0.0
  if variance > 0:
    by_units = sum(
      (means.var(ddof=1) / len(means)) ** 2 / (len(means) - 1)
      for means in unit_means
      if len(means) > 1
    )
    degrees = min(variance**2 / by_units, 1e6) if by_units > 0 else 1e6
    half = scipy.special.stdtrit(degrees, 0.975) * np.sqrt(variance)
  std = None if per_model is None or len(per_model) < 2 else float(per_model.std(ddof=1))
  low, high = np.clip([mean - half, mean + half], *limits)
  return Estimate(float(mean), std, float(low), float(high), over)
