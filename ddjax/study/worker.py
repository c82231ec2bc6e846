"""A worker: takes cells that nobody runs, one after another, until none is left for it.

Any number of workers share a study's folder, on one machine or on several with a common disk. What
one of them leaves behind, killed or preempted, the others go on with.
"""

import datetime
import errno
import gc
import pathlib
import threading
import time
import traceback
from types import MappingProxyType
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from absl import logging
import jax
from ml_collections import ConfigDict

from ddjax import backend
from ddjax.data.pack import packed_path
from ddjax.files import atomic
from ddjax.stages.run_folder import CONFIG_NAME, RunFolderError, steps_done
from ddjax.study.cell import Cell
from ddjax.study.ledger import FINISHED, Lease, Ledger
from ddjax.study.records import read_report
from ddjax.training.processes import StopAskedError
from ddjax.training.trainer import StoppedError, StopRequest
from ddjax.wording import duration

_POLL_SECONDS = 2.0


class Runs(NamedTuple):
  """What a worker asks of the tasks.

  Attributes:
    run: (cell's task, config, folder, overwrite) runs a cell, or goes on with it.
    estimate: (cell's task, config) -> seconds, or None where they are not known.
    expected: errors whose sentence says it all; others leave a traceback in the study's folder.
    busy: errors that say that another process is at work in the cell's folder.
  """

  run: Callable[[str, ConfigDict, pathlib.Path, bool], None]
  estimate: Callable[[str, ConfigDict], float | None]
  expected: tuple[type[Exception], ...]
  busy: tuple[type[Exception], ...] = ()


class Limits(NamedTuple):
  """When a worker leaves cells alone.

  Attributes:
    max_minutes: after which the worker stops, in the middle of a cell too; 0 for no limit.
    max_cell_minutes: an estimate above which a cell is too dear on this machine; 0 for no limit.
    max_attempts: workers that may die in a cell before it counts as failed.
    retries_failed: whether cells are run again that failed before this worker started, or whose
      report cannot be read.
  """

  max_minutes: float = 0.0
  max_cell_minutes: float = 0.0
  max_attempts: int = 3
  retries_failed: bool = False


class Worker:
  """One process at work in a study's folder."""

  def __init__(
    self,
    cells: Sequence[Cell],
    ledger: Ledger,
    runs: Runs,
    limits: Limits = Limits(),
    *,
    code: str = "",
    estimates: Mapping[str, float | None] = MappingProxyType({}),
    on_change: Callable[[Mapping[str, Mapping[str, Any]]], None] = lambda states: None,
  ):
    """Args:
    cells: of the study, each after those that it needs.
    ledger: of the study's folder.
    runs: how cells are run.
    limits: when to leave cells alone.
    code: version of the code, for the record.
    estimates: seconds by the `cost_key` of cells, as far as they were asked for before.
    on_change: called with the states of all cells when one of them has ended here.
    """
    self._cells = {cell.name: cell for cell in cells}
    self._ledger, self._runs, self._limits = ledger, runs, limits
    self._code, self._on_change = code, on_change
    self._device = backend.device()
    self._estimates = dict(estimates)
    self._is_timed_out = False
    states = {name: ledger.state(name) or {} for name in self._cells}
    self._failed_before = {
      name: state for name, state in states.items() if self._has_failed(name, state)
    }

  def work(self) -> None:
    """Runs cells until none is left that this worker can run.

    Raises:
      StopAskedError: where the process was asked to stop; the cell is given back.
      OutputError: where the disk is full; likewise.
    """
    with StopRequest() as asked:  # the worker as a whole; what a cell gets lies inside
      timer = None
      if self._limits.max_minutes:
        seconds = min(60 * self._limits.max_minutes, threading.TIMEOUT_MAX)
        timer = threading.Timer(seconds, self._time_is_up, (asked,))
        timer.daemon = True
        timer.start()
      try:
        self._work(asked)
      finally:
        if timer is not None:
          timer.cancel()

  def _work(self, asked: StopRequest) -> None:
    while not self._is_timed_out:
      with StopRequest() as stop:
        found = self._next()
        if found is None:
          return
        if isinstance(found, str):
          time.sleep(_POLL_SECONDS)
        else:
          self._run(*found, stop)
          self._on_change(self._ledger.states(self._cells))
      if asked and not self._is_timed_out:
        raise StoppedError("Stopped on request; the same command goes on with what is left.")
    logging.info("max_minutes=%g are over.", self._limits.max_minutes)

  def _next(self) -> tuple[Cell, Lease] | str | None:
    """A cell to run, with its lease; "wait" where others run cells; None where none is left."""
    states = {name: self._current(name) for name in self._cells}
    is_waiting = False
    for name, cell in self._cells.items():
      if states[name]["state"] in FINISHED:
        continue
      if (hindrance := self._hindrance(cell, states)) is not None:
        if hindrance:
          states[name] = self._give_up(cell, hindrance)
        else:
          is_waiting = True
        continue
      lease = self._ledger.take(name, self._progress(name))
      if lease is None:
        is_waiting = True
        continue
      if (state := self._ledger.state(name)) is not None:
        if not self._is_stale(name, state):
          lease.release()  # it was finished between the look and the take
          continue
        self._ledger.forget(lease)
      return cell, lease
    return "wait" if is_waiting else None

  def _hindrance(
    self, cell: Cell, states: Mapping[str, Mapping[str, Any]]
  ) -> dict[str, Any] | None:
    """Why a cell cannot run: {} for not yet, its state for never; None where it can."""
    for name in cell.needs:
      state = states[name]["state"]
      if state not in FINISHED:
        return {}
      if state != "done":
        return {"state": state, "error": f"It needs {name}, which is {state}."}
    if any(states[name]["state"] not in FINISHED for name in cell.sets):
      return {}
    of_sets = {states[name]["state"] for name in cell.sets}
    if of_sets and "done" not in of_sets:
      state = "too dear" if "too dear" in of_sets else "failed"
      return {"state": state, "error": "None of the sets that it evaluates was made."}
    return None

  def _run(self, cell: Cell, lease: Lease, stop: StopRequest) -> None:
    """Runs a cell and records what came of it."""
    lease.when_lost(stop.ask)
    seconds = self.estimate(cell)
    limit = 60 * self._limits.max_cell_minutes
    facts = {"estimate_seconds": seconds, "device": self._device, "code": self._code}
    if (deaths := self._ledger.num_deaths(cell.name)) >= self._limits.max_attempts:
      error = f"{deaths} workers died in it, one after another, and it got no further."
      self._finish(lease, facts | {"state": "failed", "error": error})
      return
    if limit and seconds is not None and seconds > limit:
      logging.info("%s is too dear here: %s.", cell.name, duration(seconds))
      self._finish(lease, facts | {"state": "too dear"})
      return
    if stop:
      lease.release()
      return
    logging.info("Cell %s.", cell.name)
    started = time.monotonic()
    try:
      self._check_folder(cell)
      self._ledger.begin(lease)
      self._call(cell)
    except StopAskedError:
      lease.release()
      self._ledger.note("left", cell.name)
      if lease.is_lost:
        logging.warning("Another worker has taken over %s.", cell.name)
      elif not stop and not self._is_timed_out:
        raise
      return
    except self._runs.busy as error:  # a worker that lost its lease and has not noticed yet
      logging.warning("Cell %s: %s It is tried again later.", cell.name, error)
      lease.release()
      time.sleep(_POLL_SECONDS)
      return
    except Exception as error:
      if _is_disk_full(error):
        lease.release()
        raise
      self._finish(lease, facts | {"state": "failed", "error": self._sentence(cell, error)})
      return
    except BaseException:  # an interrupt
      lease.release()
      raise
    finally:
      jax.clear_caches()  # compiled programs of a cell are in the cache on disk
      gc.collect()
    spent = self._ledger.spent(cell.name) + time.monotonic() - started
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    self._finish(lease, facts | {"state": "done", "seconds": spent, "finished": now})

  def _call(self, cell: Cell) -> None:
    folder, config, overwrite = self._folder(cell.name), cell.config, False
    if cell.sets:
      made = [name for name in cell.sets if self._current(name)["state"] == "done"]
      config = config.copy_and_resolve_references().unlock()
      config.distilled = ",".join(str(self._folder(name)) for name in made)
      overwrite = (folder / CONFIG_NAME).exists() and self._limits.retries_failed
    packed = [name for name in cell.needs if self._cells[name].role == "data"]
    if packed:
      config = config.copy_and_resolve_references().unlock()
      config.data.data_dir = str(self._folder(packed[0]).absolute())
    self._runs.run(cell.task, config, folder, overwrite)

  def _check_folder(self, cell: Cell) -> None:
    """Refuses a folder that holds something, but no run that a worker of this study began.

    Packed data may be anybody's: they are held against what they were made of.
    """
    folder = self._folder(cell.name)
    first = folder / CONFIG_NAME
    if cell.role == "data":
      first = packed_path(folder, cell.config.data.name)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    names = sorted(name for name in names if not name.startswith("."))  # a lock, unfinished files
    if names and not first.exists():
      raise RunFolderError(
        f"{folder} holds {', '.join(names[:3])} but no {first.name}, so it is not that of a run.",
        _advice(folder),
      )
    if names and cell.role != "data" and not self._ledger.has_begun(cell.name):
      raise RunFolderError(
        f"{folder} holds a run that no worker of this study began: nobody knows by which code.",
        _advice(folder),
      )

  def _folder(self, name: str) -> pathlib.Path:
    return self._ledger.folder / "cells" / name

  def _finish(self, lease: Lease, state: dict[str, Any]) -> None:
    if self._ledger.finish(lease, state):
      self._ledger.note(state["state"], lease.name)
    else:
      logging.warning("%s was finished by another worker.", lease.name)

  def _give_up(self, cell: Cell, state: dict[str, Any]) -> dict[str, Any]:
    """Records a cell that cannot run, where nobody has yet; its state."""
    known = self._ledger.state(cell.name) or {}
    if (known.get("state"), known.get("error")) != (state["state"], state["error"]):
      lease = self._ledger.take(cell.name)
      if lease is not None:
        if known:
          self._ledger.forget(lease)
        self._finish(lease, state | {"device": self._device, "code": self._code})
    return state

  def _sentence(self, cell: Cell, error: Exception) -> str:
    """What went wrong; the traceback of what nobody foresaw lies beside the states."""
    if isinstance(error, self._runs.expected):
      text = str(error)
      if isinstance(error, RunFolderError) and error.advice:
        text = f"{error.problem} {_advice(self._folder(cell.name))}"
      logging.error("Cell %s: %s", cell.name, text)
      return text
    path = self._ledger.folder / "states" / f"{cell.name}.log"
    atomic.write_text(path, "".join(traceback.format_exception(error)))
    logging.error("Cell %s: %s: %s. See %s.", cell.name, type(error).__name__, error, path)
    return f"{type(error).__name__}: {error}"

  def estimate(self, cell: Cell) -> float | None:
    """Seconds that a cell takes here; those of another seed where it was asked for before."""
    key = cell.cost_key
    if key not in self._estimates:
      try:
        known = None if cell.sets else self._runs.estimate(cell.task, cell.estimated_config)
      except Exception as error:  # an estimate only informs
        logging.warning("The cost of %s is not known (%s).", cell.name, error)
        known = None
      self._estimates[key] = known
    return self._estimates[key]

  def _has_failed(self, name: str, state: Mapping[str, Any]) -> bool:
    """Whether a cell is to be run again on request: one whose report was lost counts as well."""
    if state.get("state") != "done" or not self._limits.retries_failed:
      return state.get("state") == "failed"
    without_report = self._cells[name].role in ("data", "experts")  # others use what they made
    return not without_report and read_report(self._folder(name))[0] is None

  def _progress(self, name: str) -> int:
    """How far a cell is: steps of its last checkpoint, and finished parts of its evaluation."""
    folder = self._folder(name)
    return steps_done(folder) + len(list(folder.glob("fits/*")))

  def _current(self, name: str) -> dict[str, Any]:
    """The state of a cell as this worker sees it: one that it may run again is waiting."""
    state = self._ledger.state(name)
    if state is None or self._is_stale(name, state):
      return {"state": "waiting"}
    return state

  def _is_stale(self, name: str, state: Mapping[str, Any]) -> bool:
    """Whether what was recorded of a cell does not bind this worker, which may run it again.

    That a cell is too dear binds workers on such a device, CPUs by their model, with such a limit;
    that it failed binds all but one that was asked to try again, which tries once.
    """
    if state.get("state") == "too dear":
      if state.get("device") != self._device:
        return True
      seconds, limit = state.get("estimate_seconds"), 60 * self._limits.max_cell_minutes
      if seconds is None:  # it needs one that is too dear, or was
        cell = self._cells[name]
        needed = {self._current(need)["state"] for need in cell.needs}
        of_sets = {self._current(one)["state"] for one in cell.sets}
        return "too dear" not in needed and ("done" in of_sets or "too dear" not in of_sets)
      return not 0 < limit < seconds
    return self._limits.retries_failed and self._failed_before.get(name) == state

  def _time_is_up(self, asked: StopRequest) -> None:
    """What the timer calls, from its thread: no signal, which could come when nobody awaits it."""
    self._is_timed_out = True
    asked.ask()


def _advice(folder: pathlib.Path) -> str:
  """What to do about a cell's folder that cannot be used; --overwrite is of the whole study."""
  return f"Delete or move away {folder}, then start a worker with --config.retry_failed=True."


def _is_disk_full(error: Exception) -> bool:
  """Whether nothing more can be written: that no cell is to blame for."""
  cause = error.__cause__ or error
  return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
