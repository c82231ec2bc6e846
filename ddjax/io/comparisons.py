"""Each figure of a report beside what it is to be held against, and how figures are written out.

Beside a figure KEY stand, where the report has them, `random_subset_KEY`, `initial_KEY` and
`full_KEY` and those of coresets, and the paired differences `gain_over_random_KEY`,
`gain_over_initial_KEY` and so on. The kernel's baselines go without the word `test_`.
"""

from collections.abc import Mapping, Sequence
import math
import re
from typing import Any, NamedTuple

_BASELINES = {
  "random_subset_": "random subset",
  "initial_": "step 0",
  "herding_": "herding",
  "k_center_": "k-centre",
  "k_means_": "k-means",
  "private_random_": "private random set",
  "full_": "full set",
  "held_out_": "held-out images",
}
BASELINE_PREFIXES = tuple(_BASELINES)
"""What comes before the name of a figure that belongs to a baseline."""
_GAINS = {
  "gain_over_random_": "random subset",
  "gain_over_initial_": "step 0",
  "gain_over_full_": "full set",
  "gain_over_herding_": "herding",
  "gain_over_k_center_": "k-centre",
  "gain_over_k_means_": "k-means",
  "gain_over_private_random_": "private random set",
}
_LESS_IS_BETTER = {
  "privacy": re.compile(r"(_auc|_balanced_accuracy|_fpr|_epsilon_lower_bound)$|^nearest_is_train_"),
  "fairness": re.compile(r"_(gap|std|max|mean)$|^(demographic_parity|equalised_odds)"),
}
NUM_HEADLINES = 3
"""How many figures of a report stand for it, where the report itself names none."""
_IN_255 = re.compile(r"([0-9.]+)_255(?![0-9])")
_SPELLING = {
  "convnet": "ConvNet",
  "mlp": "MLP",
  "auc": "AUC",
  "tpr": "TPR",
  "fpr": "FPR",
  "lira": "LiRA",
  "linf": "l∞",
  "fgsm": "FGSM",
  "pgd": "PGD",
  "apgd": "APGD",
  "ce": "CE",
  "dlr": "DLR",
  "crei": "CREI",
  "jpeg": "JPEG",
}


class Level(NamedTuple):
  """A figure and its 95 % interval, or None where there is none."""

  label: str
  value: float | None
  interval: list[float] | None


class Comparison(NamedTuple):
  """One figure of a distilled set with everything that it is to be held against.

  Attributes:
    report: name of the report.
    key: name of the figure.
    distilled: its level; the value is None where it was not measured.
    baselines: levels of the random subset, of step 0, of the full set.
    gains: paired differences from a baseline, labelled by the baseline.
  """

  report: str
  key: str
  distilled: Level
  baselines: list[Level]
  gains: list[Level]


def comparisons(reports: Mapping[str, Mapping[str, Any]]) -> list[Comparison]:
  """Every figure in the `reports` of a report JSON, in order, with its baselines and gains."""
  return [
    _comparison(name, report, key)
    for name, report in reports.items()
    for key in report["scalars"]
    if not key.startswith((*_BASELINES, "gain_over_"))
  ]


def headlines(reports: Mapping[str, Mapping[str, Any]]) -> list[Comparison]:
  """The figures that stand for each report: those that it names as its headline, or the first."""
  rows = comparisons(reports)

  def is_headline(row: Comparison) -> bool:
    keys = [other.key for other in rows if other.report == row.report]
    return row.key in reports[row.report]["settings"].get("headline", keys[:NUM_HEADLINES])

  return [row for row in rows if is_headline(row)]


def is_better_low(report: str, key: str) -> bool:
  """Whether less of a figure is better: rates of attacks on privacy, gaps between classes."""
  return report in _LESS_IS_BETTER and _LESS_IS_BETTER[report].search(key) is not None


def difference(one: Level, other: Level) -> Level | None:
  """A figure of one set less that of another, with an interval from theirs; None without both.

  By the squares of the distances to the ends (Zou, Donner, Statistics in Medicine 27, 2008), as if
  the two were independent. Sets that are tested on the same images are not; what their figures
  share makes this interval wider than a paired one.

  Returns:
    labelled by `other`; its interval is None where one of theirs is.
  """
  if one.value is None or other.value is None:
    return None
  value = one.value - other.value
  if one.interval is None or other.interval is None:
    return Level(other.label, value, None)
  (low, high), (other_low, other_high) = one.interval, other.interval
  below = math.hypot(max(one.value - low, 0), max(other_high - other.value, 0))
  above = math.hypot(max(high - one.value, 0), max(other.value - other_low, 0))
  return Level(other.label, value, [value - below, value + above])


def gain_in_words(gain: Level, other: str = "") -> str:
  """What a difference says: `higher than the random subset: the interval excludes zero`.

  Args:
    gain: the difference.
    other: what from, where that is no baseline of `gain.label`.
  """
  other = other or (gain.label if gain.label == "step 0" else f"the {gain.label}")
  if gain.interval is None:
    return f"{format_signed(gain.value)} against {other}, no interval"
  low, high = gain.interval
  if low > 0:
    return f"higher than {other}: the interval excludes zero"
  if high < 0:
    return f"lower than {other}: the interval excludes zero"
  return f"no difference from {other} shown: the interval includes zero"


def run_title(run: Mapping[str, Any]) -> str:
  """`kip on digits, 10 images a class, seed 0, 3 distillations, 300 steps`; of several sets their
  labels."""
  dataset = run.get("dataset", "unnamed data")
  if run.get("sets"):
    return f"{' beside '.join(run['sets'])}, on {dataset}"
  parts = [f"{run.get('method', 'a distilled set')} on {dataset}"]
  if run.get("ipc") is not None:
    parts.append(f"{run['ipc']} image{'s' if run['ipc'] != 1 else ''} a class")
  if run.get("seed") is not None:
    parts.append(f"seed {run['seed']}")
  if (run.get("num_replicas") or 1) > 1:
    parts.append(f"{run['num_replicas']} distillations")
  if run.get("num_steps") is not None:
    parts.append(f"{run['num_steps']} steps")
  return ", ".join(parts)


def words(name: str) -> str:
  """A name of the code as words for people: `convnet`, `pgd_linf_8_255` -> `PGD l∞ 8/255`."""
  name = _IN_255.sub(r"\1/255", name).replace("_percent", " %")
  return " ".join(_SPELLING.get(word, word) for word in name.split("_"))


def format_number(value: float | None) -> str:
  """Three decimals for fractions, four digits for the rest, a dash for nothing."""
  if value is None:
    return "–"
  text = f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
  return text.replace("-", "−") if float(text) else text.lstrip("-")


def format_signed(value: float | None) -> str:
  """`format_number` with its sign."""
  return "–" if value is None else f"{'+' if value >= 0 else '−'}{format_number(abs(value))}"


def format_interval(interval: Sequence[float] | None) -> str:
  """`[0.912, 0.931]`, or nothing."""
  return "" if interval is None else f"[{', '.join(map(format_number, interval))}]"


def _comparison(name: str, report: Mapping[str, Any], key: str) -> Comparison:
  """The comparison of one figure."""

  def level(label: str, full_key: str) -> Level:
    return Level(label, report["scalars"][full_key], report["interval"].get(full_key))

  def found(prefix: str) -> str | None:
    names = (prefix + key, prefix + key.removeprefix("test_"))
    return next((full for full in names if report["scalars"].get(full) is not None), None)

  return Comparison(
    report=name,
    key=key,
    distilled=level(report["settings"].get("subject", "distilled"), key),
    baselines=[
      level(label, full) for prefix, label in _BASELINES.items() if (full := found(prefix))
    ],
    gains=[level(label, full) for prefix, label in _GAINS.items() if (full := found(prefix))],
  )
