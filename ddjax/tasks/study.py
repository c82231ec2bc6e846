"""The task "study": a grid of ordinary runs, see `configs/study.py`, ending in tables and a page.

The folder of a study:

    config.json      the study, and the code that its workers run
    cells/NAME/      a run folder each, as if it had been started by hand
    states/          what came of each finished cell
    leases/          who runs which cell; see `ddjax.study.ledger`
    workers/         what each worker did, a line an event
    study.html, study.csv, study.json, figures/
"""

import collections
import contextlib
import json
import pathlib
import secrets
import shutil
import time
from typing import Any, Mapping, Sequence

from absl import logging
from ml_collections import ConfigDict

from ddjax import backend, errors, tuning
from ddjax.config import compare
from ddjax.config.check import check_numbers
from ddjax.files import atomic
from ddjax.stages.estimate import Estimate, joined
from ddjax.stages.run_folder import CONFIG_NAME, FolderInUseError
from ddjax.study import grid, launchers, live, page, records, summary
from ddjax.study.cell import Cell
from ddjax.study.code import code_digest
from ddjax.study.ledger import FINISHED, FailedCellsError, Ledger, StudyError
from ddjax.study.worker import Limits, Runs, Worker
from ddjax.tasks.registry import RUNS
from ddjax.tasks.task import Outcome
from ddjax.wording import counted, duration

_CLAIM = f".{CONFIG_NAME}."  # how files begin that workers make before one of them is the study's
_OF_THIS_MACHINE = (
  errors.DataError, errors.ExpertBufferError, errors.RemoteError, FileNotFoundError,
)  # fmt: skip
"""What another machine may have: data, and the experts of other runs."""
_MOST_DIFFERING = 5  # fields that an error names


def estimate(config: ConfigDict) -> Estimate:
  """What all cells cost, a line each, and their sum: here, or on `estimate_for`.

  Raises:
    StudyError: for a cell whose settings cannot be run, naming it.
    ValueError: for an impossible grid, or a launcher that cannot be used.
  """
  check_numbers(config)
  cells = grid.cells_of(config)
  launchers.check(config)
  machine = _other_machine(config)
  found = _estimates(cells, machine)
  lines = [
    f"  {name}: {duration(one.total_seconds) if one.seconds else one.text}"
    for name, one in found.items()
  ]
  return joined(found)._replace(text="\n".join([_sums(found, machine), *lines]))


def _other_machine(config: ConfigDict) -> str:
  """The machine whose time a study says; "" for the one at hand."""
  return config.estimate_for if backend.name() == "cpu" else ""


def _estimates(
  cells: Sequence[Cell], machine: str = "", *, is_run_here: bool = True
) -> dict[str, Estimate]:
  """What cells cost, by name; what cannot be estimated is "not known", and stops nothing.

  Args:
    cells: of a study.
    machine: for which, "" for this one.
    is_run_here: whether this machine runs them, and so needs their data; a machine that only
      queues workers need not have them.

  Raises:
    StudyError: for a cell whose settings cannot be run, naming it.
  """
  found, known = {}, {}
  with backend.estimated_for(machine) if machine else contextlib.nullcontext():
    for cell in cells:
      if cell.cost_key not in known:
        known[cell.cost_key] = _estimate_of(cell, is_run_here)
      found[cell.name] = known[cell.cost_key]
  return found


def _estimate_of(cell: Cell, is_run_here: bool) -> Estimate:
  if cell.sets:
    return Estimate({}, {}, None, "not estimated before its sets are made")
  try:
    return RUNS[cell.task].estimate(cell.estimated_config)
  except errors.EXPECTED as error:
    if not is_run_here and isinstance(error, _OF_THIS_MACHINE):
      return _not_known(cell, error)
    raise StudyError(
      f"Cell {cell.name} cannot be run: {error} Nothing was started. Change the setting, or leave "
      "such cells out by `exclude`."
    ) from error
  except Exception as error:  # it only informs
    return _not_known(cell, error)


def _not_known(cell: Cell, error: Exception) -> Estimate:
  reason = f"{type(error).__name__}: {error}".splitlines()[0]
  logging.warning("The cost of %s is not known (%s).", cell.name, reason)
  return Estimate({}, {}, None, f"not known ({reason}).")


def _sums(found: Mapping[str, Estimate], machine: str = "") -> str:
  """The sum of what is known, in words, and that of the bounds of what ends early."""
  known = [one.total_seconds for one in found.values() if one.seconds]
  left = len(found) - len(known)
  where = "one such machine"
  if machine:
    other = tuning.MACHINES[machine]
    where = f"one {other.title} (by {other.source}; this machine computes on the CPU)"
  text = (
    f"{counted(len(found), 'cell')}, about {duration(sum(known))} in all on {where}; "
    "compilation not counted"
    + (f"; {counted(left, 'cell is', 'cells are')} not estimated." if left else ".")
  )
  most = collections.Counter()
  for one in found.values():
    most.update(one.most_seconds)
  return text + "".join(
    f" {name.capitalize()}: up to {duration(one)} more." for name, one in most.items()
  )


def run(config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False) -> Outcome:
  """Works on a study until no cell is left, and writes its tables and its page.

  Any number of processes may do this on the same folder at once; see `ddjax.study.ledger`.

  Args:
    config: see `configs/study.py`.
    workdir: the folder of the study.
    overwrite: whether to delete an earlier study in it.
  Raises:
    StudyError: for a folder of another study, or of workers with other code.
    FailedCellsError: where cells that this worker was asked for failed, here or elsewhere. All
      others have been run by then, and the tables are written.
    ValueError: for an impossible grid.
    PreemptedError: where the process was asked to stop.
  """
  check_numbers(config)
  cells = grid.cells_of(config)
  launchers.check(config)
  everything = config.copy_and_resolve_references().unlock()
  everything.only = ""
  everything = grid.cells_of(everything)  # whatever this worker is asked, the page is of all
  if config.watch and not (workdir / CONFIG_NAME).exists():
    raise StudyError(f"{workdir} holds no study to watch.")
  ledger = Ledger(workdir, patience_seconds=config.patience_seconds)
  writer = _Writer(config, workdir, everything)
  if config.watch:
    claim(config, workdir)
    live.watch(cells, ledger)
    return _ended(writer.outcome(ledger), cells)
  names = [cell.name for cell in everything]
  if overwrite:
    _check_clear(workdir, ledger, names)
  elif (workdir / CONFIG_NAME).exists() or _holds_something_else(workdir):
    claim(config, workdir)
  states = ledger.states([cell.name for cell in cells])
  left = [cell for cell in cells if overwrite or states[cell.name]["state"] not in FINISHED]
  # Before anything is written or deleted; of launched workers this machine says the sum alone.
  machine, is_worker = _other_machine(config), config.launcher == "none"
  said = None
  if machine or not is_worker:
    said = _estimates(left, machine, is_run_here=is_worker)
  here = _estimates(left) if is_worker else {}
  if overwrite:
    _clear(workdir, ledger, names)
  claim(config, workdir)
  if left:
    logging.info("Estimate: %s", _sums(here if said is None else said, machine))
  if not is_worker:
    return Outcome(workdir, None, launchers.submit(run, config, workdir))
  writer.planned = {name: _seconds(one) for name, one in here.items()}
  worker = Worker(
    cells,
    ledger,
    Runs(_run, _estimated_seconds, errors.EXPECTED, (FolderInUseError,)),
    Limits(config.max_minutes, config.max_cell_minutes, config.max_attempts, config.retry_failed),
    code=code_digest(),
    estimates={cell.cost_key: writer.planned[cell.name] for cell in left},
    on_change=writer.on_change,
  )
  with live.shown(cells, ledger):
    worker.work()
  return _ended(writer.outcome(ledger), cells)


def _ended(outcome: Outcome, cells: list[Cell]) -> Outcome:
  """The outcome, where no cell of this worker failed; else FailedCellsError, which holds it."""
  names = {cell.name for cell in cells}
  assert outcome.report is not None, "a study has a report from its first cell on"
  states = {cell["name"]: cell["state"] for cell in outcome.report["cells"]}
  failed = sum(states.get(name) == "failed" for name in names)
  if failed:
    raise FailedCellsError(
      f"{failed} of {counted(len(names), 'cell')} failed: {outcome.workdir / page.HTML_NAME} says "
      "why, and --config.retry_failed=True runs them again.",
      outcome,
    )
  return outcome


def claim(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Makes the folder that of this study, or holds it against the one that it is of.

  Raises:
    StudyError: naming the fields or the code that differ, or for a folder of something else.
  """
  path = workdir / CONFIG_NAME
  plain, code = compare.plain(config), code_digest()
  if not path.exists() and _holds_something_else(workdir) and not path.exists():
    raise StudyError(f"{workdir} is not empty and holds no study. Choose another --workdir.")
  # The first of several workers makes the file; all of them read it back.
  made = workdir / f"{_CLAIM}{secrets.token_hex(6)}"
  if not path.exists():
    atomic.write_json(made, {"config": plain, "code": code})
    try:
      path.hardlink_to(made)
    except FileExistsError:
      pass
    except OSError as error:
      raise StudyError(
        f"Cannot make {path} as a hard link ({error.strerror or error}); a study needs a disk that "
        "has them."
      ) from error
    finally:
      made.unlink()
  try:
    known = json.loads(path.read_text())
    old, old_code = known["config"], known["code"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise StudyError(f"{path} is that of no study ({error}). Choose another --workdir.") from error
  differing = _differing(old, plain)
  codes = f"{workdir} was begun by code {old_code}, and this is code {code}"
  if differing and old_code != code:
    raise StudyError(
      f"{codes}; their studies differ too: {differing}. Start workers of the code that began it, "
      "or choose another --workdir."
    )
  if differing:
    raise StudyError(
      f"{workdir} holds another study; differing: {differing}. Choose another --workdir."
    )
  if old_code != code and not config.any_code:
    raise StudyError(
      f"{codes}. Cells of two versions should not stand in one table; --config.any_code=True goes "
      "on all the same, and the tables say which cell is of which."
    )


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
  """What must be equal and differs between two plain configs, in words; "" for nothing."""
  others, fields = _binding(old), _binding(new)
  names = [name for name in fields.keys() | others.keys() if fields.get(name) != others.get(name)]
  names.sort(key=lambda name: (name != "preset", name.startswith("plans."), name))
  num_shown = 1 if "preset" in names else _MOST_DIFFERING  # the rest comes with the preset
  shown = ", ".join(
    f"{name}: {others.get(name)!r} -> {fields.get(name)!r}" for name in names[:num_shown]
  )
  return shown + (f" and {len(names) - num_shown} more" if len(names) > num_shown else "")


def _holds_something_else(workdir: pathlib.Path) -> bool:
  """Whether a folder without a study holds more than claims that other workers are making."""
  if not workdir.exists():
    return False
  return any(_CLAIM not in entry.name for entry in workdir.iterdir())


def _binding(config: Mapping[str, Any]) -> dict[str, Any]:
  """The flat fields that all workers of a study have in common."""
  flat = compare.flatten(config)
  return {
    name: value for name, value in flat.items() if name.split(".")[0] not in compare.WORKER_FIELDS
  }


def _clear(workdir: pathlib.Path, ledger: Ledger, names: list[str]) -> None:
  """Deletes a study that nobody works on."""
  _check_clear(workdir, ledger, names)
  for entry in sorted(workdir.glob("*"), key=lambda entry: entry.name == CONFIG_NAME):
    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _check_clear(workdir: pathlib.Path, ledger: Ledger, names: list[str]) -> None:
  """Refuses to delete what is no study, and what somebody works on."""
  content = list(workdir.iterdir()) if workdir.exists() else []
  if content and not (workdir / CONFIG_NAME).exists():
    raise StudyError(
      f"--overwrite: {workdir} holds no {CONFIG_NAME}, so it is no study; nothing was deleted."
    )
  if held := ledger.held(names):
    cell, worker = next(iter(held.items()))
    raise StudyError(
      f"--overwrite: workers hold {counted(len(held), 'cell')} of {workdir}, {cell} by {worker}; "
      f"nothing was deleted. Stop them first; of workers that died elsewhere delete the folder "
      f"{workdir / 'leases'}."
    )


def _run(task: str, config: ConfigDict, folder: pathlib.Path, overwrite: bool) -> None:
  RUNS[task].run(config, folder, overwrite=overwrite)


def _estimated_seconds(task: str, config: ConfigDict) -> float | None:
  return _seconds(RUNS[task].estimate(config))


def _seconds(found: Estimate) -> float | None:
  return found.total_seconds if found.seconds else None


class _Writer:
  """Writes tables and page as cells end, and spends a tenth of the time on it at most."""

  def __init__(self, config: ConfigDict, workdir: pathlib.Path, cells: list[Cell]):
    self._config, self._workdir, self._cells = _shown(config), workdir, cells
    self._known: dict[str, Any] = {}  # bootstraps of cells that were there before
    self.planned: dict[str, float | None] = {}  # seconds of cells that wait
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
    names = [cell.name for cell in self._cells]
    states = Ledger(self._workdir).states(names) | dict(states)
    for name, seconds in self.planned.items():
      if states[name]["estimate_seconds"] is None:
        states[name] = {**states[name], "estimate_seconds": seconds}
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
