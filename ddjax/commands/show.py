"""`ddjax show FOLDER`: a run in short, or the runs below a folder."""

import os
from pathlib import Path

from ddjax.files.atomic import OutputError
from ddjax.io.comparisons import format_interval, format_number, words
from ddjax.io.report import summary_text
from ddjax.overview import page
from ddjax.overview.runs import Run, is_run, read_json, read_run, read_runs
from ddjax.stages.run_folder import REPORT_NAME
from ddjax.wording import duration, nearest

_ABOUT = {
  "report.html": "the report, for a browser",
  "report.json": "the same as data",
  "study.html": "the tables of the study, for a browser",
  "study.csv": "one row for each cell and figure",
  "study.json": "the same as data",
  "distilled": 'the distilled set: ddjax.load("{folder}")',
  "cells": "a run folder for each cell: ddjax show {folder}/cells",
  "figures": "the pictures of the report",
  "metrics.jsonl": "loss and accuracy over the steps",
  "tensorboard": "the same for TensorBoard",
  "checkpoints": "what a second start goes on from",
  "architectures.csv": "accuracy of each training set and architecture",
  "config.json": "every setting",
  "versions.txt": "versions of the packages",
}
_MOST_NAMES = 5


def text(folder: str) -> str:
  """The run in `folder`, or where it is no run the runs below it.

  Raises:
    FileNotFoundError: where there is neither, with the nearest name.
  """
  path = Path(folder)
  if path.is_file():
    raise FileNotFoundError(f"{folder} is a file. Name the run folder that it lies in.")
  if not path.is_dir():
    raise FileNotFoundError(f"There is no folder {folder!r}.{_near(path)}")
  return run_text(read_run(path)) if is_run(path) else folder_text(folder)


def _near(path: Path) -> str:
  """Names beside a folder that is not there."""
  try:
    names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
  except OSError:
    return ""
  close = nearest(path.name, names).partition(" Known:")[0]
  if close.startswith("Did you mean"):
    return f" {close}"
  beside = sorted(name for name in names if not name.startswith("."))[:_MOST_NAMES]
  return f" Beside it are {', '.join(beside)}." if beside else ""


def run_text(run: Run) -> str:
  """What a run was, how it ended, its figures and files."""
  state = f"{run.state} ({run.detail})" if run.detail else run.state
  lines = [run.title or run.path.name, f"State: {state}; last at work {page.date_text(run.date)}"]
  if run.state == "unfinished" and run.task != "study":
    lines.append("The command that began it goes on where it was left.")
  lines.append(f"Folder: {run.path}")
  if (run.path / REPORT_NAME).exists() and run.state != "damaged":
    report = read_json(run.path / REPORT_NAME)
    facts = report["run"]
    if seconds := facts.get("seconds"):
      stages = ", ".join(f"{words(name)} {duration(value)}" for name, value in seconds.items())
      lines.append(f"Time: {duration(sum(seconds.values()))} ({stages})")
    if hardware := facts.get("hardware"):
      lines.append(f"Hardware: {hardware.get('num_devices', 1)} x {hardware.get('device')}")
    lines.append(summary_text(report).partition("\n")[2])
  lines += ["", "Files:", *_files(run.path)]
  return "\n".join(lines)


def _files(folder: Path) -> list[str]:
  """What lies in a folder, with sizes and what it is for."""
  rows = []
  for entry in sorted(folder.iterdir(), key=lambda entry: _place(entry.name)):
    if not entry.name.startswith("."):
      name = entry.name + "/" * entry.is_dir()
      rows.append((name, size_text(_size(entry)), _ABOUT.get(entry.name, "")))
  width = max((len(name) for name, _, _ in rows), default=0)
  return [
    f"  {name:{width}}  {size:>8}  {about.format(folder=folder)}".rstrip()
    for name, size, about in rows
  ]


def _place(name: str) -> tuple[int, str]:
  """Files that have an explanation come first, in its order."""
  known = list(_ABOUT)
  return (known.index(name) if name in known else len(known)), name


def _size(entry: Path) -> int:
  """In bytes; of a folder all that is in it."""
  total = 0
  for place, _, files in os.walk(entry) if entry.is_dir() else [(entry.parent, [], [entry.name])]:
    for name in files:
      try:
        total += (Path(place) / name).lstat().st_size
      except OSError:
        continue  # gone meanwhile
  return total


def size_text(size: int) -> str:
  """`813 B`, `12 kB`, `1.5 MB`."""
  if size < 1000:
    return f"{size} B"
  scaled = float(size)
  for unit in ("kB", "MB", "GB", "TB"):
    scaled /= 1000
    if scaled < 999.5 or unit == "TB":
      return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:.0f} {unit}"
  raise AssertionError  # the last unit takes everything


def folder_text(folder: str) -> str:
  """The runs below a folder as a table; writes their page too.

  Raises:
    FileNotFoundError: for a folder that is not there, or without a run.
  """
  path = Path(folder)
  if not path.is_dir():
    raise FileNotFoundError(f"There is no folder {folder!r}.{_near(path)}")
  runs = read_runs(path)
  if not runs:
    raise FileNotFoundError(f"{folder} is no run folder, and no run lies below it.")
  rows = [("run", "method", "data", "ipc", "accuracy", "95 % interval", "date", "state")]
  for run in runs:
    first = run.figures[0] if run.figures else None
    rows.append(
      (
        run.path.relative_to(path).as_posix(),
        page.what(run),
        run.dataset,
        "" if run.ipc is None else str(run.ipc),
        "" if first is None else f"{format_number(first.value)} {first.label}",
        "" if first is None else format_interval(first.interval),
        page.date_text(run.date),
        f"{run.state} ({run.detail})" if run.detail else run.state,
      )
    )
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
  try:
    written = page.write_index(path)
    note = f"Page: {written}" if written else f"{path / page.HTML_NAME} is another page; it stays."
  except OutputError as error:
    note = f"The page could not be written. {error}"
  return "\n".join([f"{page.counted(runs)}.", "", *lines, "", note])
