"""Kernel ablations: KIP with each of a list of kernels, and how its sets transfer to the others.

Every cell is a run folder of its own, so a second start goes on where the first was left.
"""

import csv
import io
import itertools
import pathlib
from typing import NamedTuple

from absl import logging
import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax.config import compare
from ddjax.data.load import RealData
from ddjax.evaluators.kernel import PREDICTOR, ROWS_PER_BLOCK, make_kernel_fit
from ddjax.files import atomic
from ddjax.fitting.predictions import predict_classes
from ddjax.io.distilled import load_distilled
from ddjax.io.report import JSON_NAME
from ddjax.plots import figures
from ddjax.plots.ablation import kernel_ablation as draw_ablation
from ddjax.stages import estimate as costs
from ddjax.stages.baselines import random_subsets
from ddjax.stages.prepare import Job, data_fingerprint, load, numerics, prepare
from ddjax.stages.run_folder import RunFolder
from ddjax.statistics import intervals
from ddjax.tasks import distill
from ddjax.tasks.task import Outcome

TABLE_NAME = "kernel_ablation.csv"
BASELINE = "random_subset"
NOT_RUN = "not run"


class Cell(NamedTuple):
  """Accuracy of a set under a kernel, with its 95 % interval; None where it was not run.

  `minutes` is the estimate for which it was not run.
  """

  train_kernel: str
  test_kernel: str
  accuracy: float | None
  low: float | None
  high: float | None
  minutes: float | None = None

  def text(self) -> str:
    """The accuracy, or "not run" with the estimate."""
    if self.accuracy is None:
      return f"{NOT_RUN} (estimate: {self.minutes:.0f} min)"
    return f"{self.accuracy:.4f}"


def cell_config(config: ConfigDict, name: str) -> ConfigDict:
  """The config of KIP with the kernel `name` of the list."""
  cell = config.copy_and_resolve_references()
  cell.unlock()
  kernel = cell.kernels[name]
  cell.ridge = kernel.ridge
  cell.kernel = ConfigDict({key: kernel[key] for key in kernel if key != "ridge"})
  cell.task, cell.evaluators = "distill", ()
  del cell.kernels, cell.max_cell_minutes
  return cell.lock()


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Distils with every affordable kernel and tests every set under every affordable kernel.

  Writes `kernel_ablation.csv`, `figures/kernel_ablation.png`, and one run folder per kernel under
  `cells/`. A kernel whose distillation is estimated above `max_cell_minutes` is marked "not run",
  with the estimate, in the log and in the table.

  Returns:
    The cells of the table, row by row; the first row is a random subset of equal size.
  """
  if jax.process_count() > 1:
    raise ValueError("The kernel ablation runs on one host.")
  with numerics(config), RunFolder(workdir, overwrite) as folder:
    real = load(config)
    folder.claim(compare.plain(config), data_fingerprint(real))
    names = list(config.kernels)
    not_run = _unaffordable(config, real, names, folder.path)
    sets = {}
    for name in names:
      if name not in not_run:
        logging.info("Distilling with %s.", name)
        place = folder.path / "cells" / name
        distill.run(cell_config(config, name), place)
        saved = load_distilled(place)
        sets[name] = (saved.images, saved.labels)
    cells = _transfer(config, real, sets, names, not_run)
    _write(folder.path, cells, names)
  return Outcome(folder.path, None, f"{summary(cells)}\nTable: {folder.path / TABLE_NAME}")


def estimate(config: ConfigDict) -> costs.Estimate:
  """What the ablation would cost, kernel by kernel, in words."""
  lines = ["by kernel"]
  with numerics(config):
    real = load(config)
    for name in config.kernels:
      job = prepare(cell_config(config, name), pathlib.Path(), real)
      lines.append(f"  {name}: {costs.estimate(job).text}")
  return costs.Estimate({}, {}, None, "\n".join(lines))


def summary(cells: list[Cell]) -> str:
  """A table of each set under its own kernel, and under all others on average."""
  lines = [f"{'distilled with':24}{'own kernel':>12}{'interval':>18}{'other kernels':>16}"]
  for train in dict.fromkeys(cell.train_kernel for cell in cells):
    row = [cell for cell in cells if cell.train_kernel == train and cell.accuracy is not None]
    if not row:
      lines.append(f"{train:24}{next(c for c in cells if c.train_kernel == train).text()}")
      continue
    own = next((cell for cell in row if cell.test_kernel == train), None)
    others = [cell.accuracy for cell in row if cell is not own]
    accuracy = f"{own.accuracy:.3f}" if own else "-"
    interval = f"[{own.low:.3f}, {own.high:.3f}]" if own else "-"
    mean = f"{np.mean(others):.3f}" if others else "-"
    lines.append(f"{train:24}{accuracy:>12}{interval:>18}{mean:>16}")
  return costs.Estimate({}, {}, None, "\n".join(lines))


def _unaffordable(
  config: ConfigDict, real: RealData, names: list[str], workdir: pathlib.Path
) -> dict[str, float]:
  """{kernel: estimated minutes} of the cells that are neither finished nor affordable."""
  not_run = {}
  for name in names:
    if (workdir / "cells" / name / JSON_NAME).exists():
      continue
    job = prepare(cell_config(config, name), pathlib.Path(), real)
    minutes = _minutes(job)
    if minutes > config.max_cell_minutes:
      not_run[name] = minutes
      logging.warning(
        "%s: %s, estimated at %.0f minutes, above max_cell_minutes=%g.",
        name, NOT_RUN, minutes, config.max_cell_minutes,
      )  # fmt: skip
  return not_run


def _minutes(job: Job) -> float:
  """Estimated minutes of one cell."""
  return costs.estimate(job).total_seconds / 60


def _transfer(config: ConfigDict, real, sets, names, not_run) -> list[Cell]:
  """Every set under every affordable kernel."""
  rows = [BASELINE, *names]
  accuracy = {}
  for test_kernel in names:
    if test_kernel in not_run:
      continue
    job = prepare(cell_config(config, test_kernel), pathlib.Path(), real)
    fit = make_kernel_fit(job.config, real.info, real.preprocessing)
    subsets = random_subsets(job)
    entries = {BASELINE: subsets} | {
      name: subsets.replace(images=images[None], labels=labels[None])
      for name, (images, labels) in sets.items()
    }
    models = {name: fitted[PREDICTOR] for name, fitted in fit(entries).items()}
    correct = {
      name: predict_classes(of_set, real.test_images, real.max_value, rows_per_block=ROWS_PER_BLOCK)
      == real.test_labels
      for name, of_set in models.items()
    }
    estimates = intervals.bootstrap_accuracies(
      correct,
      {name: of_set.group for name, of_set in models.items()},
      [],
      num_bootstrap=config.kernel_evaluation.num_bootstrap,
      seed=config.seed,
    )
    for name, value in estimates.items():
      accuracy[name, test_kernel] = (value.mean, value.low, value.high)
  cells = []
  for row, column in itertools.product(rows, names):
    if (row, column) in accuracy:
      cells.append(Cell(row, column, *accuracy[row, column]))
    else:
      minutes = max(not_run.get(row, 0.0), not_run.get(column, 0.0))
      cells.append(Cell(row, column, None, None, None, minutes))
  return cells


def _write(folder: pathlib.Path, cells: list[Cell], names: list[str]) -> None:
  """The table and the figure."""
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow(["train_kernel", "test_kernel", "accuracy", "low", "high"])
  for cell in cells:
    interval = ["" if end is None else f"{end:.4f}" for end in (cell.low, cell.high)]
    table.writerow([cell.train_kernel, cell.test_kernel, cell.text(), *interval])
  atomic.write_text(folder / TABLE_NAME, text.getvalue())
  rows = [BASELINE, *names]
  values = np.array([np.nan if cell.accuracy is None else cell.accuracy for cell in cells])
  figure = draw_ablation(values.reshape(len(rows), len(names)), rows, names)
  figures.save_figure(figure, folder / "figures" / "kernel_ablation.png")
