"""A table as plain data, and as Markdown.

A table is {"columns": [{"name", "kind"}, ...], "rows": [[cell, ...], ...]}, as in `study.json`.
A cell is None, a text, a number, or a measured value {"value", "low", "high"} with the ends of its
interval. Numbers of the kind `signed` carry their sign.
"""

import math
from typing import Any, Mapping, Sequence

Table = Mapping[str, Any]


def make(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Table:
  """A table of columns {heading: kind}."""
  return {
    "columns": [{"name": name, "kind": kind} for name, kind in columns.items()],
    "rows": [list(row) for row in rows],
  }


def figure(value: float, digits: int = 3) -> str:
  """`.281`, `−.140`, `1`: a fraction without the zero before its point."""
  text = f"{abs(value):.{digits}f}"
  if text == "1.000":
    text = "1"
  return ("−" if math.copysign(1, value) < 0 else "") + text.removeprefix("0")


def signed(value: float, digits: int = 3) -> str:
  """`figure` with its sign: `+.140`."""
  text = figure(value, digits)
  return text if text.startswith("−") else f"+{text}"


def cell_text(cell: Any, kind: str) -> str:
  """One cell as Markdown; nothing for None."""
  if cell is None:
    return ""
  if isinstance(cell, str):
    return cell.replace("|", "\\|")
  if isinstance(cell, Mapping):
    value = cell_text(cell["value"], kind)
    if cell.get("low") is None:
      return value
    note = f", {cell['note']}" if cell.get("note") else ""
    return f"{value} [{figure(cell['low'])}, {figure(cell['high'])}]{note}"
  if kind == "signed":
    return signed(cell)
  if kind == "number":
    return figure(cell)
  if kind == "count":
    return f"{cell:d}"
  if kind in ("seconds", "milliseconds"):
    return f"{cell:.1f}" if kind == "seconds" else f"{1000 * cell:.2f}"
  return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def markdown(table: Table) -> str:
  """The table as Markdown, a line a row."""
  kinds = [column["kind"] for column in table["columns"]]
  lines = [
    f"| {' | '.join(column['name'] for column in table['columns'])} |",
    "|" + "---|" * len(kinds),
  ]
  for row in table["rows"]:
    if len(row) != len(kinds):
      raise ValueError(f"A row has {len(row)} cells for {len(kinds)} columns: {row}")
    cells = [cell_text(cell, kind) for cell, kind in zip(row, kinds)]
    lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |"))
  return "\n".join(lines)


def matching(table: Table, where: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Rows as {heading: cell} whose cells equal those of `where`."""
  names = [column["name"] for column in table["columns"]]
  rows = [dict(zip(names, row)) for row in table["rows"]]
  return [row for row in rows if all(row.get(name) == value for name, value in where.items())]
