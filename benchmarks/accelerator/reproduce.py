"""Published rows, the most valuable for their time first, each an ordinary run of ddjax."""

import json
from pathlib import Path
import time
import tomllib
from typing import Any, Iterable, NamedTuple

from benchmarks.accelerator import results as results_file
from benchmarks.accelerator.processes import Running, stopped_together
from benchmarks.accelerator.results import Results
from ddjax.stages.run_folder import steps_done

ROWS = Path("docs/results/rows.toml")
DONE = Path("docs/results")
_H200_FLOPS = 4.0e14
"""Products of the GPU that the estimates are of, as `probe --speed` measures them by default."""


class Row(NamedTuple):
  """A row of a published table.

  Attributes:
    name: short, also of the run folder.
    config: what `--config` takes.
    options: further flags of `ddjax.main`.
    method: as in the table.
    data: data set.
    ipc: images per class.
    seed: of the run.
    published: test accuracy, or None where none is published.
    source: of the published figure.
    figure: [evaluator, key] of ours.
    steps: of the whole distillation.
    gpu_seconds: estimate on one H200; 0 where it is for CPUs.
    cpu_seconds: estimate on two CPU cores; 0 for never.
    other_share: of either, what is no step: start, compilation, evaluation.
    done_in: a file of docs/results in another form that has the row whole; it is not run again.
  """

  name: str
  config: str
  method: str
  data: str
  ipc: int
  figure: list[str]
  options: list[str] = []
  seed: int = 0
  published: float | None = None
  source: str = ""
  steps: int = 0
  gpu_seconds: float = 0.0
  cpu_seconds: float = 0.0
  other_share: float = 0.4
  done_in: str = ""

  @property
  def flags(self) -> list[str]:
    """Of `ddjax.main`, the run folder apart."""
    return [f"--config={self.config}", f"--config.seed={self.seed}", *self.options]


def read_rows(path: Path = ROWS) -> list[Row]:
  """The table, in its order.

  Raises:
    ResultsError: for a table that cannot be read.
  """
  try:
    return [Row(**row) for row in tomllib.loads(path.read_text())["row"]]
  except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
    raise results_file.ResultsError(f"{path} cannot be read: {error}") from error


def finished_elsewhere(folder: Path | None = None) -> set[str]:
  """Names of rows that a results file of the docs (or of another folder) has whole."""
  names: set[str] = set()
  for path in sorted((folder or DONE).glob("*.json")):
    try:
      rows = json.loads(path.read_text()).get("reproduce", {})
    except (OSError, ValueError, AttributeError):
      continue  # another kind of file
    names |= {name for name, row in rows.items() if row.get("done")}
  return names


def run(
  results: Results,
  rows: Iterable[Row],
  runs: Path,
  device: str,
  log: str,
  deadline: float,
  at_once: int,
) -> None:
  """Runs the rows whose estimate fits into what is left, `at_once` at a time.

  Args:
    results: where rows go, the moment they are there.
    rows: in order of worth.
    runs: the folder of run folders; a row that was cut short goes on there.
    device: "cpu", "gpu" or "tpu".
    log: of messages.
    deadline: of `time.monotonic()`.
    at_once: how many side by side.
  """
  elsewhere = finished_elsewhere()
  waiting = [row for row in rows if not results.is_done("reproduce", row.name)]
  started: list[Running] = []
  active: list[tuple[Row, Running]] = []
  with stopped_together(started):
    while waiting or active:
      while waiting and len(active) < at_once:
        row = waiting.pop(0)
        if row.done_in or row.name in elsewhere:
          results.add("reproduce", row.name, {"state": "in docs/results already", "done": False})
          continue
        whole = estimated_seconds(row, device, results.content["speed"])
        wanted = whole * share_left(row, steps_done(runs / row.name))
        left = deadline - time.monotonic()
        if not wanted or wanted > left:
          before = results.content["reproduce"].get(row.name, {})
          reason = _not_run(row, runs, wanted, left)
          results.add("reproduce", row.name, reason | {"problem": before.get("problem", "")})
          continue
        arguments = [f"--workdir={runs / row.name}", *row.flags]
        started.append(Running("ddjax.main", arguments, log, deadline))
        active.append((row, started[-1]))
      for row, running in list(active):
        if running.is_over():
          active.remove((row, running))
          results.add("reproduce", row.name, _result(row, runs / row.name, running.wait()))
      time.sleep(0.5)


def estimated_seconds(row: Row, device: str, speed: dict[str, Any]) -> float:
  """Seconds of a row here; 0 for a row that is not for this kind of device."""
  if device == "cpu":
    return row.cpu_seconds
  peak = speed.get("peaks", {}).get("cases", {}).get("flops_default")
  scale = max(1.0, _H200_FLOPS / peak) if peak else 1.0
  return row.gpu_seconds * scale


def share_left(row: Row, done: int) -> float:
  """Of a whole run, what one takes that goes on after so many steps: the other steps, and what is
  no step."""
  if not row.steps:
    return 1.0
  return row.other_share + (1 - row.other_share) * max(0.0, 1 - done / row.steps)


def _facts(row: Row) -> dict[str, Any]:
  return {
    "method": row.method,
    "data": row.data,
    "ipc": row.ipc,
    "seed": row.seed,
    "published": row.published,
    "source": row.source,
    "command": " ".join(row.flags),
  }


def _not_run(row: Row, runs: Path, wanted: float, left: float) -> dict[str, Any]:
  if not wanted:
    why = "not for this kind of machine"
  else:
    why = f"needs about {wanted:.0f} s, {max(left, 0):.0f} s are left"
  steps = steps_done(runs / row.name)
  state = f"{steps} of {row.steps} steps; {why}" if steps else f"not run: {why}"
  return _facts(row) | {"state": state, "done": False}


def _result(row: Row, folder: Path, ended) -> dict[str, Any]:
  """The row's figure with its interval; what a run that did not finish has done."""
  facts = _facts(row) | {"seconds": ended.seconds}
  if ended.code:
    state = f"{steps_done(folder)} of {row.steps or 'its'} steps"
    problem = "" if ended.is_late else ended.last_line
    return facts | {"state": state, "problem": problem, "done": False}
  try:
    return facts | _figures(row, json.loads((folder / "report.json").read_text()))
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    problem = f"its report cannot be read ({type(error).__name__}: {error})"
    return facts | {"state": "without a figure", "problem": problem, "done": False}


def _figures(row: Row, report: dict[str, Any]) -> dict[str, Any]:
  """What a finished run's report holds of a row."""
  run, reports = report["run"], report["reports"]
  kind, key = row.figure
  gain = f"gain_over_random_{key}"
  steps = run.get("num_steps")
  is_whole = not row.steps or steps == row.steps
  return {
    "state": "finished" if is_whole else f"{steps} of {row.steps} steps",
    "done": is_whole,
    "ended": True,
    "ours": reports[kind]["scalars"].get(key),
    "interval": reports[kind]["interval"].get(key),
    "gain_over_random": reports[kind]["scalars"].get(gain),
    "gain_interval": reports[kind]["interval"].get(gain),
    "stage_seconds": run["seconds"],
    "estimates": run.get("estimates", {}).get("seconds"),
    "compilation": run.get("compilation"),
    "hardware": run.get("hardware"),
    "versions": run.get("versions"),
    "scalars": {name: one["scalars"] for name, one in reports.items()},
    "intervals": {name: one["interval"] for name, one in reports.items()},
  }
