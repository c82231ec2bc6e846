"""A worker: takes cells that nobody runs, one after another, until none is left for it.

Any number of workers share a study's folder, on one machine or on several with a common disk. What
one of them leaves behind, killed or preempted, the others go on with.
"""

import gc
import os
import pathlib
import signal
import threading
import time
import traceback
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from absl import logging
import jax
from ml_collections import ConfigDict

from ddjax import backend
from ddjax.files import atomic
from ddjax.stages.run_folder import CONFIG_NAME
from ddjax.study.grid import Cell
from ddjax.study.ledger import FINISHED, Lease, Ledger
from ddjax.training.trainer import PreemptedError, StopRequest
from ddjax.wording import duration

_POLL_SECONDS = 2.0


class Runs(NamedTuple):
  """What a worker asks of the tasks.

  Attributes:
    run: (cell's task, config, folder, overwrite) runs a cell, or goes on with it.
    estimate: (cell's task, config) -> seconds, or None where they are not known.
    expected: errors whose sentence says it all; others leave a traceback in the study's folder.
  """

  run: Callable[[str, ConfigDict, pathlib.Path, bool], None]
  estimate: Callable[[str, ConfigDict], float | None]
  expected: tuple[type[Exception], ...]


class Limits(NamedTuple):
  """When a worker leaves cells alone.

  Attributes:
    max_minutes: after which the worker stops, in the middle of a cell too; 0 for no limit.
    max_cell_minutes: an estimate above which a cell is too dear on this machine; 0 for no limit.
    max_attempts: workers that may die in a cell before it counts as failed.
    retries_failed: whether cells that failed before this worker started are run again.
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
    on_change: Callable[[Mapping[str, Mapping[str, Any]]], None] = lambda states: None,
  ):
    """Args:
    cells: of the study, each after those that it needs.
    ledger: of the study's folder.
    runs: how cells are run.
    limits: when to leave cells alone.
    code: version of the code, for the record.
    on_change: called with the states of all cells when one of them has ended here.
    """
    self._cells = {cell.name: cell for cell in cells}
    self._ledger, self._runs, self._limits = ledger, runs, limits
    self._code, self._on_change = code, on_change
    self._device = str(backend.hardware().get("device", backend.name()))
    self._estimates: dict[str, float | None] = {}
    self._stale = self._stale_states()
    self._is_timed_out = False

  def work(self) -> None:
    """Runs cells until none is left that this worker can run.

    Raises:
      PreemptedError: where the process was asked to stop; the cell is given back.
    """
    timer = None
    if self._limits.max_minutes:
      timer = threading.Timer(60 * self._limits.max_minutes, self._time_is_up)
      timer.daemon = True
      timer.start()
    try:
      with StopRequest() as stop:
        while not stop and not self._is_timed_out:
          found = self._next()
          if found is None:
            return
          if found == "wait":
            time.sleep(_POLL_SECONDS)
            continue
          self._run(*found)
          self._on_change(self._ledger.states(self._cells))
      if not self._is_timed_out:
        raise PreemptedError("Stopped by SIGTERM; the same command goes on with the cells left.")
      logging.info("max_minutes=%g are over.", self._limits.max_minutes)
    finally:
      if timer is not None:
        timer.cancel()

  def _next(self) -> tuple[Cell, Lease] | str | None:
    """A cell to run, with its lease; "wait" where others run cells; None where none is left."""
    states = {name: self._current(name) for name in self._cells}
    is_waiting = False
    for name, cell in self._cells.items():
      if states[name]["state"] in FINISHED:
        continue
      if (reason := self._hindrance(cell, states)) is not None:
        if reason:
          self._give_up(cell, reason)
          states[name] = self._current(name)
        else:
          is_waiting = True
        continue
      lease = self._ledger.take(name)
      if lease is None:
        is_waiting = True
        continue
      if (state := self._ledger.state(name)) is not None:
        if not self._is_stale(name, state):
          lease.release()  # it was finished between the look and the take
          continue
        self._ledger.forget(lease)
        self._stale.pop(name, None)
      return cell, lease
    return "wait" if is_waiting else None

  def _hindrance(self, cell: Cell, states: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why a cell cannot run: "" for not yet, a sentence for never; None where it can."""
    for name in cell.needs:
      state = states[name]["state"]
      if state not in FINISHED:
        return ""
      if state != "done":
        return f"It needs {name}, which is {state}."
    if any(states[name]["state"] not in FINISHED for name in cell.sets):
      return ""
    if cell.sets and not any(states[name]["state"] == "done" for name in cell.sets):
      return "None of the sets that it evaluates was made."
    return None

  def _run(self, cell: Cell, lease: Lease) -> None:
    """Runs a cell and records what came of it."""
    lease.when_lost(_ask_to_stop)
    seconds = self._estimate(cell)
    limit = 60 * self._limits.max_cell_minutes
    facts = {"estimate_seconds": seconds, "device": self._device, "code": self._code}
    if (deaths := self._ledger.num_deaths(cell.name)) >= self._limits.max_attempts:
      self._finish(lease, facts | {"state": "failed", "error": f"{deaths} workers died in it."})
      return
    if limit and seconds is not None and seconds > limit:
      logging.info("%s is too dear here: %s.", cell.name, duration(seconds))
      self._finish(lease, facts | {"state": "too dear"})
      return
    logging.info("Cell %s.", cell.name)
    self._ledger.note("began", cell.name, generation=lease.generation)
    started = time.monotonic()
    try:
      self._call(cell)
    except PreemptedError:
      lease.release()
      self._ledger.note("left", cell.name)
      if lease.is_lost:
        logging.warning("Another worker has taken over %s.", cell.name)
      elif not self._is_timed_out:
        raise
      return
    except Exception as error:
      self._finish(lease, facts | {"state": "failed", "error": self._sentence(cell, error)})
      return
    except BaseException:  # an interrupt
      lease.release()
      raise
    finally:
      jax.clear_caches()  # compiled programs of a cell are in the cache on disk
      gc.collect()
    self._finish(lease, facts | {"state": "done", "seconds": time.monotonic() - started})

  def _call(self, cell: Cell) -> None:
    folder, config, overwrite = self._ledger.folder / "cells" / cell.name, cell.config, False
    if cell.sets:
      made = [name for name in cell.sets if self._current(name)["state"] == "done"]
      config = config.copy_and_resolve_references().unlock()
      config.distilled = ",".join(str(self._ledger.folder / "cells" / name) for name in made)
      overwrite = (folder / CONFIG_NAME).exists() and self._limits.retries_failed
    packed = [name for name in cell.needs if self._cells[name].role == "data"]
    if packed:
      config = config.copy_and_resolve_references().unlock()
      config.data.data_dir = str((self._ledger.folder / "cells" / packed[0]).absolute())
    self._runs.run(cell.task, config, folder, overwrite)

  def _finish(self, lease: Lease, state: dict[str, Any]) -> None:
    if self._ledger.finish(lease, state):
      self._ledger.note(state["state"], lease.name)
    else:
      logging.warning("%s was finished by another worker.", lease.name)

  def _give_up(self, cell: Cell, reason: str) -> None:
    """Records a cell that cannot run, where nobody has yet."""
    lease = self._ledger.take(cell.name)
    if lease is not None:
      if self._is_stale(cell.name, self._ledger.state(cell.name) or {}):
        self._ledger.forget(lease)
        self._stale.pop(cell.name, None)
      facts = {"state": "failed", "error": reason, "device": self._device, "code": self._code}
      self._finish(lease, facts)

  def _sentence(self, cell: Cell, error: Exception) -> str:
    """What went wrong; the traceback of what nobody foresaw lies beside the states."""
    if isinstance(error, self._runs.expected):
      logging.error("Cell %s: %s", cell.name, error)
      return str(error)
    path = self._ledger.folder / "states" / f"{cell.name}.log"
    atomic.write_text(path, "".join(traceback.format_exception(error)))
    logging.error("Cell %s: %s: %s. See %s.", cell.name, type(error).__name__, error, path)
    return f"{type(error).__name__}: {error}"

  def _estimate(self, cell: Cell) -> float | None:
    """Seconds that a cell takes here; those of another seed where it was asked for before."""
    key = cell.cost_key
    if key not in self._estimates:
      try:
        self._estimates[key] = None if cell.sets else self._runs.estimate(cell.task, cell.config)
      except Exception as error:  # an estimate only informs
        logging.warning("The cost of %s is not known (%s).", cell.name, error)
        self._estimates[key] = None
    return self._estimates[key]

  def _current(self, name: str) -> dict[str, Any]:
    """The state of a cell as this worker sees it: one that it may run again is waiting."""
    state = self._ledger.state(name)
    if state is None or self._is_stale(name, state):
      return {"state": "waiting"}
    return state

  def _stale_states(self) -> dict[str, dict[str, Any]]:
    """What was recorded before this worker began and may be tried again by it."""
    found = {}
    for name in self._cells:
      state = self._ledger.state(name) or {}
      is_other_device = state.get("state") == "too dear" and (
        state.get("device") != self._device or not self._is_too_dear(state)
      )
      if is_other_device or (self._limits.retries_failed and state.get("state") == "failed"):
        found[name] = state
    return found

  def _is_too_dear(self, state: Mapping[str, Any]) -> bool:
    limit = 60 * self._limits.max_cell_minutes
    return bool(limit) and (state.get("estimate_seconds") or 0.0) > limit

  def _is_stale(self, name: str, state: Mapping[str, Any]) -> bool:
    return bool(state) and self._stale.get(name) == state

  def _time_is_up(self) -> None:
    self._is_timed_out = True
    _ask_to_stop()


def _ask_to_stop() -> None:
  """What a scheduler does: the cell saves at its next step and gives control back."""
  os.kill(os.getpid(), signal.SIGTERM)
