"""`index.html` and `index.csv` of a folder of runs, such as `runs/`.

The page is made from the run folders alone, so it can be deleted and is made again. It only
informs: a failure to write it is a line in the log. Several runs may write it at once; each writes
the whole file under another name and renames it, and the last one wins.
"""

import contextlib
import csv
import io
import os
from pathlib import Path
import time
from typing import Any, Iterator, Sequence
from urllib.parse import quote

from absl import logging

from ddjax.config.compare import flatten
from ddjax.files import atomic
from ddjax.io.comparisons import format_interval, format_number
from ddjax.overview.runs import STATES, Run, read_runs

HTML_NAME, CSV_NAME = "index.html", "index.csv"
FOLDER_NAME = "runs"
"""A folder of this name gets the page after each run in it; others where they have one."""
_MARK = '<meta name="generator" content="ddjax: the runs of a folder">'
_COLUMNS = (
  "run", "task", "method", "dataset", "ipc", "seed", "state", "detail", "date", "figure", "value",
  "low", "high",
)  # fmt: skip
_LARGEST_PAGE = 10_000_000  # bytes of a page that is looked into


def write_index(folder: str | os.PathLike) -> Path | None:
  """Writes the page and the table of the runs below a folder.

  Args:
    folder: that holds run folders.
  Returns:
    the path of the page; None where another page of that name lies there, which stays.
  Raises:
    atomic.OutputError: where a file cannot be written; the earlier one stays.
  """
  folder = Path(folder)
  page = folder / HTML_NAME
  if page.exists() and not is_index(page):
    logging.warning("%s is no page of ddjax, so it stays as it is.", page)
    return None
  runs = read_runs(folder)
  atomic.write_text(page, render(runs, folder, time.time()))
  atomic.write_text(folder / CSV_NAME, as_csv(runs, folder))
  return page


def is_index(page: Path) -> bool:
  """Whether a page is one of this module."""
  try:
    return page.stat().st_size < _LARGEST_PAGE and _MARK in page.read_text(errors="replace")
  except OSError:
    return False


@contextlib.contextmanager
def listed(run: str | os.PathLike, is_writer: bool = True) -> Iterator[None]:
  """At the end of a run, however it ends, writes the page of the folder that it lies in.

  It does so where that folder is called `runs` or has such a page already.

  Args:
    run: the run folder.
    is_writer: false on all hosts but the first.
  """
  try:
    yield
  finally:
    if is_writer:
      _update(Path(run))


def _update(run: Path) -> None:
  try:
    folder = run.absolute().parent
    is_wanted = folder.name == FOLDER_NAME or is_index(folder / HTML_NAME)
    if is_wanted and run.is_dir():
      write_index(folder)
  except Exception as error:  # whatever it is, the run itself is done
    logging.warning("The list of runs could not be written (%s: %s).", type(error).__name__, error)


def render(runs: Sequence[Run], folder: Path, now: float) -> str:
  """The page as HTML.

  Args:
    runs: from `read_runs`.
    folder: that the page will lie in.
    now: when it is made, seconds since 1970.
  """
  import jinja2

  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("ddjax.overview", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  name = folder.absolute().name
  return environment.get_template("index.html.j2").render(
    mark=_MARK,
    title="Runs" if name == FOLDER_NAME else f"Runs in {name}",
    counted=counted(runs),
    written=date_text(now),
    csv_name=CSV_NAME,
    rows=[_row(run, folder) for run in runs],
  )


def counted(runs: Sequence[Run]) -> str:
  """`3 runs: 2 finished, 1 running`."""
  states = {state: sum(run.state == state for run in runs) for state in STATES}
  parts = [f"{count} {state}" for state, count in states.items() if count]
  return f"{len(runs)} run{'s' if len(runs) != 1 else ''}" + (f": {', '.join(parts)}" * bool(parts))


def what(run: Run) -> str:
  """The method; for other tasks than distilling, the task and the method of its sets."""
  if run.task in ("distill", "", run.method) or not run.method:
    return run.method or run.task
  if run.task.replace("_", " ") == run.method:
    return run.method
  return f"{run.task} {run.method}".replace("_", " ")


def date_text(seconds: float) -> str:
  """`2026-11-30 16:20` in this machine's time; empty where it is not known."""
  return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""


def _row(run: Run, folder: Path) -> dict[str, Any]:
  """What the template shows of a run."""
  name = _name(run, folder)
  return {
    "name": name,
    "link": quote(f"{name}/{run.page}" if run.page else f"{name}/"),
    "title": run.title,
    "what": what(run),
    "dataset": run.dataset,
    "ipc": "" if run.ipc is None else str(run.ipc),
    "figures": [
      (level.label, format_number(level.value), format_interval(level.interval))
      for level in run.figures
    ],
    "date": date_text(run.date),
    "state": run.state,
    "detail": run.detail,
  }


def as_csv(runs: Sequence[Run], folder: Path) -> str:
  """One row for each run and figure; further columns are settings that differ, not of studies."""
  configs = [flatten(run.config) if run.task != "study" else {} for run in runs]
  fields = sorted({name for config in configs for name in config if "." in name})
  varied = [
    name for name in fields if len({str(config.get(name)) for config in configs if config}) > 1
  ]
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow([*_COLUMNS, *varied])
  for run, config in zip(runs, configs, strict=True):
    start = [_name(run, folder), run.task, run.method, run.dataset, run.ipc, run.seed, run.state]
    start += [run.detail, date_text(run.date)]
    end = [config.get(name) for name in varied]
    for level in run.figures or (None,):
      figure = [None] * 4
      if level is not None:
        figure = [level.label, level.value, *(level.interval or [None, None])]
      table.writerow([_plain(value) for value in (*start, *figure, *end)])
  return text.getvalue()


def _name(run: Run, folder: Path) -> str:
  """A run's folder as seen from the one that is listed."""
  return run.path.relative_to(folder).as_posix()


def _plain(value: Any) -> Any:
  """Of a table: nothing for None, six digits for a number."""
  if value is None:
    return ""
  return f"{value:.6g}" if isinstance(value, float) else value
