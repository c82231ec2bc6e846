"""Figures by cell: coverage of their intervals by simulation, exact means, agreement."""

import numpy as np
import pytest

from ddjax.statistics import class_figures
from ddjax.statistics.cell_figures import CellFigure, Cells, bootstrap_cells
from ddjax.statistics.intervals import Resampling, bootstrap_accuracies

CLASSES = 6
FIGURES = {
  "worst": CellFigure(class_figures.worst),
  "gap": CellFigure(class_figures.gap),
  "std": CellFigure(class_figures.std),
  "ratio": CellFigure(class_figures.ratio),
  "first": CellFigure(lambda accuracies: accuracies[..., 0], is_of_spread=False),
}


def _classes(rng, accuracies, num_each=40, num_models=5):
  """Right or wrong by class, with test examples that are hard for all models alike."""
  cells = np.repeat(np.arange(len(accuracies)), num_each)
  shared = rng.random((1, len(cells)))
  own = rng.random((num_models, len(cells)))
  return np.where(own < 0.5, shared, rng.random(own.shape)) < np.asarray(accuracies)[cells], cells


def test_figures_of_classes_cover_and_naive_intervals_do_not():
  """Two equally fair sets, one less accurate: the naive gap is wider there, the corrected is not.

  Against it a set with one class of .5 among .9: then the claim of a wider gap is made.
  """
  rng = np.random.default_rng(0)
  truth = {
    "distilled": np.full(CLASSES, 0.7),
    "random_subset": np.full(CLASSES, 0.95),
    "one_bad": np.r_[0.5, np.full(CLASSES - 1, 0.9)],
  }
  pairs = [("distilled", "random_subset"), ("one_bad", "random_subset")]
  runs = 100
  covered = dict.fromkeys([(figure, name) for figure in FIGURES for name in truth], 0)
  above = {(figure, pair): 0 for figure in FIGURES for pair in pairs}
  naive = 0
  for seed in range(runs):
    correct = {}
    for name, accuracies in truth.items():
      correct[name], cells = _classes(rng, accuracies)
    group = dict.fromkeys(correct, np.arange(5))
    estimates = bootstrap_cells(
      correct, group, Cells(cells, (CLASSES,)), FIGURES, pairs, Resampling(200, seed)
    )
    for figure, (measure, _) in FIGURES.items():
      for name, accuracies in truth.items():
        one = estimates[figure][name]
        covered[figure, name] += one.low - 1e-9 <= measure(accuracies) <= one.high + 1e-9
      for pair in pairs:
        above[figure, pair] += estimates[figure][pair].low > 0
    gap = estimates["gap"]["distilled"]
    naive += abs(gap.mean - 0.0) <= (gap.high - gap.low) / 2
  shares = {key: count / runs for key, count in covered.items()}
  assert min(shares.values()) >= 0.85, shares
  assert naive / runs < 0.5, naive
  unfair, fair = pairs[1], pairs[0]
  assert above["gap", fair] / runs <= 0.06 and above["std", fair] / runs <= 0.06, above
  assert above["gap", unfair] / runs >= 0.95 and above["std", unfair] / runs >= 0.9, above


def test_figures_as_counted_are_exact_and_many_examples_leave_nothing_to_correct():
  rng = np.random.default_rng(1)
  rows, cells = _classes(rng, [0.5, 0.7, 0.9], num_each=20_000, num_models=4)
  group = np.array([0, 0, 1, 1])
  figures = {"gap": FIGURES["gap"], "first": FIGURES["first"]}
  one = bootstrap_cells(
    {"distilled": rows}, {"distilled": group}, Cells(cells, (3,)), figures, [], Resampling(50, 0)
  )
  table = rows.reshape(4, 3, -1).mean(axis=-1)
  gap = one["gap"]["distilled"]
  assert gap.mean == np.mean(class_figures.gap(table))
  assert gap.std == np.std(class_figures.gap(table), ddof=1)
  np.testing.assert_allclose(gap.corrected, gap.mean, atol=1e-3)
  assert gap.over == "60000 test examples, 2 distillations of 2 models each"
  first = one["first"]["distilled"]
  assert first.corrected is None
  np.testing.assert_allclose([first.mean, (first.low + first.high) / 2], table[:, 0].mean())


def test_a_figure_that_is_no_spread_agrees_with_the_accuracy_of_its_cell():
  rng = np.random.default_rng(2)
  rows, cells = _classes(rng, [0.6, 0.8], num_each=100)
  other, _ = _classes(rng, [0.7, 0.8], num_each=100)
  correct, group = {"distilled": rows, "random_subset": other}, np.arange(5)
  group = dict.fromkeys(correct, group)
  pair = ("distilled", "random_subset")
  cell = bootstrap_cells(
    correct, group, Cells(cells, (2,)), {"first": FIGURES["first"]}, [pair], Resampling(4000, 0)
  )["first"]
  of_class = {name: both[:, cells == 0] for name, both in correct.items()}
  accuracy = bootstrap_accuracies(of_class, group, [pair], Resampling(4000, seed=0))
  for source in accuracy:
    assert cell[source].mean == pytest.approx(accuracy[source].mean, rel=1e-12)
    assert (cell[source].std is None) == (accuracy[source].std is None)
    np.testing.assert_allclose(cell[source][2:4], accuracy[source][2:4], atol=0.01)


def test_cells_without_examples_are_nan_for_the_figure():
  rows, cells = _classes(np.random.default_rng(3), [0.5, 0.7])
  figures = {"gap": FIGURES["gap"]}
  two = bootstrap_cells(
    {"a": rows}, {"a": np.arange(5)}, Cells(cells, (2,)), figures, [], Resampling(50, 0)
  )
  three = bootstrap_cells(
    {"a": rows}, {"a": np.arange(5)}, Cells(cells, (3,)), figures, [], Resampling(50, 0)
  )
  assert two == three
