"""What a page says in words: the finding of each figure, and how to read each axis of the audit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ddjax.io import comparisons as compare

Reports = Mapping[str, Mapping[str, Any]]

HOW_TO_READ: Mapping[str, Sequence[str]] = {
  "kernel": (
    "A kernel ridge regression learns from the set alone and predicts the test images; no network "
    "is trained.",
    "It is the measure that KIP optimises. Whether the set also trains networks is a question of "
    "its own: see the table of networks.",
  ),
  "accuracy": (
    "New networks are trained on the set alone, by one protocol, and tested on the test images at "
    "the last epoch; nothing is chosen on the test set.",
    "The gain over the random subset says whether distilling paid: networks that were trained on "
    "as many real images, drawn at random, are the bar.",
    "A gain is paired: both networks predict the same test images, so its interval is narrower "
    "than the two intervals beside it suggest.",
    "Relative accuracy is the share of what networks reach on the full set.",
  ),
  "privacy": (
    "An attacker sees a network that was trained on the set, and guesses which real examples the "
    "set was made from.",
    "AUC .5 is guessing. The rates at few false positives matter more than the AUC: an attack that "
    "is right about a few members and silent about the rest is a real one.",
    "The lower bound on epsilon holds for the guarantee that a private set would have to give; 0 "
    "says that no leak was shown, not that there is none.",
    "Compare with the random subset, which publishes real images, and with the full set. Less is "
    "better for all rates of attacks.",
    "Copies: nearest is train says how often the real image nearest to a synthetic one is a train "
    "image; the checks below the table say how often it would be if nothing were copied.",
  ),
  "robustness": (
    "Accuracy that is left when an attacker changes each test image by no more than a bound, in "
    "pixels from 0 to 1, or when images are corrupted by noise, blur and the like.",
    "Read the worst case first: it counts an image as right only if every attack failed on it.",
    "A higher accuracy under attack counts only beside the accuracy on clean images.",
    "The checks below the table say whether the attacks had enough steps, and whether a network "
    "hid its gradients instead of being robust.",
  ),
  "fairness": (
    "How evenly the classes, or groups within them, are served: accuracy of the worst class, and "
    "the gap between the best and the worst.",
    "A smaller gap or standard deviation is better, and a higher worst class or ratio.",
    "Compare with the full set: a gap that real data have too was not made by the distillation.",
    "Figures have the noise of few test images a class taken out where the table says so.",
  ),
  "features": (
    "Where synthetic images lie among real ones, in the features of one network of the full set.",
    "Read the distance of the random subset first: even real images lie some way off, the farther "
    "the fewer they are.",
  ),
}


def finding(name: str, reports: Reports, class_names: Sequence[str] = ()) -> str:
  """What a figure shows, as one sentence; nothing where its numbers are not in the reports.

  Args:
    name: of the figure, as `ddjax.stages.present` names it.
    reports: {axis: report as JSON} of the set that it shows.
    class_names: of the data set.
  """
  try:
    return _FINDINGS[name](reports, class_names) if name in _FINDINGS else ""
  except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
    return ""  # a report without these numbers has its picture all the same


def _architectures(reports: Reports, class_names: Sequence[str]) -> str:
  rows = compare.comparisons({"accuracy": reports["accuracy"]})
  intervals = [
    gain.interval
    for row in rows
    for gain in row.gains
    if gain.label == "random subset" and gain.value is not None and gain.interval
  ]
  above = sum(low > 0 for low, _ in intervals)
  below = sum(high < 0 for _, high in intervals)
  return (
    f"Of {len(intervals)} kinds of network, {above} learn more from the set than from a "
    f"random subset of its size, {below} less; for {len(intervals) - above - below} the interval "
    "includes zero."
  )


def _membership(reports: Reports, class_names: Sequence[str]) -> str:
  report = reports["privacy"]
  found = {
    key: value
    for key, value in report["scalars"].items()
    if key.endswith("_auc")
    and value is not None
    and not key.startswith((*compare.BASELINE_PREFIXES, "gain_over_"))
  }
  best = max(found, key=found.__getitem__)
  return (
    f"Of {len(found)} attacks the strongest, {compare.words(best.removesuffix('_auc'))}, has an "
    f"AUC of {_with_interval(report, best)}; guessing has .5."
  )


def _closest(space: str) -> Callable[[Reports, Sequence[str]], str]:
  def say(reports: Reports, class_names: Sequence[str]) -> str:
    report = reports["privacy"]
    share = report["scalars"][f"nearest_is_train_{space}"]
    chance = report["settings"]["nearest_is_train_without_copying"]
    return (
      f"For {share:.0%} of all synthetic images the nearest real image is a train image; it would "
      f"be for {chance:.0%} if nothing were copied."
    )

  return say


def _robustness(reports: Reports, class_names: Sequence[str]) -> str:
  curves = reports["robustness"]["settings"]["curve"]
  said = [
    f"from {curve['accuracy'][0]:.3f} to {curve['accuracy'][-1]:.3f} for {_SETS[name]}"
    for name, curve in curves.items()
    if name in _SETS
  ]
  largest = curves["distilled"]["epsilon"][-1] * 255
  return f"Perturbations of up to {largest:.3g}/255 take accuracy {', '.join(said)}."


def _corruptions(reports: Reports, class_names: Sequence[str]) -> str:
  scalars = reports["robustness"]["scalars"]
  kinds = {
    key.removeprefix("corruption_"): value
    for key, value in scalars.items()
    if key.startswith("corruption_") and key != "corruption_mean" and value is not None
  }
  worst = min(kinds, key=kinds.__getitem__)
  return (
    f"Corrupted images are recognised with accuracy {scalars['corruption_mean']:.3f} on average, "
    f"clean ones with {scalars['clean']:.3f}; {compare.words(worst)} costs most "
    f"({kinds[worst]:.3f})."
  )


def _fairness(reports: Reports, class_names: Sequence[str]) -> str:
  report = reports["fairness"]
  by_class = report["per_class"]["accuracy"]
  worst = min(range(len(by_class)), key=by_class.__getitem__)
  best = max(range(len(by_class)), key=by_class.__getitem__)
  of_each = report["scalars"].get("worst_class_accuracy")
  own = (
    f" The worst class of each network has {of_each:.3f} on average." if of_each is not None else ""
  )
  return (
    f"On average over the networks, class {_name(class_names, worst)} is recognised worst "
    f"({by_class[worst]:.3f}), class {_name(class_names, best)} best ({by_class[best]:.3f}).{own}"
  )


def _confusion(reports: Reports, class_names: Sequence[str]) -> str:
  counts = reports["kernel"]["settings"]["confusion"]
  wrong = {
    (true, taken): count
    for true, row in enumerate(counts)
    for taken, count in enumerate(row)
    if true != taken and count
  }
  if not wrong:
    return "No test image was taken for another class."
  true, taken = max(wrong, key=wrong.__getitem__)
  share = wrong[true, taken] / sum(counts[true])
  return (
    f"The most frequent mistake: {share:.1%} of class {_name(class_names, true)} are taken for "
    f"class {_name(class_names, taken)}."
  )


def _features(reports: Reports, class_names: Sequence[str]) -> str:
  report = reports["features"]
  random = report["scalars"].get("random_subset_distance")
  beside = "" if random is None else f", those of a random subset {random:.3f}"
  return (
    f"On average over the classes, the mean of the set's images lies "
    f"{_with_interval(report, 'distance')} standard deviations from that of real ones{beside}."
  )


def _name(class_names: Sequence[str], label: int) -> str:
  return str(class_names[label]) if label < len(class_names) else str(label)


def _with_interval(report: Mapping[str, Any], key: str) -> str:
  interval = compare.format_interval(report["interval"].get(key))
  return f"{report['scalars'][key]:.3f} {interval}".strip()


_SETS = {"distilled": "the set", "random_subset": "the random subset", "full": "the full set"}
_FINDINGS = {
  "architectures": _architectures,
  "membership": _membership,
  "closest_pairs": _closest("pixels"),
  "closest_pairs_in_features": _closest("features"),
  "robustness": _robustness,
  "corruptions": _corruptions,
  "fairness": _fairness,
  "features": _features,
  "confusion": _confusion,
}
