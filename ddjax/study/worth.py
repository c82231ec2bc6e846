"""Does it pay: how many real images, or steps on real data, give the same accuracy."""

import math
from typing import Any, Mapping, NamedTuple, Sequence

from ddjax.statistics import over_seeds
from ddjax.statistics.equivalent_size import Size, equivalent_size
from ddjax.statistics.holm import adjusted_known
from ddjax.statistics.replicates import Sample, sample_mean
from ddjax.study import conditions as of
from ddjax.study import section as page
from ddjax.study.conditions import Condition
from ddjax.study.records import Record

NOTE = (
  "What a set is worth: the accuracy of random real subsets by their size, and of networks after "
  "so many steps on the full train set, is made monotone (isotonic regression) and read the other "
  "way round, along the logarithm. Intervals hold 95 % of readings with means drawn by Student's "
  "t over seeds, the same seeds together, or over the networks of a single seed. Whether a set is "
  "worth more images than it has is the question whether it beats random subsets of its own size: "
  "the p-value is that of its gain over them ([[accuracy]]), of which a report draws several; the "
  "curve has one a seed and size, so that its lowest point may differ a little from that table."
)


NOT_SHOWN = "not shown"


class Worth(NamedTuple):
  """What one distilled set is worth.

  Attributes:
    condition: the set.
    own_size: its number of images.
    images: real images that reach its accuracy, None without a curve.
    steps: steps on the full train set, likewise.
    curve: {size: mean accuracy} of the random subsets.
    excess: accuracy minus that of random subsets of its own size.
    p: that this is nothing, corrected (Holm); None where it cannot be told.
  """

  condition: Condition
  own_size: int
  images: Size | None
  steps: Size | None
  curve: dict[float, float]
  excess: float | None = None
  p: float | None = None

  @property
  def is_more(self) -> bool:
    """Whether it is shown to be worth more than its own size."""
    if self.p is None or self.excess is None:
      return False
    return self.p < over_seeds.LEVEL and self.excess > 0


Gain = tuple[over_seeds.Estimate, float | None]
"""A gain over random subsets of equal size, and its p-value by Holm over all gains."""


def gains_over_random(
  methods: Sequence[Condition], baselines: Sequence[Condition]
) -> list[Gain | None]:
  """The gain in accuracy of each condition; None where it is not known."""
  gains = []
  for one in methods:
    subset = of.baseline_of(one, baselines, "random")
    found = of.difference(one, "accuracy", "", subset, "random_subset_", "gain_over_random_")
    gains.append(of.estimate(found))
  corrected = adjusted_known([gain and gain.p for gain in gains])
  return [None if gain is None else (gain, p) for gain, p in zip(gains, corrected)]


def build(records: Sequence[Record], methods: Sequence[Condition]) -> list[Worth]:
  """What each method's sets are worth; empty without a curve of any kind.

  Args:
    records: of the study: random subsets are of the roles "curve" and "baseline", networks trained
      for so many steps of the role "steps".
    methods: conditions of distilled sets.
  """
  subsets = [
    one
    for one in of.conditions(records, "curve", "baseline")
    if one.factors.get("method", "random") == "random"
  ]
  steps = of.conditions(records, "steps")
  found = []
  gains = gains_over_random(methods, of.conditions(records, "baseline"))
  for one, gain in zip(methods, gains, strict=True):
    target = _sample(one)
    by_size = _curve(one, subsets, lambda other: num_images(other))
    by_steps = _curve(one, steps, lambda other: other.factors.get("steps"))
    if not target or (len(by_size) < 2 and len(by_steps) < 2):
      continue
    found.append(
      Worth(
        one,
        num_images(one) or 0,
        equivalent_size(by_size, target) if len(by_size) > 1 else None,
        equivalent_size(by_steps, target) if len(by_steps) > 1 else None,
        {size: sample_mean(sample) for size, sample in sorted(by_size.items())},
        gain[0].value if gain else None,
        gain[1] if gain else None,
      )
    )
  return found


def num_images(condition: Condition) -> int | None:
  """How many images a set has: images a class times classes."""
  ipc = condition.factors.get("ipc")
  record = next(iter(condition.records.values()))
  names = (record.report or {"run": {}})["run"].get("class_names") or ()
  count = condition.factors.get("num_classes") or len(names)
  return ipc * count if ipc and count else None


def _sample(condition: Condition) -> Sample:
  """Accuracies by seed and network."""
  return {
    seed: list(one.networks or (one.value,))
    for seed, one in of.by_seed(condition, "accuracy", "").items()
  }


def _curve(condition: Condition, others: Sequence[Condition], size_of) -> Mapping[float, Sample]:
  """{size: sample} of the conditions of the same data; seeds of one size come together."""
  curve: dict[float, dict[int, list[float]]] = {}
  for other in others:
    if any(other.factors.get(name) != condition.factors.get(name) for name in of.DATA):
      continue
    if not (size := size_of(other)):
      continue
    for seed, one in of.by_seed(other, "accuracy", "").items():
      # The same subset may be a baseline and a point of the curve: one of them counts.
      curve.setdefault(float(size), {}).setdefault(seed, list(one.networks or (one.value,)))
  return curve


def is_shown(size: Size) -> bool:
  """Whether an interval says anything: one that is open at both ends does not."""
  return (size.low, size.high) != (-math.inf, math.inf)


def as_json(size: Size) -> dict[str, Any]:
  """{"value", "low", "high"}, numbers or words: "more than 1000", "not shown" if both ends are."""
  if not is_shown(size):
    return {"value": NOT_SHOWN, "low": None, "high": None, "kind": "size"}

  def end(value: float) -> float | str:
    if value == -math.inf:
      return f"fewer than {count(size.smallest)}"
    return f"more than {count(size.largest)}" if value == math.inf else value

  return {
    "value": end(size.value),
    "low": end(size.low),
    "high": end(size.high),
    "kind": "size",
  }


def count(value: float | str) -> str:
  """`74`, `1,250`; sentences as they are."""
  return value if isinstance(value, str) else f"{value:,.0f}"


def in_words(size: Size) -> str:
  """`74 [60, 91]`, `more than 1,000`."""
  cell = as_json(size)
  if cell["low"] is None:
    return cell["value"]
  if isinstance(cell["value"], str) and cell["low"] == cell["high"] == cell["value"]:
    return cell["value"]
  return f"{count(cell['value'])} [{count(cell['low'])}, {count(cell['high'])}]"


def sentence(found: Sequence[Worth]) -> str:
  """Whether it pays, of the set that is worth the most for its size."""
  known = [(one, one.images) for one in found if one.images is not None and one.own_size]
  if not known:
    return ""

  def ratio(pair: tuple[Worth, Size]) -> float:
    one, size = pair
    ends = {math.inf: size.largest, -math.inf: size.smallest}
    return ends.get(size.value, size.value) / one.own_size

  more = sum(one.is_more for one, _ in known)
  told = (
    f"{more} of {len(known)} sets {page.are(more)} shown to be worth more real images than they "
    "have (Holm) ([[worth]], [[worth-figure]])."
  )
  shown = [(one, size) for one, size in known if is_shown(size)]
  if not shown:
    return (
      "Does it pay? How many real images a set is worth is not shown: all intervals are open at "
      f"both ends; {told}"
    )
  best, images = max(shown, key=ratio)
  fewer = sum(
    size.value < one.own_size and (math.isfinite(size.value) or size.smallest <= one.own_size)
    for one, size in known
  )
  most = f"At the most of {len(known)} sets, the" if len(known) > 1 else "The"
  kind = of.describe(best.condition.factors, of.varying([one.condition for one in found]))
  text = (
    f"Does it pay? {most} {best.own_size} images of {kind} are worth {in_words(images)} random "
    "real images"
  )
  if best.steps is not None and is_shown(best.steps):
    text += f", or {in_words(best.steps)} training steps on the full train set"
  if fewer:
    text += f"; by their means {fewer} {page.are(fewer)} worth fewer images than they have"
  return f"{text}; {told}"


def table(found: Sequence[Worth], names: Sequence[str]) -> dict[str, Any]:
  """What each set is worth."""
  return page.table(
    "worth",
    "What each set is worth: the number of random real images, and of training steps on the full "
    "train set, that give the same accuracy.",
    [
      *page.factor_columns(names),
      ("own images", "count"),
      ("accuracy", "number"),
      ("worth real images", "size"),
      ("times its own size", "times"),
      ("p, Holm", "p"),
      ("worth steps on real data", "size"),
    ],
    [
      [
        *page.factor_cells(one.condition, names),
        one.own_size or None,
        of.estimated(one.condition, "accuracy", ""),
        one.images and as_json(one.images),
        _times(one),
        one.p,
        one.steps and as_json(one.steps),
      ]
      for one in found
    ],
  )


def _times(one: Worth) -> str | None:
  """How many times its own size a set is worth."""
  if one.images is None or not one.own_size:
    return None
  if not is_shown(one.images):
    return NOT_SHOWN
  if not math.isfinite(one.images.value):
    word = "more" if one.images.value > 0 else "fewer"
    end = one.images.largest if one.images.value > 0 else one.images.smallest
    return f"{word} than {end / one.own_size:.3g}"
  return f"{one.images.value / one.own_size:.3g}"


def figure(found: Sequence[Worth]) -> dict[str, Any] | None:
  """The curve of random subsets with every distilled set on it."""
  known = [(one, one.images) for one in found if one.images is not None]
  if not known:
    return None
  first = known[0][0]
  same = [(one, size) for one, size in known if one.curve == first.curve]
  above = sum(one.is_more for one, _ in same)
  points = [
    {
      "label": one.condition.method,
      "size": one.own_size,
      "own": of.estimated(one.condition, "accuracy", ""),
      "worth": _drawn(size),
    }
    for one, size in same
  ]
  return page.figure(
    "worth-figure",
    "worth",
    f"{above} of {len(same)} distilled sets {page.are(above)} shown to lie above the curve of "
    "random real subsets (Holm); the dotted line from a set to the curve ends at the size that it "
    "is worth.",
    "Accuracy of random real subsets by size as a curve, and each distilled set as a mark at its "
    "own size, joined to the size at which the curve reaches it.",
    {
      "curve": [[size, value] for size, value in first.curve.items()],
      "points": points,
    },
  )


def _drawn(size: Size) -> float:
  """A size to be drawn; what is not measured ends at the last size that is."""
  return min(max(size.value, size.smallest), size.largest)
