"""What a private distillation promises: its settings read and checked once, and said in sentences.

Whatever else looks at real examples is refused here by name: real images to begin with, saved sets
and k-means, a preprocessing fitted on the real set, a snapshot chosen on real examples, and
checkpoints of other runs, of which nobody knows what they spent.
"""

import math
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ddjax.privacy import accounting
from ddjax.types import DatasetInfo

PREPROCESSING = ("none", "published")
"""That look at no real example."""
INIT = "noise"
_MOST_SEED = 2**64


class Guarantee(NamedTuple):
  """A guarantee and the mechanism that gives it.

  Attributes:
    epsilon: wanted.
    delta: wanted.
    clip_norm: C, of what one example contributes to an update.
    noise_multiplier: standard deviation of the noise over C.
    sampling_rate: probability of each example in each update.
    batch_size: examples drawn at an update on average.
    capacity: examples that the arrays of an update hold.
    num_updates: of one distillation.
    num_members: real examples that are distilled.
    num_sets: that one run distils from them.
    spent: epsilon of one set, by each accountant.
    together: epsilon of all sets of the run.
    noise_seed: secret, mixed into the noise; None where the config's seed alone makes it.
  """

  epsilon: float
  delta: float
  clip_norm: float
  noise_multiplier: float
  sampling_rate: float
  batch_size: float
  capacity: int
  num_updates: int
  num_members: int
  num_sets: int
  spent: accounting.Spent
  together: float
  noise_seed: int | None

  @property
  def noise_scale(self) -> float:
    """Standard deviation of the noise on a sum."""
    return self.noise_multiplier * self.clip_norm

  def in_words(self) -> str:
    """A sentence for the log."""
    return (
      f"({self.spent.epsilon:.4g}, {self.delta:g})-differential privacy by "
      f"{self.spent.accountant.upper()}: noise multiplier {self.noise_multiplier:.4g}, "
      f"{self.num_updates} updates of {self.batch_size:.4g} examples on average, "
      f"{self.capacity} at most."
    )


def check_config(config: ConfigDict) -> None:
  """Refuses what would break the guarantee; a config without the group `guarantee` passes.

  Raises:
    ValueError: naming the field and its value.
  """
  if "guarantee" not in config:
    return
  own = config.guarantee
  for name in ("epsilon", "clip_norm"):
    if not own[name] > 0:
      raise ValueError(f"guarantee.{name}={own[name]} must be positive.")
  if not 0 < own.delta < 1:
    raise ValueError(f"guarantee.delta={own.delta} must lie in (0, 1).")
  seed = own.noise_seed
  if seed is not None and not 0 <= seed < _MOST_SEED:
    raise ValueError("guarantee.noise_seed must lie between 0 and 2^64 - 1.")  # it is a secret
  init = config.synthetic.init
  if init != INIT:
    raise ValueError(
      f"synthetic.init={init!r} is not private: a set with a guarantee begins with {INIT!r}."
    )
  kind = config.data.preprocessing
  if kind not in PREPROCESSING:
    raise ValueError(
      f"data.preprocessing={kind!r} is fitted on real images, without noise: a set with a "
      f"guarantee takes {' or '.join(map(repr, PREPROCESSING))}."
    )
  if config.choose_by != "none":
    raise ValueError(
      f"choose_by={config.choose_by!r} chooses on real examples, without noise: a set with a "
      "guarantee takes its last step ('none')."
    )
  if config.resume_from:
    raise ValueError(
      f"resume_from={config.resume_from!r}: what that run spent of its budget is not known, so a "
      "set with a guarantee begins anew."
    )


def read_guarantee(config: ConfigDict, info: DatasetInfo, batch_size: int, field: str) -> Guarantee:
  """Reads and checks the group `guarantee`, and finds the noise for it.

  Args:
    config: the whole config.
    info: of the data set; its number of examples counts as public.
    batch_size: real examples that an update draws on average.
    field: the config's, that says so, for messages.
  Raises:
    ValueError: for an impossible setting, or one that would break the guarantee, naming it.
    accounting.AccountantError: where `dp_accounting` is not installed.
  """
  check_config(config)
  own, num_updates = config.guarantee, config.outer.num_steps
  if num_updates < 1:
    raise ValueError(f"outer.num_steps={num_updates} must be at least 1.")
  fraction = config.member_fraction
  if not 0 < fraction <= 1:
    raise ValueError(f"member_fraction={fraction} must lie in (0, 1].")
  num_members = info.num_train
  if fraction < 1:  # a share of each class, rounded
    num_members = min(num_members, round(fraction * num_members) + info.num_classes)
  if not 0 < batch_size <= num_members:
    raise ValueError(
      f"{field}: {batch_size} examples an update must lie between 1 and the {num_members} that "
      "are distilled."
    )
  rate = accounting.drawable_rate(batch_size / num_members)
  capacity = accounting.choose_capacity(num_members, rate, num_updates, own.epsilon, own.delta)
  multiplier = accounting.find_noise_multiplier(own.epsilon, capacity.delta, rate, num_updates)
  spent = accounting.spent(multiplier, rate, num_updates, capacity.delta)
  num_sets = max(config.num_replicas, 1)
  together = spent
  if num_sets > 1:
    together = accounting.spent(multiplier, rate, num_updates * num_sets, capacity.delta)
  return Guarantee(
    epsilon=own.epsilon,
    delta=own.delta,
    clip_norm=own.clip_norm,
    noise_multiplier=multiplier,
    sampling_rate=rate,
    batch_size=rate * num_members,
    capacity=capacity.size,
    num_updates=num_updates,
    num_members=num_members,
    num_sets=num_sets,
    spent=spent,
    together=together.epsilon,
    noise_seed=own.noise_seed,
  )


def warnings(guarantee: Guarantee) -> tuple[str, ...]:
  """What weakens the guarantee, in sentences."""
  found = []
  if guarantee.delta * guarantee.num_members > 1:
    found.append(
      f"guarantee.delta={guarantee.delta:g} is above 1/N = {1 / guarantee.num_members:.2g}: a "
      "mechanism that publishes one example at random would satisfy it."
    )
  if guarantee.noise_seed is None:
    found.append(
      "The noise was made from the config's seed, which is published with the set: whoever knows "
      "the seed and the code can compute the noise and take it away. Before you publish a set, set "
      "guarantee.noise_seed to a random number of 64 bits, keep it secret, and never use it for a "
      "second set."
    )
  return tuple(found)


def record(guarantee: Guarantee, covered: str) -> dict[str, Any]:
  """What a published set says of its guarantee: plain numbers and sentences, without the secret.

  Args:
    guarantee: of the distillation.
    covered: what one example contributes and how it is clipped, a sentence of the method.
  """
  one, own = guarantee, {k: v for k, v in guarantee._asdict().items() if k in _RECORDED}
  spent = one.spent
  other = next(name for name in accounting.ACCOUNTANTS if name != spent.accountant)
  sentences = [
    f"The set is ({spent.epsilon:.4g}, {one.delta:g})-differentially private, where "
    f"({one.epsilon:g}, {one.delta:g}) was asked for, for each of the {one.num_members} real "
    "examples that were distilled. Neighbouring sets differ by one example, added or removed.",
    f"Accountant: {spent.accountant.upper()} of dp-accounting; {other.upper()} says epsilon "
    f"{spent.bounds[other]:.4g}. Noise multiplier {one.noise_multiplier:.4g}, clip norm "
    f"{one.clip_norm:g}, {one.num_updates} updates, each of a Poisson sample of rate "
    f"{one.sampling_rate:.4g}. A hundredth of delta is for samples above {one.capacity} examples, "
    "which are cut.",
    f"Covered: {covered} With it, all steps of the distillation, its snapshots and its metrics.",
    "Not covered: the number of examples and of classes and the shape of images, which count as "
    "public; the choice of settings; how the data were cut to this train split; test and "
    "validation examples; and the files of a report, its figures in a card too, such as those of "
    "random real subsets, of networks on the full set, of audits, and its hash of the data.",
    "Numbers are float32 and the noise comes from a seed: this is no cryptographic guarantee.",
  ]
  if one.num_sets > 1:
    sentences.append(
      f"The run made {one.num_sets} sets of the same examples. All of them together have epsilon "
      f"{_number(one.together)}."
    )
  found = list(warnings(one))
  return own | {
    "spent_epsilon": spent.epsilon,
    "accountant": spent.accountant,
    "bounds": dict(spent.bounds),
    "neighbours": "one example added or removed",
    "epsilon_of_all_sets": one.together,
    "has_secret_noise_seed": one.noise_seed is not None,
    "sentences": sentences + found,
    "warnings": found,
  }


_RECORDED = (
  "epsilon", "delta", "clip_norm", "noise_multiplier", "sampling_rate", "capacity", "num_updates",
  "num_members", "num_sets",
)  # fmt: skip


def _number(value: float) -> str:
  return f"{value:.4g}" if math.isfinite(value) else "unbounded"
