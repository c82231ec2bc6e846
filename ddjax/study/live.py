"""A study in the terminal: its cells by state, and the time that is left."""

import collections
import contextlib
import sys
import threading
import time
from typing import Any, Iterator, Mapping, Sequence

from absl import logging
import rich.console
import rich.live
import rich.table

from ddjax.study.cell import Cell
from ddjax.study.ledger import FINISHED, Ledger
from ddjax.training import progress
from ddjax.wording import counted, duration

STATES = ("done", "running", "waiting", "failed", "too dear")
_SECONDS = 1.0  # between two looks at the folder


def summary(cells: Sequence[Cell], states: Mapping[str, Mapping[str, Any]]) -> str:
  """How many cells are in which state, and why those that failed did, as text."""
  counts = collections.Counter(states[cell.name]["state"] for cell in cells)
  lines = [", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])]
  for cell in cells:
    state = states[cell.name]
    if state["state"] == "failed":
      lines.append(f"  {cell.name} failed: {state['error']}")
    elif state["state"] == "too dear":
      seconds = state["estimate_seconds"]  # None where it needs one that is too dear
      reason = state["error"] if seconds is None else duration(seconds)
      lines.append(f"  {cell.name} is too dear here: {reason}")
  return "\n".join(lines)


def seconds_left(cells: Sequence[Cell], states: Mapping[str, Mapping[str, Any]]) -> float:
  """What is left, by the cells of the same kind that are done; NaN before there is one.

  Divided by the number of cells that run now.
  """
  taken = collections.defaultdict(list)
  for cell in cells:
    if states[cell.name]["state"] == "done" and states[cell.name]["seconds"] is not None:
      taken[cell.role, cell.factors["method"]].append(states[cell.name]["seconds"])
      taken[None].append(states[cell.name]["seconds"])
  if not taken:
    return float("nan")
  left = 0.0
  for cell in cells:
    if states[cell.name]["state"] not in FINISHED:
      like = taken.get((cell.role, cell.factors["method"])) or taken[None]
      left += sum(like) / len(like)
  running = sum(states[cell.name]["state"] == "running" for cell in cells)
  return left / max(running, 1)


def table(
  cells: Sequence[Cell], states: Mapping[str, Mapping[str, Any]], line: str = ""
) -> rich.table.Table:
  """Methods down, states across; `line` is what this worker does now."""
  rows = collections.defaultdict(collections.Counter)
  for cell in cells:
    rows[_row(cell)][states[cell.name]["state"]] += 1
  counts = collections.Counter(states[cell.name]["state"] for cell in cells)
  text = f"{counts['done']} of {counted(len(cells), 'cell')} done"
  if any(state not in FINISHED for state in counts):
    left = seconds_left(cells, states)
    known = left == left  # NaN is not
    text += f", about {duration(left)} left" if known else ", time left not known yet"
  made = rich.table.Table(title=text, caption=line or None, title_justify="left")
  made.add_column("cells")
  for state in STATES:
    made.add_column(state, justify="right")
  for name, row in rows.items():
    made.add_row(name, *(str(row[state] or "") for state in STATES))
  return made


def watch(cells: Sequence[Cell], ledger: Ledger) -> None:
  """Shows the table until every cell has ended or the user interrupts; runs nothing."""
  names = [cell.name for cell in cells]
  console = rich.console.Console(stderr=True)
  with rich.live.Live(console=console, auto_refresh=False) as screen:
    while True:
      states = ledger.states(names)
      screen.update(table(cells, states), refresh=True)
      if all(state["state"] in FINISHED for state in states.values()):
        return
      time.sleep(_SECONDS)


@contextlib.contextmanager
def shown(cells: Sequence[Cell], ledger: Ledger) -> Iterator[None]:
  """Shows the table on a terminal while the block runs; log lines pass above it."""
  if not sys.stderr.isatty():
    yield
    return
  names, line, ended = [cell.name for cell in cells], [""], threading.Event()
  console = rich.console.Console(stderr=True)
  handler = logging.get_absl_handler()
  before = handler.python_handler.stream
  with (
    rich.live.Live(console=console, auto_refresh=False) as screen,
    progress.told_to(lambda text: line.__setitem__(0, text)),
  ):

    def refresh() -> None:
      while not ended.wait(_SECONDS):
        screen.update(table(cells, ledger.states(names), line[0]), refresh=True)

    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    handler.python_handler.setStream(sys.stderr)  # which the live table has taken over
    try:
      yield
    finally:
      handler.python_handler.setStream(before)
      ended.set()
      thread.join()
      screen.update(table(cells, ledger.states(names)), refresh=True)


def _row(cell: Cell) -> str:
  factors = cell.factors
  words = [str(factors["method"]), str(factors["dataset"])]
  if cell.role == "curve":
    words.append("further sizes")
  elif cell.role == "steps":
    words.append("so many steps")
  elif factors.get("ipc") is not None:
    words.append(f"ipc {factors['ipc']}")
  return " ".join(words)
