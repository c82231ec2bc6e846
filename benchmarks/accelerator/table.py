"""The results as a table for people: `table.md`."""

from pathlib import Path
from typing import Any

from benchmarks.accelerator.results import PARTS, Results
from benchmarks.accelerator.speed import floor_seconds
from ddjax.files import atomic

NAME = "table.md"


def write(results: Results, folder: Path) -> None:
  """Writes the table beside the results."""
  atomic.write_text(folder / NAME, text(results.content))


def text(content: dict[str, Any]) -> str:
  """The three parts as Markdown."""
  facts = content["facts"]
  made = {row.get("commit") for part in PARTS for row in content[part].values()} - {None}
  commits = sorted(made) or [str(facts.get("commit"))]
  lines = [
    f"# {facts.get('device') or 'unknown device'}, commit {', '.join(commits)}",
    "",
    f"Backend {facts.get('backend')}, {facts.get('num_devices')} devices, "
    f"{facts.get('cpu_cores')} CPU cores; JAX {facts.get('versions', {}).get('jax')}. "
    f"Not installed: {', '.join(facts.get('missing', [])) or 'nothing'}.",
  ]
  lines += _check_lines(content["check"]) if content["check"] else []
  lines += _speed_lines(content["speed"]) if content["speed"] else []
  lines += _reproduce_lines(content["reproduce"]) if content["reproduce"] else []
  return "\n".join(lines) + "\n"


def _check_lines(rows: dict[str, Any]) -> list[str]:
  good = sum(bool(row.get("ok")) for row in rows.values())
  lines = ["", f"## check: {good} of {len(rows)} rows as on a CPU", ""]
  lines += ["| row | | seconds | compiling | problem |", "|---|---|---|---|---|"]
  for name, row in rows.items():
    state = "ok" if row.get("ok") else "FAILED" if "seconds" in row else "not run"
    cells = name, state, _seconds(row.get("seconds")), _seconds(row.get("compile_seconds"))
    lines.append(f"| {' | '.join(cells)} | {_cell(row.get('problem', ''))} |")
  return lines


def _speed_lines(rows: dict[str, Any]) -> list[str]:
  peaks = rows.get("peaks", {}).get("cases", {})
  lines = ["", "## speed", ""]
  if peaks:
    products = ", ".join(
      f"{name.removeprefix('flops_')} {value / 1e12:.3g}"
      for name, value in peaks.items()
      if name != "bytes"
    )
    lines += [f"Peaks: products {products} TFLOP/s; copies {peaks['bytes'] / 1e9:.0f} GB/s.", ""]
  lines += ["| case | ms | baseline, ms | ratio | over floor |", "|---|---|---|---|---|"]
  for name, row in rows.items():
    if name == "peaks":
      continue
    if not row.get("ok"):
      lines.append(f"| {name} | {_cell(row.get('problem', ''))} | | | |")
      continue
    for case, one in row["cases"].items():
      lines.append(f"| {name}: {case} | {_speed_cells(name, one, peaks)} |")
    lines += [f"| {_cell(remark)} | | | | |" for remark in row.get("remarks", [])]
  return lines


def _speed_cells(name: str, one: dict[str, Any], peaks: dict[str, float]) -> str:
  if "ours" not in one:  # of the convolutions: milliseconds by form
    forms = ", ".join(
      f"{form} {value:.3g}"
      for form, value in one.items()
      if form not in ("over_best", "low", "high")
    )
    return f"{forms} | | {one.get('over_best', '')} | "
  floor = floor_seconds(name, one, peaks)
  ratio = (
    "" if one["ratio"] is None else f"{one['ratio']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
  )
  theirs = "" if one["theirs"] is None else f"{1e3 * one['theirs']:.3f}"
  over = f"{one['ours'] / floor:.1f}" if floor else ""
  return f"{1e3 * one['ours']:.3f} | {theirs} | {ratio} | {over}"


def _reproduce_lines(rows: dict[str, Any]) -> list[str]:
  lines = ["", "## reproduce", ""]
  lines += [
    "| row | state | ours | gain over random | published | seconds |",
    "|---|---|---|---|---|---|",
  ]
  for name, row in rows.items():
    problem = f"; {row['problem']}" if row.get("problem") else ""
    cells = [
      name,
      _cell(row.get("state", "") + problem),
      _with_interval(row.get("ours"), row.get("interval")),
      _with_interval(row.get("gain_over_random"), row.get("gain_interval")),
      "" if row.get("published") is None else f"{row['published']:.3f}",
      _seconds(row.get("seconds")),
    ]
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def _with_interval(value: float | None, interval: list[float] | None, digits: int = 3) -> str:
  if value is None:
    return ""
  ends = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else ""
  return f"{value:.{digits}f}{ends}"


def _seconds(value: float | None) -> str:
  return "" if value is None else f"{value:.1f}"


def _cell(words: str) -> str:
  return words.replace("|", "/").replace("\n", " ")
