"""The finished study of `docs/results/study-digits/`: its answers and its tables."""

import json
import pathlib
from typing import Any, Mapping, Sequence

from docs.tools import h200


def text(path: pathlib.Path = h200.FOLDER / "study-digits" / "study.json") -> str:
  """Questions, answers and tables of a `study.json` as Markdown.

  Args:
    path: of the file.
  """
  study = json.loads(path.read_text())
  labels = {
    item["name"]: item.get("label", item["name"])
    for section in study["sections"]
    for item in (*section["tables"], *section["figures"])
  }
  parts = [
    f"{study['title']}. {study['progress']}{_where(study)}",
    "[The page](study-digits/study.html), [the figures of every cell](study-digits/study.csv).",
  ]
  for section in study["sections"]:
    parts += [f"## {section['question']}", section["answer"], *_list(section["points"])]
    parts += section["notes"]
    for table in section["tables"]:
      parts += [f"**{labels[table['name']]}.** {table['caption']}", _table(table, labels)]
    for figure in section["figures"]:
      if (path.parent / "figures" / f"{figure['name']}.png").exists():
        parts += [
          f"![{figure['alt']}](study-digits/figures/{figure['name']}.png)",
          f"**{labels[figure['name']]}.** {figure['caption']}",
        ]
  return "\n\n".join(parts)


def _where(study: Mapping[str, Any]) -> str:
  """The machines and the days, where the cells wrote them down."""
  days = " to ".join(study.get("days", ()))
  return f" On {'; '.join(study['hardware'])}, {days}." if days else ""


def _list(points: Sequence[str]) -> list[str]:
  return ["\n".join(f"- {point}" for point in points)] if points else []


def _table(table: Mapping[str, Any], labels: Mapping[str, str]) -> str:
  from ddjax.study.page import cell_text  # what the study's own page writes numbers with

  columns = table["columns"]
  lines = [f"| {' | '.join(column['name'] for column in columns)} |", "|" + "---|" * len(columns)]
  for row in table["rows"]:
    cells = [cell_text(cell, column["kind"], labels) for cell, column in zip(row, columns)]
    texts = [f"{cell['main']} {cell['soft']}".strip().replace("|", "\\|") for cell in cells]
    lines.append(f"| {' | '.join(texts)} |")
  return "\n".join(lines)
