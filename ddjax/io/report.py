"""`report.json`, the summary on a terminal, and `report.html` (drawn by `ddjax.io.page`).

All three are driven by what a `types.Report` holds: a new evaluator appears in each without a
change here.
"""

from collections.abc import Mapping, Sequence
import math
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ddjax.files import atomic
from ddjax.io import page
from ddjax.io.comparisons import (
  Comparison,
  comparisons,
  format_interval,
  format_number,
  format_signed,
  headlines,
  run_title,
  words,
)
from ddjax.types import Report
from ddjax.wording import counted

JSON_NAME = "report.json"
HTML_NAME = "report.html"


def report_to_json(
  run: Mapping[str, Any],
  reports: Mapping[str, Report],
  sets: Mapping[str, Mapping[str, Report]] = MappingProxyType({}),
) -> dict[str, Any]:
  """What `report.json` holds.

  Args:
    run: facts of the run, JSON-safe: method, dataset, ipc, seed, num_replicas, num_steps,
      class_names, workdir, config, versions, hardware, `seconds` ({stage: s}) and `estimates`
      (`estimates["seconds"]` by stage likewise). What is missing is left out of the page.
    reports: {name: Report}.
    sets: {label: reports} where several sets were evaluated, the first among them.
  Returns:
    {"run": {...}, "reports": {name: {"kind", "scalars", ...}}} of plain numbers, and with `sets` a
    list "sets" of {"label": ..., "reports": {...}} too. A scalar that is
    not finite is None, with the reason in `settings["not_measured"]`; an interval with such an end
    is left out.
  """

  def as_json(reports: Mapping[str, Report]) -> dict[str, Any]:
    return {name: _report_to_json(report) for name, report in reports.items()}

  out = {"run": atomic.json_safe(run), "reports": as_json(reports)}
  if sets:
    out["sets"] = [{"label": label, "reports": as_json(one)} for label, one in sets.items()]
  return out


def summary_text(report_json: Mapping[str, Any]) -> str:
  """The main figures of a report as a small aligned table for a terminal, one for each set."""
  lines = [run_title(report_json["run"])]
  num_more = 0
  for one in report_json.get("sets", [report_json]):
    shown = headlines(one["reports"])
    num_more += len(comparisons(one["reports"])) - len(shown)
    lines += ["", *([one["label"]] if "label" in one else []), *table_lines(one["reports"], shown)]
  if num_more:
    lines.append(f"{counted(num_more, 'more figure')} in the report.")
  return "\n".join(lines)


def table_lines(reports: Mapping[str, Any], shown: Sequence[Comparison] | None = None) -> list[str]:
  """Lines of figures with their random subset, and then what must be known of the figures.

  Args:
    reports: {name: report as JSON}.
    shown: the figures; None for all.
  """
  rows = [("figure", "value", "95 % interval", "random subset", "gain over random")]
  for row in comparisons(reports) if shown is None else shown:
    random = [level for level in row.baselines if level.label == "random subset"]
    gains = [gain for gain in row.gains if gain.label == "random subset"]
    rows.append(
      (
        f"{row.report} {words(row.key)}",
        format_number(row.distilled.value),
        format_interval(row.distilled.interval),
        format_number(random[0].value) if random else "",
        f"{format_signed(gains[0].value)} {format_interval(gains[0].interval)}" if gains else "",
      )
    )
  checks = [
    f"{words(name)}: {sentence}"
    for name, report in reports.items()
    for sentence in report["settings"].get("checks", [])
  ]
  return [*_aligned(rows), *checks]


def write_report(
  workdir: str | os.PathLike,
  run: Mapping[str, Any],
  reports: Mapping[str, Report],
  figures: Mapping[str, str | os.PathLike] | None = None,
  sets: Mapping[str, Mapping[str, Report]] = MappingProxyType({}),
) -> dict[str, Any]:
  """Writes `report.json` and the self-contained `report.html` into a run folder.

  Args:
    workdir: the run folder.
    run: as for `report_to_json`.
    reports: {name: Report}.
    figures: {name or caption: path of a PNG}, shown in this order.
    sets: as for `report_to_json`.
  Returns:
    what `report.json` holds.
  Raises:
    atomic.OutputError: where a file cannot be written; the earlier one stays.
  """
  report_json = report_to_json(run, reports, sets)
  html = page.render(report_json, figures or {}, _study_page(Path(workdir)))
  atomic.write_text(Path(workdir) / HTML_NAME, html)
  atomic.write_json(Path(workdir) / JSON_NAME, report_json)  # last: it marks the run as finished
  return report_json


def _study_page(workdir: Path) -> str:
  """The page of the study that a run folder is a cell of, seen from the folder; "" for none."""
  is_cell = workdir.parent.name == "cells" and (workdir.parent.parent / "study.html").exists()
  return "../../study.html" if is_cell else ""


def _report_to_json(report: Report) -> dict[str, Any]:
  """One report in plain numbers, with the reason of every figure that is missing."""
  out = atomic.json_safe(report._asdict())
  reasons = dict(out["settings"].get("not_measured", {}))
  for key, value in report.scalars.items():
    if value is not None and not math.isfinite(value):
      reasons.setdefault(key, f"the figure came out as {float(value)}")
    elif value is None:
      reasons.setdefault(key, "no reason given")
  if reasons:
    out["settings"]["not_measured"] = reasons
  out["interval"] = {key: ends for key, ends in out["interval"].items() if None not in ends}
  return out


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
  """Lines of a table: the first column to the left, the others to the right."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
    lines.append("  ".join(cells).rstrip())
  return lines
