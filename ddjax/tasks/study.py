"""The task "study": a grid of ordinary runs, see `configs/study.py`, ending in tables and a page.

The folder of a study:

    config.json      the study, and the code that its workers run
    cells/NAME/      a run folder each, as if it had been started by hand
    states/          what came of each finished cell
    leases/          who runs which cell; see `ddjax.study.ledger`
    workers/         what each worker did, a line an event
    study.html, study.csv, study.json, figures/
"""

import json
import pathlib
import shutil
import time
from typing import Any, Mapping

from absl import logging
from ml_collections import ConfigDict

from ddjax import errors
from ddjax.config import compare
from ddjax.config.check import check_numbers
from ddjax.files import atomic
from ddjax.stages.estimate import Estimate, joined
from ddjax.stages.run_folder import CONFIG_NAME
from ddjax.study import grid, launchers, live, page, records, summary
from ddjax.study.code import code_digest
from ddjax.study.ledger import Ledger, StudyError
from ddjax.study.worker import Limits, Runs, Worker
from ddjax.tasks.registry import RUNS
from ddjax.tasks.task import Outcome
from ddjax.wording import duration

_FREE_FIELDS = (  # may differ between the workers of a study
  "only", "max_minutes", "max_cell_minutes", "max_attempts", "retry_failed", "any_code", "launcher",
  "slurm", "watch", "patience_seconds",
)  # fmt: skip


def estimate(config: ConfigDict) -> Estimate:
  """What all cells cost on this machine, a line each, and their sum."""
  check_numbers(config)
  found = _estimates(grid.cells_of(config))
  known = [one.total_seconds for one in found.values() if one.seconds]
  lines = [
    f"  {name}: {duration(one.total_seconds) if one.seconds else one.text}"
    for name, one in found.items()
  ]
  text = "\n".join(
    [
      f"{len(found)} cells, about {duration(sum(known))} in all on one such machine, compilation "
      f"apart; {len(found) - len(known)} of them are not estimated.",
      *lines,
    ]
  )
  return joined(found)._replace(text=text)


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Works on a study until no cell is left, and writes its tables and its page.

  Any number of processes may do this on the same folder at once; see `ddjax.study.ledger`.

  Args:
    config: see `configs/study.py`.
    workdir: the folder of the study.
    overwrite: whether to delete an earlier study in it.
  Raises:
    StudyError: for a folder of another study, or of workers with other code.
    ValueError: for an impossible grid.
    PreemptedError: where the process was asked to stop.
  """
  check_numbers(config)
  cells = grid.cells_of(config)
  claim(config, workdir, overwrite)
  ledger = Ledger(workdir, patience_seconds=config.patience_seconds)
  writer = _Writer(config, workdir, cells)
  if config.watch:
    live.watch(cells, ledger)
    return writer.outcome(ledger)
  if config.launcher != "none":
    text = launchers.submit(config, workdir)
    return Outcome(workdir, None, text)
  with live.shown(cells, ledger):
    worker = Worker(
      cells,
      ledger,
      Runs(_run, _estimated_seconds, errors.EXPECTED),
      Limits(config.max_minutes, config.max_cell_minutes, config.max_attempts, config.retry_failed),
      code=code_digest(),
      on_change=writer.on_change,
    )
    worker.work()
  return writer.outcome(ledger)


def claim(config: ConfigDict, workdir: pathlib.Path, overwrite: bool = False) -> None:
  """Makes the folder that of this study, or holds it against the one that it is of.

  Raises:
    StudyError: naming the fields or the code that differ, or for a folder of something else.
  """
  if overwrite:
    _clear(workdir)
  path = workdir / CONFIG_NAME
  plain, code = compare.plain(config), code_digest()
  if not path.exists() and workdir.exists() and any(workdir.iterdir()):
    raise StudyError(f"{workdir} is not empty and holds no study. Choose another --workdir.")
  # The first of several workers makes the file; all of them read it back.
  made = workdir / f".{CONFIG_NAME}.{Ledger(workdir).worker}"
  if not path.exists():
    atomic.write_json(made, {"config": plain, "code": code})
    try:
      path.hardlink_to(made)
    except FileExistsError:
      pass
    finally:
      made.unlink()
  try:
    known = json.loads(path.read_text())
    old, old_code = known["config"], known["code"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise StudyError(f"{path} is that of no study ({error}). Choose another --workdir.") from error
  fields = {name: value for name, value in compare.flatten(plain).items() if not _is_free(name)}
  others = {name: value for name, value in compare.flatten(old).items() if not _is_free(name)}
  differing = sorted(
    name for name in fields.keys() | others.keys() if fields.get(name) != others.get(name)
  )
  if differing:
    shown = ", ".join(
      f"{name}: {others.get(name)!r} -> {fields.get(name)!r}" for name in differing[:5]
    )
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    raise StudyError(
      f"{workdir} holds another study; differing: {shown}{more}. Choose another --workdir."
    )
  if old_code != code and not config.any_code:
    raise StudyError(
      f"{workdir} was begun by code {old_code}, and this is code {code}. Cells of two versions "
      "should not stand in one table; --config.any_code=True goes on all the same, and the tables "
      "say which cell is of which."
    )


def _is_free(name: str) -> bool:
  return name.split(".")[0] in _FREE_FIELDS


def _clear(workdir: pathlib.Path) -> None:
  content = list(workdir.iterdir()) if workdir.exists() else []
  if content and not (workdir / CONFIG_NAME).exists():
    raise StudyError(
      f"--overwrite: {workdir} holds no {CONFIG_NAME}, so it is no study; nothing was deleted."
    )
  for entry in sorted(content, key=lambda entry: entry.name == CONFIG_NAME):
    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _run(task: str, config: ConfigDict, folder: pathlib.Path, overwrite: bool) -> None:
  RUNS[task].run(config, folder, overwrite=overwrite)


def _estimated_seconds(task: str, config: ConfigDict) -> float | None:
  found = RUNS[task].estimate(config)
  return found.total_seconds if found.seconds else None


def _estimates(cells: list[grid.Cell]) -> dict[str, Estimate]:
  """By cell; those that differ in the seed alone cost the same."""
  found: dict[str, Estimate] = {}
  known: dict[str, Estimate] = {}
  for cell in cells:
    key = cell.cost_key
    if cell.sets:
      found[cell.name] = Estimate({}, {}, None, "not estimated before its sets are made")
      continue
    if key not in known:
      known[key] = RUNS[cell.task].estimate(cell.config)
    found[cell.name] = known[key]
  return found


class _Writer:
  """Writes tables and page as cells end, and spends a tenth of the time on it at most."""

  def __init__(self, config: ConfigDict, workdir: pathlib.Path, cells: list[grid.Cell]):
    self._config, self._workdir, self._cells = _shown(config), workdir, cells
    self._known: dict[str, Any] = {}  # bootstraps of cells that were there before
    self._not_before = 0.0

  def on_change(self, states: Mapping[str, Mapping[str, Any]]) -> None:
    """A table that cannot be written now stops no cell; the next one may."""
    started = time.monotonic()
    if started < self._not_before:
      return
    try:
      self.write(states)
    except atomic.OutputError as error:
      logging.error("%s", error)
    taken = time.monotonic() - started
    self._not_before = time.monotonic() + 9 * taken

  def write(self, states: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tables of these states, as `study.json` holds them."""
    attacks = tuple(self._config["claims_attacks"])
    found = records.read_records(self._workdir, self._cells, states, attacks)
    study = summary.summarise(found, self._config, self._known)
    page.write(self._workdir, study)
    return study

  def outcome(self, ledger: Ledger) -> Outcome:
    """The tables as they are now."""
    states = ledger.states([cell.name for cell in self._cells])
    text = f"{live.summary(self._cells, states)}\nReport: {self._workdir / 'study.html'}"
    return Outcome(self._workdir, self.write(states), text)


def _shown(config: ConfigDict) -> dict[str, Any]:
  """The config without the methods' own, which stand in the cells."""
  plain = compare.plain(config)
  return {name: value for name, value in plain.items() if name != "plans"}
