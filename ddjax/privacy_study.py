"""Membership inference over the factors that the study names: ipc, initialisation, classes.

Chen et al. 2023 say that the privacy of distilled sets depends on all three. Every cell is an audit
by shadow runs (`ddjax.stages.shadows`); cells of equal classes share pool, splits and targets, so
their differences are paired. What is finished is not run again.
"""

import csv
import io
import itertools
import json
import pathlib
import shutil
from typing import Any, Mapping, NamedTuple, Sequence

from absl import logging
import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax.config import compare
from ddjax.evaluators import privacy
from ddjax.files import atomic
from ddjax.fitting.host import Watch
from ddjax.io.comparisons import format_interval, format_number, format_signed, words
from ddjax.io.report import write_report
from ddjax.plots import figures
from ddjax.plots.privacy import draw_cells
from ddjax.stages import present, shadows
from ddjax.stages.estimate import Estimate
from ddjax.stages.prepare import data_fingerprint, hardware, load, numerics
from ddjax.stages.run_folder import RunFolder
from ddjax.statistics import membership_figures
from ddjax.statistics.membership_figures import Scores
from ddjax.tasks.task import Outcome
from ddjax.training.parallel import make_layout
from ddjax.training.trainer import StopRequest
from ddjax.types import Report

TABLE_NAME = "privacy.csv"
_COLUMNS = ("cell", "set", "attack", "figure", "value", "low", "high")
_SETS = ("distilled", "random_subset", "full")


class Cell(NamedTuple):
  """One audit of the study.

  Attributes:
    distillation: name in `config.distillations`, such as "dm-ipc1".
    init: how images begin.
    num_classes: the first so many; 0 for all.
  """

  distillation: str
  init: str
  num_classes: int

  @property
  def name(self) -> str:
    """For files and tables, such as `dm-ipc1-noise-5classes`."""
    classes = f"-{self.num_classes}classes" if self.num_classes else ""
    return f"{self.distillation}-{self.init}{classes}"


def cells_of(config: ConfigDict) -> list[Cell]:
  """Every distillation with every init; the first of each method with fewer classes too."""
  names, factors = list(config.distillations), config.factors
  firsts = {config.distillations[name].method: name for name in reversed(names)}
  cells = [Cell(*pair, 0) for pair in itertools.product(names, factors.init)]
  return cells + [
    Cell(name, factors.init[0], count)
    for name in names
    if name in firsts.values()
    for count in factors.num_classes
  ]


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Audits every cell and compares them.

  Args:
    config: see `configs/privacy.py`.
    workdir: the run folder.
    overwrite: whether to delete an earlier run in it.
  Returns:
    What `report.json` holds: a report for each cell, and `claims`, the differences between cells.
  """
  if jax.process_count() > 1:
    raise ValueError("The privacy study runs on one host.")
  plain = compare.plain(config)
  with numerics(config), RunFolder(workdir, overwrite) as folder:
    folder.claim(plain, data_fingerprint(load(config)))
    if (report := folder.finished_report(plain)) is not None:
      return _outcome(folder.path, report)
    reports, scores = {}, {}
    with StopRequest() as stop:
      known: dict[str, dict[str, np.ndarray]] = {}  # scores of the baselines that cells share
      for cell in cells_of(config):
        reports[cell.name], scores[cell.name] = _audit(config, cell, folder.path, stop, known)
    reports["claims"] = _claims(config, scores)
    facts = {
      "method": "privacy study",
      "dataset": config.data.name,
      "seed": config.seed,
      "workdir": str(folder.path),
      "config": plain,
      "versions": present.versions(),
      "hardware": hardware(make_layout(config.num_devices)),
    }
    _write_table(folder.path / TABLE_NAME, reports)
    attack = config.claims[0]
    path = folder.path / "figures" / "privacy.png"
    figures.save_figure(draw_cells(_aucs(reports, attack), words(attack)), path)
    shutil.rmtree(folder.path / "fits", ignore_errors=True)
    caption = "Area under the ROC curve by cell; bars hold 95 % intervals"
    return _outcome(folder.path, write_report(folder.path, facts, reports, {caption: path}))


def _outcome(workdir: pathlib.Path, report: dict[str, Any]) -> Outcome:
  return Outcome(workdir, report, f"{summary(report)}\nTable: {workdir / TABLE_NAME}")


def estimate(config: ConfigDict) -> Estimate:
  """What the study consists of."""
  cells = [cell.name for cell in cells_of(config)]
  splits = config.privacy.num_splits
  text = (
    f"{len(cells)} audits of {splits} splits each: {', '.join(cells)}; times are not estimated."
  )
  return Estimate({}, {}, None, text)


def summary(report: Mapping[str, Any]) -> str:
  """AUC of the first attack of `claims` by cell, and every claim, as text."""
  attack = report["run"]["config"]["claims"][0]
  title = f"{words(attack)} AUC"
  lines = [f"{'cell':32}{title:>20}{'interval':>18}{'random subset':>16}{'full set':>10}"]
  for name, one in report["reports"].items():
    if name == "claims":
      continue
    prefixes = ("", "random_subset_", "full_")
    row = [one["scalars"].get(f"{prefix}{attack}_auc") for prefix in prefixes]
    interval = format_interval(one["interval"].get(f"{attack}_auc"))
    lines.append(
      f"{name:32}{format_number(row[0]):>20}{interval:>18}{format_number(row[1]):>16}"
      f"{format_number(row[2]):>10}"
    )
  claims = report["reports"]["claims"]
  for key, value in claims["scalars"].items():
    lines.append(f"{key}: {format_signed(value)} {format_interval(claims['interval'].get(key))}")
  return "\n".join(lines)


def _audit(
  config: ConfigDict,
  cell: Cell,
  workdir: pathlib.Path,
  stop: Any,
  known: dict[str, dict[str, np.ndarray]],
) -> tuple[Report, dict[str, Scores]]:
  """A cell's report, and the scores of `distilled` by attack; from disk where they are finished."""
  distillation = ConfigDict(config.distillations[cell.distillation].to_dict())
  distillation.data.num_classes = cell.num_classes or None
  real = load(distillation)
  settings = config.privacy.copy_and_resolve_references().unlock()
  settings.init = cell.init
  parts = [distillation, settings, config.accuracy_evaluation, ConfigDict({"seed": config.seed})]
  key = f"{cell.name}-{compare.short_hash([compare.plain(part) for part in parts])}"
  place = workdir / "cells" / key
  if (place / "report.json").exists():
    report = Report(**json.loads((place / "report.json").read_text()))
    with np.load(place / "scores.npz", allow_pickle=False) as file:
      is_member = file["is_member"]
      return report, {
        name.removeprefix("score/"): Scores(file[name], is_member)
        for name in file.files
        if name.startswith("score/")
      }
  logging.info("Cell %s.", cell.name)
  fits = workdir / "fits"
  found = shadows.run_shadows(
    distillation,
    settings,
    config.accuracy_evaluation,
    real,
    fits / f"shadows-{key}",
    Watch(fits, stop, True),
  )
  report = Report("privacy", {}, {}, {}, {}, {}, {"interval_over": {}, "not_measured": {}})
  scores = privacy.with_shadows(report, found, settings, config.seed, known)
  own = {attack: one for (name, attack), one in scores.items() if name == "distilled"}
  arrays = {f"score/{attack}": one.values for attack, one in own.items()}
  atomic.write_npz(place / "scores.npz", arrays | {"is_member": found.is_member})
  atomic.write_json(place / "report.json", atomic.json_safe(report._asdict()))  # marks it finished
  shutil.rmtree(fits / f"shadows-{key}", ignore_errors=True)
  return report, own


def _claims(config: ConfigDict, scores: Mapping[str, Mapping[str, Scores]]) -> Report:
  """Differences of AUC between cells that differ in one factor, with intervals."""
  settings = {"interval_over": {}, "not_measured": {}, "subject": "difference"}
  report = Report("claims", {}, {}, {}, {}, {}, settings)
  cells = {cell.name: cell for cell in cells_of(config)}
  for a, b in itertools.combinations(cells, 2):
    factor = _single_difference(config, cells[a], cells[b])
    if factor is None:
      continue
    for attack in config.claims:
      key = f"{b} minus {a} {attack} auc"
      if not all(membership_figures.is_estimable(scores[name][attack]) for name in (a, b)):
        report.scalars[key] = None
        report.settings["not_measured"][key] = "there are too few splits for this attack"
        continue
      pair = {a: scores[a][attack], b: scores[b][attack]}
      is_paired = factor != "classes"
      value, low, high = _difference(pair, a, b, config, is_paired)
      report.scalars[key], report.interval[key] = value, [low, high]
      report.settings["interval_over"][key] = (
        "splits and examples, paired" if is_paired else "splits and examples of two pools"
      )
  return report


def _difference(
  pair: Mapping[str, Scores], a: str, b: str, config: ConfigDict, is_paired: bool
) -> tuple[float, float, float]:
  """b - a of the AUC with its interval; of independent pools by the sum of the squared halves."""
  options = dict(num_bootstrap=config.privacy.num_bootstrap, seed=config.seed)
  if is_paired:
    one = membership_figures.estimate(pair, [(b, a)], **options)[1][b, a]["auc"]
    return one.value, one.low, one.high
  first, second = (
    membership_figures.estimate({name: pair[name]}, [], **options)[0][name]["auc"]
    for name in (a, b)
  )
  half = np.hypot(first.high - first.low, second.high - second.low) / 2
  value = second.value - first.value
  return value, value - half, value + half


def _single_difference(config: ConfigDict, a: Cell, b: Cell) -> str | None:
  """The one factor in which two cells of a method differ: ipc, init or classes."""
  plans = [config.distillations[cell.distillation] for cell in (a, b)]
  if plans[0].method != plans[1].method:
    return None
  differs = {
    "ipc": a.distillation != b.distillation,
    "init": a.init != b.init,
    "classes": a.num_classes != b.num_classes,
  }
  found = [name for name, is_other in differs.items() if is_other]
  return found[0] if len(found) == 1 else None


def _aucs(reports: Mapping[str, Report], attack: str) -> dict[str, dict[str, Sequence[float]]]:
  """{set: {cell: (AUC of an attack, low, high)}}."""
  found: dict[str, dict[str, Sequence[float]]] = {name: {} for name in _SETS}
  for cell, report in reports.items():
    for name in _SETS:
      key = f"{attack}_auc" if name == "distilled" else f"{name}_{attack}_auc"
      if report.scalars.get(key) is not None:
        found[name][cell] = (report.scalars[key], *report.interval[key])
  return found


def _write_table(path: pathlib.Path, reports: Mapping[str, Report]) -> None:
  """Every figure of every attack of every cell."""
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow(_COLUMNS)
  for cell, report in reports.items():
    for key, value in report.scalars.items():
      name = next((one for one in _SETS[1:] if key.startswith(f"{one}_")), "distilled")
      rest = key.removeprefix(f"{name}_")
      attack = next(
        (one for one in sorted(privacy.ATTACKS, key=len, reverse=True) if rest.startswith(one)), ""
      )
      figure = rest.removeprefix(f"{attack}_")
      ends = report.interval.get(key, ("", ""))
      numbers = [f"{x:.4f}" if isinstance(x, float) else "" for x in (value, *ends)]
      table.writerow([cell, name, attack, figure, *numbers])
  atomic.write_text(path, text.getvalue())
