"""How much privacy a repeated noisy sum spends, counted by the library `dp_accounting`.

The mechanism: every update draws each real example with one probability, apart from all others
(a Poisson sample), adds up what the drawn examples contribute, each of norm C at most, and adds
Gaussian noise of standard deviation `noise_multiplier * C` to every number of the sum. Neighbouring
sets differ by one example that is added or removed. Two accountants give an upper bound of epsilon
each: Renyi divergences (RDP; Mironov 2017, arXiv 1702.07476; Mironov, Talwar, Zhang 2019, arXiv
1908.10530) and privacy loss distributions (PLD; Doroshenko et al. 2022, arXiv 2207.04380). Both
hold, so the smaller one does.

Everything here is computed on the host.
"""

import functools
import math
from typing import Any, Mapping, NamedTuple

ACCOUNTANTS = ("pld", "rdp")
TOLERANCE = 0.01
"""A noise multiplier is found whose epsilon lies at most this share below the one wanted."""

_ORDERS = (*range(2, 64), 80, 96, 128, 192, 256, 384, 512)  # of Renyi divergences
_INTERVAL = 1e-4  # of privacy losses, in a distribution of them; the library's own
_INTERVAL_FROM = 10.0  # the epsilon from which on the interval grows with it
_LEVELS = 2**23  # of `jax.random.uniform` in float32
_OVERFLOW_SHARE = 0.01  # of delta, that samples too large for their arrays may spend
_MOST_TRIES = 60
_LEAST, _MOST = 1e-5, 1e7  # noise multipliers


class AccountantError(ValueError):
  """`dp_accounting` is not installed."""


class Spent(NamedTuple):
  """What is spent.

  Attributes:
    epsilon: the smaller bound.
    accountant: which one gave it, a name in `ACCOUNTANTS`.
    bounds: {accountant: epsilon}.
  """

  epsilon: float
  accountant: str
  bounds: Mapping[str, float]


def library() -> Any:
  """The module `dp_accounting`, with its parts.

  Raises:
    AccountantError: where it is not installed.
  """
  try:
    import dp_accounting
    import dp_accounting.pld
    import dp_accounting.rdp
  except ImportError as error:
    raise AccountantError(
      f"Private distillation counts its budget with dp-accounting, which cannot be imported "
      f"({error}): install it (see requirements.txt)."
    ) from error
  return dp_accounting


def make_event(noise_multiplier: float, sampling_rate: float, num_updates: int) -> Any:
  """The mechanism as `dp_accounting` writes it, a `DpEvent`."""
  events = library()
  one = events.GaussianDpEvent(noise_multiplier)
  if sampling_rate < 1:
    one = events.PoissonSampledDpEvent(sampling_rate, one)
  return events.SelfComposedDpEvent(one, num_updates)


@functools.lru_cache(maxsize=512)
def spent(noise_multiplier: float, sampling_rate: float, num_updates: int, delta: float) -> Spent:
  """Epsilon of so many updates, by both accountants.

  Args:
    noise_multiplier: standard deviation of the noise over the clip norm; > 0.
    sampling_rate: probability of each example in each update, in (0, 1].
    num_updates: >= 1.
    delta: in (0, 1).
  Raises:
    AccountantError: where `dp_accounting` is not installed.
  """
  rdp = _rdp(noise_multiplier, sampling_rate, num_updates, delta)
  bounds = {"pld": _pld(noise_multiplier, sampling_rate, num_updates, delta, rdp), "rdp": rdp}
  best = min(bounds, key=lambda name: bounds[name])
  return Spent(bounds[best], best, bounds)


@functools.lru_cache(maxsize=512)
def find_noise_multiplier(
  epsilon: float, delta: float, sampling_rate: float, num_updates: int
) -> float:
  """The least noise, to 1 %, for a wanted epsilon.

  The epsilon that is spent lies between 99 % of the wanted one and the wanted one itself.

  Args:
    epsilon: wanted; > 0.
    delta: in (0, 1).
    sampling_rate: probability of each example in each update, in (0, 1].
    num_updates: >= 1.
  Raises:
    AccountantError: where `dp_accounting` is not installed.
    ValueError: where there is none from 1e-5 to 1e7.
  """

  def cheap(multiplier: float) -> float:
    return _rdp(multiplier, sampling_rate, num_updates, delta)

  def exact(multiplier: float) -> float:
    return spent(multiplier, sampling_rate, num_updates, delta).epsilon

  start = _search(cheap, epsilon, 1.0)  # by the fast accountant, close to the goal
  return _search(exact, epsilon, start)


def _search(epsilon_of, wanted: float, start: float) -> float:
  """A multiplier whose epsilon lies in [(1 - TOLERANCE) wanted, wanted]; epsilon falls with it."""
  goal = math.log(wanted * (1 - TOLERANCE / 2))
  low = high = None  # logarithms of multipliers with too large, and with too small an epsilon
  place, tried = math.log(start), []
  for number in range(_MOST_TRIES):
    value = epsilon_of(math.exp(place))
    if (1 - TOLERANCE) * wanted <= value <= wanted:
      return math.exp(place)
    if value > wanted:
      low = place
    else:
      high = place
    tried.append((place, math.log(value) if 0 < value < math.inf else None))
    place = _next_place(tried[-2:], goal, low, high, number)
    if not _LEAST <= math.exp(place) <= _MOST:
      break
  raise ValueError(
    f"No noise multiplier from {_LEAST:g} to {_MOST:g} spends an epsilon of {wanted:g}: the last "
    f"one tried was {math.exp(place):.3g}."
  )


def _next_place(tried, goal: float, low: float | None, high: float | None, number: int) -> float:
  """By a line through the last two points, else half-way, within what is known."""
  (one, at_one), (other, at_other) = tried[0], tried[-1]
  if len(tried) == 2 and None not in (at_one, at_other) and at_one != at_other and number % 4:
    guess = other + (goal - at_other) * (one - other) / (at_one - at_other)
  elif low is not None and high is not None:
    guess = (low + high) / 2
  else:
    guess = other + (math.log(2) if high is None else -math.log(2))
  if low is not None and high is not None and not low < guess < high:
    return (low + high) / 2
  step = guess - other
  return other + max(-3.0, min(3.0, step))


def _rdp(noise_multiplier: float, sampling_rate: float, num_updates: int, delta: float) -> float:
  """Epsilon by Renyi divergences of whole orders."""
  dp = library()
  accountant = dp.rdp.RdpAccountant(_ORDERS, dp.NeighboringRelation.ADD_OR_REMOVE_ONE)
  accountant.compose(make_event(noise_multiplier, sampling_rate, num_updates))
  return float(accountant.get_epsilon(delta))


def _pld(
  noise_multiplier: float, sampling_rate: float, num_updates: int, delta: float, rdp: float
) -> float:
  """Epsilon by privacy loss distributions, discretised on the safe side.

  Large epsilons get a coarser grid, in proportion, by what the other accountant says of them.
  """
  dp = library()
  interval = _INTERVAL * max(1.0, min(rdp, 1e6) / _INTERVAL_FROM)
  accountant = dp.pld.PLDAccountant(dp.NeighboringRelation.ADD_OR_REMOVE_ONE, interval)
  accountant.compose(make_event(noise_multiplier, sampling_rate, num_updates))
  return float(accountant.get_epsilon(delta))


def drawable_rate(sampling_rate: float) -> float:
  """The probability that uniform float32 numbers can draw, no less than the one wanted.

  `jax.random.uniform` gives multiples of 2^-23, so an event `number < rate` has a probability that
  is one too.
  """
  return min(1.0, math.ceil(sampling_rate * _LEVELS) / _LEVELS)


class Capacity(NamedTuple):
  """Room for a Poisson sample.

  Attributes:
    size: examples that the arrays of an update hold.
    delta: what is left for the accountant, once samples that do not fit have had their share.
  """

  size: int
  delta: float


def choose_capacity(
  num_examples: int, sampling_rate: float, num_updates: int, epsilon: float, delta: float
) -> Capacity:
  """Arrays so large that a sample hardly ever overflows them, and what that costs of delta.

  Where a sample of more than `size` examples is cut, the mechanism is another one. If any of the
  updates is cut with probability p at most, an (epsilon, delta') guarantee of the uncut mechanism
  is an (epsilon, delta' + (1 + e^epsilon) p) guarantee of the cut one: total variation on both
  sides. `size` makes the last term a hundredth of delta at most.

  Args:
    num_examples: from which the sample is drawn.
    sampling_rate: in (0, 1].
    num_updates: >= 1.
    epsilon: wanted.
    delta: wanted.
  """
  left = (1 - _OVERFLOW_SHARE) * delta
  if sampling_rate >= 1:
    return Capacity(num_examples, left)
  # In logarithms, so that a large epsilon does not overflow.
  allowed = math.log(_OVERFLOW_SHARE * delta) - math.log(num_updates)
  allowed -= epsilon + math.log1p(math.exp(-epsilon))
  size = next(
    size
    for size in range(math.ceil(num_examples * sampling_rate), num_examples + 1)
    if log_tail(num_examples, sampling_rate, size) <= allowed
  )
  return Capacity(size, left)


def log_tail(num_examples: int, sampling_rate: float, size: int) -> float:
  """An upper bound of the log-probability that a Poisson sample has more than `size` examples.

  Chernoff's: -N KL((size + 1) / N || rate), for a size of at least the mean.
  """
  if size >= num_examples:
    return -math.inf
  share, rate = (size + 1) / num_examples, sampling_rate
  divergence = share * math.log(share / rate)
  if share < 1:
    divergence += (1 - share) * math.log((1 - share) / (1 - rate))
  return -num_examples * divergence
