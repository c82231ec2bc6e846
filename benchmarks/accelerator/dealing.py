"""The rows of `check`, dealt out over processes: compilation, not the device, is the work.

A process says `begin NAME` before each row and prints its JSON after. One that ends in the middle
of a row loses that row and no other: the rest goes on in a new process.
"""

import json
import os
import time
from typing import Callable, Sequence

from benchmarks.accelerator.processes import Ended, Running, stopped_together
from benchmarks.accelerator.results import Results, ResultsError

MODULE = "benchmarks.accelerator.check"
LATE = "stopped: out of time"
_BEGIN = "begin "
_MOST_PROCESSES = 7


class _Worker:
  """A process and the rows that are its own, in their order."""

  def __init__(self, names: Sequence[str], results: Results, start: Callable[..., Running]):
    self.names, self._results = list(names), results
    self.begun: str | None = None
    self._finished: set[str] = set()
    self.running = start([f"--rows={','.join(names)}"], self._on_line)

  def _on_line(self, line: str) -> None:
    if line.startswith(_BEGIN):
      self.begun = line.removeprefix(_BEGIN)
    elif line.startswith("{"):
      row = json.loads(line)
      self._finished.add(row["name"])
      self._results.add("check", row.pop("name"), row)

  def unfinished(self) -> list[str]:
    return [name for name in self.names if name not in self._finished]

  def rest_after(self, ended: Ended) -> list[str]:
    """Rows for a new process, once this one has ended; says why where rows are lost."""
    left = self.unfinished()
    if not left:
      return []
    if ended.is_late:
      for name in left:
        self._results.add_reason("check", name, LATE if name == self.begun else "no time left")
      return []
    problem = f"its process ended with {_ending(ended.code)}"
    problem += f": {ended.last_line}" if ended.last_line else ""
    if self.begun not in left:  # it never came to a row: no more would another
      for name in left:
        self._results.add_reason("check", name, problem)
      return []
    row = {"ok": False, "problem": problem, "seconds": ended.seconds, "done": False}
    self._results.add("check", self.begun, row)
    return [name for name in left if name != self.begun]


def run(results: Results, log: str, deadline: float, is_served_singly: bool) -> None:
  """Runs every row that is not there yet, until the deadline.

  Args:
    results: where rows go, the moment they are there.
    log: of messages.
    deadline: of `time.monotonic()`, for all processes.
    is_served_singly: whether the device serves one process at a time, as TPUs do.
  Raises:
    ResultsError: where the rows cannot be listed.
  """
  listing = Running(MODULE, ["--list"], log, deadline)
  ended = listing.wait()
  names = json.loads(listing.lines[-1]) if listing.lines and not ended.code else []
  if not names:
    raise ResultsError(f"the rows of `check` cannot be listed: {ended.last_line or LATE}")
  missing = [name for name in names if not results.is_done("check", name)]
  count = 1 if is_served_singly else max(1, min(_MOST_PROCESSES, (os.cpu_count() or 1) // 2))

  started: list[Running] = []

  def start(arguments, on_line):
    started.append(Running(MODULE, arguments, log, deadline, on_line))
    return started[-1]

  at_work: list[_Worker] = []
  with stopped_together(started):
    for part in dealt(missing, count):
      at_work.append(_Worker(part, results, start))
    while at_work:
      for worker in list(at_work):
        if not worker.running.is_over():
          continue
        ended = worker.running.wait()
        at_work.remove(worker)
        rest = worker.rest_after(ended)
        if ended.code and not ended.is_late:
          print(f"check: a process ended with {_ending(ended.code)}: {ended.last_line}", flush=True)
        if rest:
          at_work.append(_Worker(rest, results, start))
      time.sleep(0.1)
  results.save()


_SECONDS = {  # on an H200, 2026-11-27, compilation included; to deal them out evenly
  "method idc": 49.0,
  "evaluator privacy": 43.0,
  "method dsa": 37.0,
  "method dm": 36.0,
  "method dc": 36.0,
  "method mtt": 30.0,
  "method coreset": 27.0,
  "evaluator robustness": 30.0,
}
_OTHER_SECONDS = 15.0


def dealt(names: Sequence[str], count: int) -> list[list[str]]:
  """The rows in at most `count` parts of about equal seconds; in each part the longest first."""
  parts: list[list[str]] = [[] for _ in range(count)]
  seconds = [0.0] * count
  for name in sorted(names, key=lambda name: -_SECONDS.get(name, _OTHER_SECONDS)):
    least = seconds.index(min(seconds))
    parts[least].append(name)
    seconds[least] += _SECONDS.get(name, _OTHER_SECONDS)
  return [part for part in parts if part]


def _ending(code: int) -> str:
  return f"signal {-code}" if code < 0 else f"exit code {code}"
