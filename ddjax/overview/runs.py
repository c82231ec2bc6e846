"""What a run folder holds, in short: read from its files, whoever is at work in it.

Nothing is written and no lock is taken, so that running runs are not disturbed. A file that cannot
be read makes a run "damaged", never an error.
"""

import json
import os
from pathlib import Path
import time
from typing import Any, Iterator, Mapping, NamedTuple

from ddjax.files import locks
from ddjax.io.comparisons import Level, comparisons, run_title, words
from ddjax.io.report import HTML_NAME
from ddjax.stages.run_folder import CONFIG_NAME, LOCK_NAME, REPORT_NAME, steps_done

STATES = ("finished", "running", "unfinished", "damaged")
_STUDY_NAME, _STUDY_PAGE = "study.json", "study.html"
_WATCHED = (REPORT_NAME, _STUDY_NAME, "metrics.jsonl", "checkpoints", CONFIG_NAME)
"""What tells when a run was last at work: report, metrics, checkpoints."""
_ACCURACIES = ("kernel", "accuracy")
_DEPTH = 3  # folders between the one that is listed and a run
_STUDY_LEASE_SECONDS = 120.0
_AT_WORK = ("waiting", "running")  # states of a study's cells that are not done


class Run(NamedTuple):
  """One run folder.

  Attributes:
    path: its folder.
    title: what it is of, in words; empty where it is damaged.
    task: distill, evaluate, study, ...; empty where that is not known.
    method, dataset: names, or empty.
    ipc, seed: or None.
    state: one of `STATES`. "running" is known for processes of this machine alone.
    detail: how far it went, or what is wrong with it; may be empty.
    date: when it was last at work, seconds since 1970.
    figures: its accuracies with their 95 % intervals, labelled by predictor; none before the end.
    page: name of its page in the folder, or empty.
    config: its plain config, {} where that is not known.
  """

  path: Path
  title: str
  task: str = ""
  method: str = ""
  dataset: str = ""
  ipc: int | None = None
  seed: int | None = None
  state: str = "unfinished"
  detail: str = ""
  date: float = 0.0
  figures: tuple[Level, ...] = ()
  page: str = ""
  config: Mapping[str, Any] = {}


def is_run(folder: Path) -> bool:
  """Whether a folder is that of a run: its `config.json` is ours, or damaged."""
  try:
    content = json.loads((folder / CONFIG_NAME).read_text())
  except ValueError:
    return (folder / LOCK_NAME).exists()
  except OSError:
    return False
  return isinstance(content, dict) and isinstance(content.get("config"), dict)


def find_runs(folder: str | os.PathLike, depth: int = _DEPTH) -> Iterator[Path]:
  """Run folders below a folder, in alphabetical order; not the cells of a study.

  Args:
    folder: that is searched.
    depth: levels of folders that are entered in search of runs.
  """
  try:
    entries = sorted(entry for entry in Path(folder).iterdir() if entry.is_dir())
  except OSError:
    return
  for entry in entries:
    if entry.name.startswith("."):
      continue
    if is_run(entry):
      yield entry
    elif depth > 1 and not entry.is_symlink():
      yield from find_runs(entry, depth - 1)


def read_runs(folder: str | os.PathLike) -> list[Run]:
  """The runs below a folder, the latest first."""
  runs = [read_run(path) for path in find_runs(folder)]
  return sorted(runs, key=lambda run: (-run.date, run.path))


def read_run(folder: str | os.PathLike) -> Run:
  """The short form of a run folder.

  Raises:
    FileNotFoundError: for a folder that is none of a run.
  """
  folder = Path(folder)
  if not is_run(folder):
    raise FileNotFoundError(f"{folder} is no run folder: it has no {CONFIG_NAME} of ddjax.")
  try:
    return _read(folder)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    is_named = isinstance(error, _DamagedError)
    reason = str(error) if is_named else f"{type(error).__name__}: {error}"
    return Run(folder, "", state="damaged", detail=" ".join(reason.split()), date=_date(folder))


class _DamagedError(ValueError):
  """A file of the run cannot be read; says which and why."""


def _read(folder: Path) -> Run:
  config = read_json(folder / CONFIG_NAME)["config"]
  run = Run(
    folder,
    title="",
    task=config.get("task") or "",
    method=config.get("method") or "",
    dataset=(config.get("data") or {}).get("name") or "",
    ipc=(config.get("synthetic") or {}).get("ipc"),
    seed=config.get("seed"),
    date=_date(folder),
    config=config,
  )
  if run.task == "study":
    return _of_study(run)
  is_running = locks.is_held(folder / LOCK_NAME)
  if (folder / REPORT_NAME).exists():
    report = read_json(folder / REPORT_NAME)
    facts = report["run"]
    run = run._replace(
      title=run_title(facts),
      method=facts.get("method") or run.method,
      dataset=facts.get("dataset") or run.dataset,
      ipc=facts.get("ipc") if facts.get("ipc") is not None else run.ipc,
      figures=tuple(main_figures(report)),
      page=HTML_NAME if (folder / HTML_NAME).exists() else "",
    )
    state = "running" if is_running else "finished"
    return run._replace(state=state, detail="its report is made anew" if is_running else "")
  length = (config.get("outer") or {}).get("num_steps")
  title = run_title(run._asdict() | {"num_steps": length, "num_replicas": None})
  steps, detail = steps_done(folder), ""
  if run.task == "distill" and length:
    detail = f"step {steps} of {length}" + ", no report yet" * (steps >= length)
  state = "running" if is_running else "unfinished"
  return run._replace(title=title, state=state, detail=detail)


def main_figures(report: Mapping[str, Any]) -> list[Level]:
  """The accuracies that stand for a run: of the kernel predictor, of the first network.

  Args:
    report: what `report.json` holds.
  Returns:
    their levels, labelled "kernel", "ConvNet" and so on; where a report has neither, the first
    figure that it has.
  """
  rows = [row for row in comparisons(report["reports"]) if row.distilled.value is not None]
  found = []
  for name in _ACCURACIES:
    of_report = [row for row in rows if row.report == name]
    for row in of_report[:1]:
      found.append(row.distilled._replace(label="kernel" if name == "kernel" else words(row.key)))
  if not found:
    for row in rows[:1]:
      found.append(row.distilled._replace(label=f"{words(row.report)}: {words(row.key)}"))
  return found


def _of_study(run: Run) -> Run:
  """A study by its tables, which its workers write as cells end."""
  preset = run.config.get("preset") or ""
  run = run._replace(title=f"study {preset}".strip(), method="study")
  axes = run.config.get("axes") or {}
  run = run._replace(dataset=", ".join(map(str, axes.get("dataset") or ())), seed=None)
  is_running = _is_worked_on(run.path)
  if not (run.path / _STUDY_NAME).exists():
    return run._replace(state="running" if is_running else "unfinished", detail="no cell is done")
  study = read_json(run.path / _STUDY_NAME)
  counts = {str(state): int(count) for state, count in study["counts"].items()}
  is_done = not any(counts.get(state) for state in _AT_WORK)
  return run._replace(
    title=study["title"],
    state="finished" if is_done else "running" if is_running else "unfinished",
    detail=f"{sum(counts.values())} cells: "
    + ", ".join(f"{count} {state}" for state, count in counts.items() if count),
    page=_STUDY_PAGE if (run.path / _STUDY_PAGE).exists() else "",
  )


def _is_worked_on(study: Path) -> bool:
  """Whether a worker of a study has renewed its hold on a cell of late."""
  now = time.time()
  ages = [now - _modified(lease) for lease in study.glob("leases/*")]
  return any(age < _STUDY_LEASE_SECONDS for age in ages)


def _date(folder: Path) -> float:
  """When a run was last at work: at its report, else at its metrics or checkpoints."""
  if (folder / REPORT_NAME).exists():
    return _modified(folder / REPORT_NAME)
  return max(_modified(folder / name) for name in _WATCHED)


def _modified(path: Path) -> float:
  """In seconds since 1970; 0 where the file is gone."""
  try:
    return path.stat().st_mtime
  except OSError:
    return 0.0


def read_json(path: Path) -> dict[str, Any]:
  """The content of a JSON file of a run.

  Raises:
    ValueError: naming the file, where it is damaged.
  """
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise _DamagedError(f"{path.name} cannot be read: {error}") from error
