"""Fairness: how unequally a set's networks serve the classes, and groups such as colours.

Every figure is one network's own, and a set's figure is its mean over networks: what somebody who
trains one network on the set is to expect. What the intervals lie about, and why, is said in
`ddjax.statistics.cell_figures`.
"""

from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.data.load import RealData
from ddjax.evaluators.accuracy import predicted_classes
from ddjax.evaluators.report_keys import check_distilled, figure_key, why_missing
from ddjax.statistics import class_figures, group_figures, intervals
from ddjax.statistics.cell_figures import CellFigure, Cells, bootstrap_cells
from ddjax.types import Array, DatasetInfo, Models, Report

WORST, GAP = "worst_class_accuracy", "accuracy_gap"
BASELINES = intervals.GAINS | {"full": "gain_over_full"}
"""{baseline: what the paired difference from it is called}."""
LOWER_IS_UNFAIR = (WORST, "accuracy_ratio")
_EXPECTED = ("random_subset", "full")
_CLASS_FIGURES = {
  WORST: CellFigure(class_figures.worst),
  GAP: CellFigure(class_figures.gap),
  "accuracy_std": CellFigure(class_figures.std),
  "accuracy_ratio": CellFigure(class_figures.ratio),
}
_GROUP_FIGURES = {
  "deo_max": CellFigure(group_figures.deo_max),
  "deo_mean": CellFigure(group_figures.deo_mean),
}
_ALIGNMENT_FIGURES = {  # of the accuracies on conflicting and on aligned examples
  "conflicting_accuracy": CellFigure(lambda two: two[..., 0], is_of_spread=False),
  "aligned_accuracy": CellFigure(lambda two: two[..., 1], is_of_spread=False),
  "alignment_gap": CellFigure(lambda two: two[..., 1] - two[..., 0], is_of_spread=False),
}
_LEAST_CELL = 20
"""Test examples of a class and group, below which the bootstrap cannot be trusted."""
_TOO_FEW = f"fewer than {_LEAST_CELL} test examples of some class and group"
_JUDGED = (*_CLASS_FIGURES, *_GROUP_FIGURES, "alignment_gap")


class _Predictions(NamedTuple):
  """What the networks of one architecture say of the test set; `suffix` names it in keys."""

  suffix: str
  predicted: dict[str, np.ndarray]
  correct: dict[str, np.ndarray]
  group: dict[str, np.ndarray]
  pairs: list[tuple[str, str]]


def make_fairness_evaluator(
  config: ConfigDict, info: DatasetInfo, *, unit: str = "distillation"
) -> Callable[..., Report]:
  """How unequally the networks of every set serve the classes, and groups where there are any.

  Args:
    config: the group `ddjax.config.audit.fairness`.
    info: of the data set.
    unit: what one entry of the set `distilled` is, for what the intervals run over.
  Returns:
    measure(models, dataset, rng, context=None) -> Report of kind "fairness". Of the distilled set
    and its first network it holds `worst_class_accuracy`, `accuracy_gap` (best minus worst class),
    `accuracy_std` and `accuracy_ratio` (worst over best), and where `dataset.test_groups` is given
    `deo_max`, `deo_mean`, `demographic_parity`, `equalised_odds` (both of the worst class; without
    an interval); and where groups are colours `aligned_accuracy`, `conflicting_accuracy` (of test
    examples in their class's own colour, and in another's) and `alignment_gap`.

    Of a further network KEY_NETWORK, of another set SET_KEY, and `gain_over_random_KEY`,
    `gain_over_initial_KEY` and `gain_over_full_KEY` are paired differences, which for a gap is no
    gain where positive. `settings["amplified"][KEY]` says of each baseline whether unfairness is
    "amplified", "reduced" or "not shown": whether the interval of the paired difference excludes
    zero, and where.

    `per_class` holds accuracies, and `settings["class_intervals"]` their intervals under the same
    names.
  Raises:
    ValueError: by measure, if there is no distilled set.
  """
  units = intervals.UNITS | dict.fromkeys(("distilled", "initial", "chosen"), unit)

  def measure(
    models: Mapping[str, Mapping[str, Models]],
    dataset: RealData,
    rng: Array,
    context: Any = None,
  ) -> Report:
    del context
    check_distilled(models)
    seed = int(jax.random.bits(rng, dtype=jnp.uint32))
    labels, groups = dataset.test_labels, dataset.test_groups
    present, of_present = np.unique(labels, return_inverse=True)
    networks = list(models["distilled"])
    counts = np.bincount(labels, minlength=info.num_classes)
    settings = {
      "architectures": networks,
      "headline": [WORST, GAP],
      "statistic": "mean over networks of each network's own figure",
      "intervals_lie_about": "the figure without what the noise of the test examples adds",
      "num_test_per_class": [int(counts[present].min()), int(counts.max())],
      "interval_over": {},
      "without_interval": {},
      "not_measured": {},
      "without_noise": {},
      "amplified": {},
      "worst_class": {},
      "class_intervals": {},
    }
    report = Report("fairness", {}, {}, {}, {}, {}, settings)
    resampling = intervals.Resampling(config.num_bootstrap, seed, units)
    for network in networks:
      found = _predict(models, network, dataset, "" if network == networks[0] else f"_{network}")
      _add_classes(report, found, labels, info.num_classes, resampling)
      cells = Cells(of_present, (len(present),))
      figures = bootstrap_cells(
        found.correct, found.group, cells, _CLASS_FIGURES, found.pairs, resampling
      )
      if groups is not None:
        num_groups = int(groups.max()) + 1
        cells = Cells(of_present * num_groups + groups, (len(present), num_groups))
        of_groups = bootstrap_cells(
          found.correct, found.group, cells, _GROUP_FIGURES, found.pairs, resampling
        )
        if np.bincount(cells.index, minlength=len(present) * num_groups).min() < _LEAST_CELL:
          of_groups = {figure: _as_counted(estimates) for figure, estimates in of_groups.items()}
        figures |= of_groups
        if dataset.is_coloured:
          cells = Cells((labels == groups).astype(np.int64), (2,))
          figures |= bootstrap_cells(
            found.correct, found.group, cells, _ALIGNMENT_FIGURES, found.pairs, resampling
          )
      for figure, estimates in figures.items():
        _add_estimates(report, found, figure, estimates)
      if groups is not None:
        _add_groups(report, found, labels, groups, info.num_classes)
    return report

  return measure


def _predict(models, network: str, dataset: RealData, suffix: str) -> _Predictions:
  """The classes that every set's networks of one architecture give the test images."""
  fits = {
    name: models[name][network]
    for name in intervals.UNITS
    if name in models and network in models[name]
  }
  predicted = {
    name: predicted_classes(fit, dataset.test_images, dataset.max_value)
    for name, fit in fits.items()
  }
  return _Predictions(
    suffix,
    predicted,
    {name: classes == dataset.test_labels for name, classes in predicted.items()},
    {name: np.asarray(fit.group) for name, fit in fits.items()},
    [(a, b) for a in ("distilled", "chosen") for b in BASELINES if a in fits and b in fits],
  )


def _add_classes(report: Report, found: _Predictions, labels, num_classes: int, resampling) -> None:
  """Accuracies by class with intervals, paired differences, and each network's own figures."""
  per_class: dict[str, list] = {}
  ranges: dict[str, list] = {}
  for label in range(num_classes):
    members = labels == label
    if not members.any():
      estimates = {}
    else:
      of_class = {name: rows[:, members] for name, rows in found.correct.items()}
      estimates = intervals.bootstrap_accuracies(of_class, found.group, found.pairs, resampling)
    for source in (*found.correct, *found.pairs):
      key, estimate = _key(source, "accuracy", found.suffix), estimates.get(source)
      per_class.setdefault(key, []).append(estimate and estimate.mean)
      ranges.setdefault(key, []).append(estimate and [estimate.low, estimate.high])
  report.per_class.update(per_class)
  report.settings["class_intervals"].update(ranges)
  for name, predicted in found.predicted.items():
    table = class_figures.class_accuracies(labels, predicted, num_classes)
    for figure, (measure, _) in _CLASS_FIGURES.items():
      report.per_model[_key(name, figure, found.suffix)] = measure(table).tolist()
    worst = int(np.nanargmin(table.mean(axis=0)))
    report.settings["worst_class"][_key(name, WORST, found.suffix)] = worst


def _add_groups(report: Report, found: _Predictions, labels, groups, num_classes: int) -> None:
  """Figures that need predictions by group, as each network has them and on average."""
  settings = report.settings
  num_groups = int(groups.max()) + 1
  settings["num_groups"] = num_groups
  settings.setdefault("accuracy_by_class_and_group", {})
  for name, predicted in found.predicted.items():
    confusion = group_figures.confusion_by_group(labels, predicted, groups, num_classes, num_groups)
    table = group_figures.group_accuracies(confusion)
    key = _key(name, "accuracy", found.suffix)
    settings["accuracy_by_class_and_group"][key] = [
      [None if np.isnan(cell) else float(cell) for cell in row] for row in table.mean(axis=0)
    ]
    per_model = {figure: measure(table) for figure, (measure, _) in _GROUP_FIGURES.items()}
    for figure, measure in (
      ("demographic_parity", group_figures.demographic_parity),
      ("equalised_odds", group_figures.equalised_odds),
    ):
      of_classes = measure(confusion)
      key = _key(name, figure, found.suffix)
      report.per_class[key] = of_classes.mean(axis=0).tolist()
      per_model[figure] = of_classes.max(axis=1)
      report.scalars[key] = float(per_model[figure].mean())
      settings["without_interval"][figure] = "not resampled"
      if len(predicted) > 1:
        report.spread[key] = float(per_model[figure].std(ddof=1))
    for figure, values in per_model.items():
      report.per_model[_key(name, figure, found.suffix)] = values.tolist()


def _add_estimates(report: Report, found: _Predictions, figure: str, estimates) -> None:
  """A figure of every set, its paired differences, and what they say of unfairness."""
  settings = report.settings
  for source, estimate in estimates.items():
    key = _key(source, figure, found.suffix)
    report.scalars[key] = estimate.mean
    if estimate.std is not None:
      report.spread[key] = estimate.std
    if estimate.over == _TOO_FEW:
      settings["without_interval"][figure] = _TOO_FEW
      continue
    report.interval[key] = [estimate.low, estimate.high]
    settings["interval_over"][key] = estimate.over
    if estimate.corrected is not None:
      settings["without_noise"][key] = estimate.corrected
    if isinstance(source, tuple) and figure in _JUDGED:
      verdicts = settings["amplified"].setdefault(_key(source[0], figure, found.suffix), {})
      verdicts[source[1]] = verdict(estimate.low, estimate.high, figure in LOWER_IS_UNFAIR)
  for name in _EXPECTED:
    if name not in found.correct:
      for source in (name, ("distilled", name)):
        key = _key(source, figure, found.suffix)
        report.scalars[key] = None
        settings["not_measured"][key] = why_missing(name)


def verdict(low: float, high: float, lower_is_unfair: bool) -> str:
  """What the interval of a difference from a baseline says of unfairness.

  Args:
    low: its lower end.
    high: its upper end.
    lower_is_unfair: whether a lower figure is the less fair one.
  Returns:
    "amplified" or "reduced" where the interval excludes zero, else "not shown".
  """
  if lower_is_unfair:
    low, high = -high, -low
  return "amplified" if low > 0 else "reduced" if high < 0 else "not shown"


def _as_counted(estimates):
  """The same without intervals, which so few test examples cannot carry."""
  return {source: estimate._replace(over=_TOO_FEW) for source, estimate in estimates.items()}


def _key(source: str | tuple[str, str], figure: str, suffix: str) -> str:
  """The report's name for a set's figure, or for the difference between two sets."""
  return figure_key(source, f"{figure}{suffix}", BASELINES)
