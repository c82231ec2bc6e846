"""What the finished cells of a study hold, read from disk."""

import json
from pathlib import Path
from typing import Any, Collection, Mapping, NamedTuple, Sequence

import numpy as np

from ddjax.files import atomic
from ddjax.stages.run_folder import REPORT_NAME, SCORES_NAME

CELLS_NAME = "cells"
SCORES_FILE = "privacy.npz"
_DROPPED = ("roc", "coordinates", "classes", "confusion", "clopper_pearson", "config")
"""Settings that no table of a study shows, some of them large."""


class Record(NamedTuple):
  """A cell and what came of it.

  Attributes:
    name: of the cell, and of its folder.
    role: "method", "baseline", "curve", "full", "steps", "transfer", or one without figures.
    task: as in `config.task`.
    factors: {factor: value}; None where it does not apply.
    state: waiting, running, done, failed or too dear.
    error: a sentence, where there is one.
    seconds: that it took.
    estimate_seconds: that it was expected to take.
    device: on which it ran, in words.
    report: the content of `report.json`, None where there is none that can be read.
    code: the version that made it, see `ddjax.study.code`.
    finished: when, in UTC as ISO 8601 has it; None where it was not written down.
    scores: {"is_member": bool[s N], "SET/ATTACK": f[s N]} of its shadow runs.
  """

  name: str
  role: str
  task: str
  factors: dict[str, Any]
  state: str
  error: str | None = None
  seconds: float | None = None
  estimate_seconds: float | None = None
  device: str | None = None
  report: dict[str, Any] | None = None
  scores: dict[str, np.ndarray] | None = None
  code: str | None = None
  finished: str | None = None


def read_records(
  folder: Path,
  cells: Sequence[Any],
  states: Mapping[str, Mapping[str, Any]],
  attacks: Collection[str] = ("lira", "lira_offline", "loss"),
) -> list[Record]:
  """Reads the reports and scores of a study.

  A report that is missing or damaged becomes a record with an error, so that one bad folder never
  hides the others.

  Args:
    folder: of the study; its runs lie in `cells/NAME`.
    cells: objects with name, factors, role and task.
    states: {name: {"state", "error", "seconds", "estimate_seconds", "device", "code",
      "finished"}}; a cell that is missing here waits.
    attacks: whose scores on the distilled sets are read.
  Returns:
    a record for each cell, in order.
  """
  return [
    _read(folder / CELLS_NAME / cell.name, cell, states.get(cell.name) or {}, attacks)
    for cell in cells
  ]


def _read(folder: Path, cell: Any, state: Mapping[str, Any], attacks: Collection[str]) -> Record:
  record = Record(
    name=cell.name,
    role=cell.role,
    task=cell.task,
    factors=atomic.json_safe(dict(cell.factors)),
    state=state.get("state", "waiting"),
    error=state.get("error"),
    seconds=state.get("seconds"),
    estimate_seconds=state.get("estimate_seconds"),
    device=state.get("device"),
    code=state.get("code"),
    finished=state.get("finished"),
  )
  if record.state != "done" or cell.role == "data":
    return record
  report, reason = read_report(folder)
  if report is None:
    if cell.role == "experts":  # others build on its trajectories; the report holds its cost alone
      return record._replace(error=f"{reason}.")
    return record._replace(
      state="failed", error=f"{reason}; --config.retry_failed=True runs the cell again."
    )
  scores, error = None, record.error
  if "privacy" in report["reports"]:
    scores, error = _scores(folder / SCORES_NAME / SCORES_FILE, attacks)
  return record._replace(report=report, scores=scores, error=error)


def read_report(folder: Path) -> tuple[dict[str, Any] | None, str]:
  """The report of a run without what no study shows; None, and why, where it cannot be read."""
  try:
    return _slim(json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))), ""
  except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
    return None, f"its {REPORT_NAME} cannot be read ({type(error).__name__}: {error})"


def _scores(
  path: Path, attacks: Collection[str]
) -> tuple[dict[str, np.ndarray] | None, str | None]:
  """The scores on the distilled sets, or why there are none; without a file neither."""
  if not path.exists():
    return None, None
  wanted = {"is_member", *(f"distilled/{attack}" for attack in attacks)}
  try:
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files if name in wanted}
    shape = arrays["is_member"].shape
    if len(shape) != 2 or any(array.shape != shape for array in arrays.values()):
      raise ValueError(f"shapes {[array.shape for array in arrays.values()]}")
    return arrays, None
  except Exception as error:  # damage can surface as any error of zip, NumPy or the disk
    return None, f"its scores cannot be read ({type(error).__name__}: {error})"


def _slim(report: dict[str, Any]) -> dict[str, Any]:
  """A report without what is large and shown nowhere; raises where it has not the form of one."""
  if not isinstance(report["run"], dict) or not isinstance(report["reports"], dict):
    raise ValueError("it holds no run or no reports")

  def one(reports: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for name, content in reports.items():
      settings = {k: v for k, v in content["settings"].items() if k not in _DROPPED}
      needed = {key: content[key] for key in ("scalars", "interval", "per_model")}
      made[name] = {**content, **needed, "settings": settings}
    return made

  run = {key: value for key, value in report["run"].items() if key not in ("config", "versions")}
  out = {"run": run, "reports": one(report["reports"])}
  if "sets" in report:
    out["sets"] = [{**entry, "reports": one(entry["reports"])} for entry in report["sets"]]
  return out
