"""How well scores tell members from non-members, with intervals.

The targets of several splits are pooled. Their scores are not independent: splits share examples,
and the examples of a split share a model. So the bootstrap resamples splits and examples at once,
as `ddjax.statistics.intervals` does, and an interval is mean +- t * its standard error.
"""

from concurrent import futures
import functools
import hashlib
import os
from typing import Any, Mapping, MutableMapping, NamedTuple, Sequence

from jaxtyping import Bool, Float
import numpy as np
import scipy  # its parts, which take a second, load on first use

from ddjax.files.plain_arrays import bytes_of

FPR_LEVELS = {"tpr_at_0.1_percent_fpr": 1e-3, "tpr_at_1_percent_fpr": 1e-2}
_MOST_EPSILON = 700.0  # e^epsilon is still a number
FIGURES = ("auc", "balanced_accuracy", *FPR_LEVELS)
LEAST_EXPECTED = 10
"""Non-members expected above the threshold, below which a rate is not estimable."""
_CURVE_POINTS = 200
_TINY = 1e-12


class Estimate(NamedTuple):
  """A figure of one attack: value, 95 % interval, and why it is None where it is."""

  value: float | None
  low: float | None = None
  high: float | None = None
  reason: str = ""


class Scores(NamedTuple):
  """Scores of one attack on the targets of s splits.

  Attributes:
    values: f[s N], high for members; NaN where an example cannot be scored.
    is_member: bool[s N].
  """

  values: Float[np.ndarray, "s N"]
  is_member: Bool[np.ndarray, "s N"]


def figures(members: np.ndarray, others: np.ndarray) -> dict[str, float]:
  """The figures of weighted counts by descending score, in two halves of the examples.

  Args:
    members: f[2 u], weight of members at each of u distinct scores, highest first, by half.
    others: f[2 u], of non-members likewise.
  Returns:
    {name: value} of `FIGURES`: the area under the ROC curve (ties count half), the balanced
    accuracy at the threshold that is best on the other half of the examples, averaged over both
    halves (the best on the same examples lies above 1/2 by luck alone), and the largest true
    positive rate whose false positive rate is at most the level.
  """
  members, others = (np.cumsum(counts, axis=-1) for counts in (members, others))
  tpr, fpr = _rates(members.sum(axis=0)), _rates(others.sum(axis=0))
  by_half = (1 + _rates(members) - _rates(others)) / 2
  found = {
    "auc": (np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum(),
    "balanced_accuracy": (by_half[0, by_half[1].argmax()] + by_half[1, by_half[0].argmax()]) / 2,
  }
  for name, level in FPR_LEVELS.items():
    found[name] = np.where(fpr <= level * (1 + 1e-9), tpr, 0.0).max()
  return found


def _rates(sums: np.ndarray) -> np.ndarray:
  """Shares f[... u+1] above each threshold, of sums f[... u] up to it; a share of nothing is 0."""
  shares = np.zeros((*sums.shape[:-1], sums.shape[-1] + 1))
  np.divide(sums, np.maximum(sums[..., -1:], _TINY), out=shares[..., 1:])
  return shares


def roc(scores: Scores) -> dict[str, list[float]]:
  """The pooled ROC curve {"fpr", "tpr"}, at most 200 points that suit logarithmic axes."""
  members, others = (counts.sum(axis=0) for counts in _by_score(scores))
  tpr, fpr = np.cumsum(members) / members.sum(), np.cumsum(others) / others.sum()
  levels = np.unique([*np.geomspace(1 / others.sum(), 1, _CURVE_POINTS), *FPR_LEVELS.values()])
  places = np.searchsorted(fpr, levels * (1 + 1e-9), side="right") - 1
  points = np.where(places >= 0, tpr[places], 0.0)
  return {"fpr": levels.tolist(), "tpr": points.tolist()}


def estimate(
  scores: Mapping[Any, Scores],
  pairs: Sequence[tuple[Any, Any]],
  *,
  num_bootstrap: int,
  seed: int,
  known: MutableMapping[str, dict[str, np.ndarray]] | None = None,
) -> tuple[dict[Any, dict[str, Estimate]], dict[Any, dict[str, Estimate]]]:
  """Every figure of every attack, and paired differences, with 95 % intervals.

  Args:
    scores: {attack: Scores}, all on the same examples and splits.
    pairs: (a, b), whose difference a - b is wanted.
    num_bootstrap: replicates, at least 2.
    seed: of the draws.
    known: replicates of earlier calls by what they are of; those of this one are added.
  Returns:
    {attack: {figure: Estimate}}, and the same by pair; empty without attacks. A rate is None, with
    its reason, where fewer than `LEAST_EXPECTED` non-members are expected above its threshold.
  Raises:
    ValueError: for too few replicates, attacks on unequal targets, or a split without members or
      without non-members.
  """
  if num_bootstrap < 2:
    raise ValueError(f"num_bootstrap={num_bootstrap} must be at least 2.")
  if not scores:
    return {}, {}
  shapes = {name: np.shape(one.values) for name, one in scores.items()}
  if len(set(shapes.values())) != 1:
    raise ValueError(f"Attacks have unequal targets: {shapes}.")
  num_splits, num_examples = next(iter(shapes.values()))
  rng = np.random.default_rng(seed)
  weights = list(_draw_weights(num_splits, num_examples, num_bootstrap, rng))
  own = {name: figures(*_by_score(one)) for name, one in scores.items()}
  known = {} if known is None else known
  keys = {name: _content_key(one, num_bootstrap, seed) for name, one in scores.items()}
  missing = {keys[name]: one for name, one in scores.items() if keys[name] not in known}
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets go of the lock
    replicated = pool.map(functools.partial(_replicate, weights=weights), missing.values())
    known.update(zip(missing, replicated, strict=True))
  replicates = {name: known[key] for name, key in keys.items()}
  by_split = {name: _each_split(one) for name, one in scores.items()}
  enough = {name: _expected(one) for name, one in scores.items()}
  alone = {
    name: {
      figure: _estimate(own[name][figure], replicates[name][figure], by_split[name][figure], 0.0)
      for figure in FIGURES
    }
    | _not_estimable(enough[name])
    for name in scores
  }
  paired = {
    (a, b): {
      figure: _estimate(
        own[a][figure] - own[b][figure],
        replicates[a][figure] - replicates[b][figure],
        by_split[a][figure] - by_split[b][figure],
        -1.0,
      )
      for figure in FIGURES
    }
    | _not_estimable(min(enough[a], enough[b]))
    for a, b in pairs
  }
  return alone, paired


def _not_estimable(num_others: int) -> dict[str, Estimate]:
  """The rates for which there are too few non-members, with the reason."""
  return {
    figure: Estimate(
      None,
      reason=f"not estimable: {num_others * level:.3g} of {num_others} non-members are expected "
      f"above the threshold, fewer than {LEAST_EXPECTED}",
    )
    for figure, level in FPR_LEVELS.items()
    if num_others * level < LEAST_EXPECTED
  }


def is_estimable(scores: Scores) -> bool:
  """Whether every split has members and non-members with a score."""
  usable = np.isfinite(scores.values)
  return bool(
    ((usable & scores.is_member).any(axis=1) & (usable & ~scores.is_member).any(axis=1)).all()
  )


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
  """The exact interval of a proportion (Clopper, Pearson 1934), for independent trials."""
  tail = (1 - confidence) / 2
  low = scipy.stats.beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
  high = (
    scipy.stats.beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
  )
  return float(low), float(high)


def tpr_counts(scores: Scores, level: float, seed: int) -> tuple[int, int]:
  """(members above the threshold, members), each example in one split drawn for it.

  The threshold is the lowest with FPR <= level on all targets. One split an example makes the
  trials independent, as an exact interval takes them to be.
  """
  values = np.where(np.isfinite(scores.values), scores.values, -np.inf)
  others = np.sort(values[~scores.is_member & np.isfinite(values)])[::-1]
  allowed = int(level * (1 + 1e-9) * len(others))  # non-members that may lie above
  threshold = others[allowed] if allowed < len(others) else -np.inf
  chosen = _one_split_each(scores, seed)
  members = values[chosen][scores.is_member[chosen]]
  members = members[np.isfinite(members)]
  return int((members > threshold).sum()), len(members)


def epsilon_lower_bound(scores: Scores, *, significance: float = 0.05, seed: int) -> float:
  """A lower bound on the epsilon of differential privacy, by `jax_privacy.auditing`.

  Nasr et al. 2021 (arXiv 2101.04535): from the confusion of members and non-members, with
  Clopper-Pearson intervals and a Bonferroni correction over thresholds. One split is drawn for each
  example, so that an example counts once. An attack cannot show that there is privacy: 0 says that
  this one shows no leak.

  Args:
    scores: of the attack.
    significance: the probability with which the bound may be wrong.
    seed: of the draw.
  """
  from jax_privacy import auditing

  chosen = _one_split_each(scores, seed)
  values, is_member = scores.values[chosen], scores.is_member[chosen]
  usable = np.isfinite(values)
  members, others = values[usable & is_member], values[usable & ~is_member]
  if not len(members) or not len(others):
    return 0.0
  auditor = auditing.CanaryScoreAuditor(members, others)
  return max(0.0, float(auditor.epsilon_clopper_pearson(significance)))


def promised_tpr(fpr: np.ndarray, epsilon: float, delta: float) -> np.ndarray:
  """The highest true positive rate f[q] of any attack on what is (epsilon, delta)-private.

  Both directions of the definition, for an event and for its complement (Kairouz, Oh, Viswanath
  2015, arXiv 1311.0776, eq. 4): TPR <= e^epsilon FPR + delta and
  1 - FPR <= e^epsilon (1 - TPR) + delta.

  Args:
    fpr: false positive rates f[q].
    epsilon, delta: promised.
  """
  fpr = np.asarray(fpr, np.float64)
  few = np.exp(np.minimum(epsilon, _MOST_EPSILON)) * fpr + delta
  many = 1 - np.exp(-epsilon) * (1 - fpr - delta)
  return np.clip(np.minimum(few, many), 0, 1)


def _one_split_each(scores: Scores, seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Index of one target for each example, in a split drawn for it."""
  num_splits, num_examples = scores.values.shape
  drawn = np.random.default_rng(seed).integers(num_splits, size=num_examples)
  return drawn, np.arange(num_examples)


def _by_score(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
  """Numbers of members and non-members at each distinct score, highest first, by half: f[2 u]."""
  usable = np.isfinite(scores.values)
  if not (usable & scores.is_member).any() or not (usable & ~scores.is_member).any():
    raise ValueError("There are no members, or no non-members, with a score.")
  _, place = np.unique(-scores.values[usable], return_inverse=True)
  return _count(place, np.nonzero(usable)[1], scores.is_member[usable])


def _count(
  place: np.ndarray, example: np.ndarray, is_member: np.ndarray, weights: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
  """Weights of members and of non-members at each place, by half of the examples: f[2 u]."""
  size = place.max() + 1
  cell = place + size * (example % 2)

  def of(chosen: np.ndarray) -> np.ndarray:
    return np.bincount(cell, weights * chosen, minlength=2 * size).reshape(2, size)

  return of(is_member), of(~is_member)


def _draw_weights(num_splits: int, num_examples: int, num: int, rng: np.random.Generator):
  """One (split weights f[s], example weights f[N]) for each replicate.

  Of s splits, s - 1 are drawn, which makes their variance unbiased (Rao, Wu 1988).
  """
  even = np.full(num_splits, 1 / num_splits)
  examples = np.full(num_examples, 1 / num_examples)
  for _ in range(num):
    splits = np.ones(1) if num_splits == 1 else rng.multinomial(num_splits - 1, even)
    yield splits.astype(float), rng.multinomial(num_examples, examples).astype(float)


def _content_key(scores: Scores, num_bootstrap: int, seed: int) -> str:
  """Determines the replicates of scores."""
  content = hashlib.sha256(repr((np.shape(scores.values), num_bootstrap, seed)).encode())
  content.update(bytes_of(np.asarray(scores.values, np.float64)))
  content.update(bytes_of(scores.is_member))
  return f"replicates {content.hexdigest()}"


def _replicate(scores: Scores, weights) -> dict[str, np.ndarray]:
  """Every figure f[B] under each replicate's weights."""
  usable = np.isfinite(scores.values)
  _, place = np.unique(-scores.values[usable], return_inverse=True)
  split, example = np.nonzero(usable)
  is_member = scores.is_member[usable]
  found = [
    figures(*_count(place, example, is_member, splits[split] * examples[example]))
    for splits, examples in weights
  ]
  return {name: np.array([one[name] for one in found]) for name in FIGURES}


def _each_split(scores: Scores) -> dict[str, np.ndarray]:
  """Every figure of each split alone, f[s]."""
  rows = [
    figures(*_by_score(Scores(values[None], is_member[None])))
    for values, is_member in zip(scores.values, scores.is_member, strict=True)
  ]
  return {name: np.array([row[name] for row in rows]) for name in FIGURES}


def _expected(scores: Scores) -> int:
  """How many non-members have a score: over all splits, where each leaves out others."""
  scored = np.isfinite(scores.values) & ~scores.is_member
  is_left_out_anew = (scores.is_member != scores.is_member[:1]).any()
  return int(scored.sum() if is_left_out_anew else scored.any(axis=0).sum())


def _estimate(value, replicates: np.ndarray, by_split: np.ndarray, least: float) -> Estimate:
  """The interval, with the degrees of freedom of Satterthwaite (1946)."""
  variance, half = replicates.var(ddof=1), 0.0
  if variance > 0:
    degrees = 1e6
    if len(by_split) > 1 and (own := by_split.var(ddof=1) / len(by_split)) > 0:
      degrees = min((variance / own) ** 2 * (len(by_split) - 1), 1e6)
    half = scipy.special.stdtrit(degrees, 0.975) * np.sqrt(variance)
  low, high = np.clip([value - half, value + half], least, 1.0)
  return Estimate(float(value), float(low), float(high))
