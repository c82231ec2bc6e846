"""`study.json`, `study.csv`, `figures/` and the self-contained `study.html` of a study.

All are made from what `ddjax.study.summary.summarise` gives, and again whenever cells finish. The
template is `templates/study.html.j2`.
"""

import base64
from collections.abc import Collection
import csv
import io
import json
from pathlib import Path
from typing import Any, Mapping

from absl import logging

from ddjax.files import atomic
from ddjax.io.comparisons import format_number, format_signed
from ddjax.io.report import HTML_NAME as REPORT
from ddjax.plots import figures, study_curves, study_marks
from ddjax.study.records import CELLS_NAME
from ddjax.study.section import REFERENCE
from ddjax.study.worth import count
from ddjax.wording import duration

JSON_NAME, CSV_NAME, HTML_NAME = "study.json", "study.csv", "study.html"
DRAWINGS = {
  "dots": study_marks.dots,
  "pareto": study_curves.pareto,
  "matrix": study_marks.matrix,
  "transfer": study_marks.transfer,
  "worth": study_curves.worth,
  "epsilon": study_curves.epsilon_panels,
  "parallel": study_curves.parallel,
}
"""Kinds of figures: (data) -> a Matplotlib figure."""
_COLUMNS = ("axis", "figure", "value", "low", "high", "num_models", "seconds")
_OPEN_ROWS = 40
_DENSE_COLUMNS = 11
"""A table with more columns than this breaks its intervals where it has to, to fit the page."""
_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def write(folder: Path, study: Mapping[str, Any]) -> list[Path]:
  """Writes everything that a study shows; the JSON last, for it marks the rest as whole.

  A figure that cannot be drawn is left out with a warning.

  Args:
    folder: of the study.
    study: from `summarise`.
  Returns:
    the files.
  Raises:
    atomic.OutputError: where a file cannot be written; the earlier one stays.
  """
  pictures = draw(study)
  paths = []
  for name, content in pictures.items():
    paths.append(folder / "figures" / f"{name}.png")
    atomic.write_bytes(paths[-1], content)
  atomic.write_text(folder / CSV_NAME, as_csv(study))
  with_page = [
    cell["name"]
    for cell in study["cells"]
    if (folder / CELLS_NAME / cell["name"] / REPORT).exists()
  ]
  atomic.write_text(folder / HTML_NAME, render(study, pictures, with_page))
  compact = json.dumps(atomic.json_safe(study), allow_nan=False, separators=(",", ":"))
  atomic.write_text(folder / JSON_NAME, compact + "\n")
  return [*paths, *(folder / name for name in (CSV_NAME, HTML_NAME, JSON_NAME))]


def draw(study: Mapping[str, Any]) -> dict[str, bytes]:
  """{name: PNG} of every figure that can be drawn."""
  made = {}
  for section in study["sections"]:
    for one in section["figures"]:
      try:
        made[one["name"]] = figures.as_png(DRAWINGS[one["kind"]](one["data"]))
      except Exception as error:  # Matplotlib's, or of figures that nobody foresaw
        logging.warning(
          "Figure %s could not be drawn (%s: %s); the page goes without it.",
          one["name"], type(error).__name__, error,
        )  # fmt: skip
  return made


def as_csv(study: Mapping[str, Any]) -> str:
  """One row for each cell and figure; a cell without figures has one row, with its state."""
  cells = study["cells"]
  factors = list(dict.fromkeys(name for cell in cells for name in cell["factors"]))
  text = io.StringIO()
  table = csv.writer(text, lineterminator="\n")
  table.writerow(["cell", "role", "state", "code", *factors, *_COLUMNS])
  for cell in cells:
    start = [cell["name"], cell["role"], cell["state"], cell["code"] or ""]
    start += [_plain(cell["factors"].get(name)) for name in factors]
    for row in cell["figures"] or [[None] * 6]:
      table.writerow([*start, *map(_plain, [*row, cell["seconds"]])])
  return text.getvalue()


def _plain(value: Any) -> Any:
  """Of a table: nothing for None, six digits for a number."""
  if value is None:
    return ""
  return f"{value:.6g}" if isinstance(value, float) else value


def render(
  study: Mapping[str, Any], pictures: Mapping[str, bytes], with_page: Collection[str] = ()
) -> str:
  """The page as HTML.

  Args:
    study: from `summarise`.
    pictures: {name: PNG}; they become part of the page.
    with_page: names of the cells whose report lies beside the page, for a link to it.
  """
  import jinja2

  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("ddjax.study", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {"cell": cell_text, "factors": _factors}
  labels = {
    item["name"]: item["label"]
    for section in study["sections"]
    for item in (*section["tables"], *section["figures"])
  }
  return environment.get_template("study.html.j2").render(
    study=study,
    labels=labels,
    pictures={
      name: "data:image/png;base64," + base64.b64encode(content).decode()
      for name, content in pictures.items()
    },
    left=[_left(cell) for cell in study["cells"] if _is_left(cell)],
    cells=[(cell, _time(cell["seconds"])) for cell in study["cells"]],
    links={name: f"{CELLS_NAME}/{name}/{REPORT}" for name in with_page},
    config=json.dumps(study["config"], indent=2),
    open_rows=_OPEN_ROWS,
    dense_columns=_DENSE_COLUMNS,
  )


def _is_left(cell: Mapping[str, Any]) -> bool:
  return cell["state"] != "done" or bool(cell["error"])


def _time(seconds: float | None) -> str:
  return "" if seconds is None else duration(seconds)


def _left(cell: Mapping[str, Any]) -> dict[str, str]:
  """A cell that is not done, with the reason or the estimate in words."""
  expected = _time(cell["estimate_seconds"])
  if cell["state"] == "too dear":
    why = f"estimated at {expected}" if expected else "its estimate is above the budget"
  elif cell["error"]:
    why = cell["error"]
  else:
    why = f"expected to take {expected}" if expected else ""
  return {"name": cell["name"], "state": cell["state"], "why": why}


def _factors(factors: Mapping[str, Any]) -> str:
  """`method dm, ipc 10, seed 0`."""
  return ", ".join(f"{name} {value}" for name, value in factors.items() if value is not None)


def cell_text(value: Any, kind: str, labels: Mapping[str, str]) -> dict[str, str]:
  """A table's cell as {"main", "soft"}: the value, and its interval or probability.

  Args:
    value: of the table.
    kind: of the column, see `ddjax.study.section.table`.
    labels: {name: label} of tables and figures, for references.
  """
  if value is None:
    return {"main": "–", "soft": ""}
  if isinstance(value, Mapping) and "rank" in value:
    return {"main": str(value["rank"]), "soft": f"({value['probability']:.2f})"}
  write = WRITERS.get(kind, str)
  if isinstance(value, Mapping):
    ends = [value.get("low"), value.get("high")]
    soft = "" if None in ends else f"[{', '.join(map(write, ends))}]"
    return {"main": write(value["value"]), "soft": soft}
  if isinstance(value, str) and (names := REFERENCE.findall(value)):
    return {"main": ", ".join(labels[name] for name in names if name in labels) or "–", "soft": ""}
  return {"main": write(value), "soft": ""}


def _scaled(value: float, unit: str) -> str:
  """`1.25 TFLOP`."""
  for scale, letter in _SCALES:
    if value >= scale:
      return f"{value / scale:.3g} {letter}{unit}"
  return f"{value:.3g} {unit}"


def _number(value: Any) -> str:
  """A figure with three decimals."""
  return value if isinstance(value, str) else format_number(float(value))


WRITERS = {
  "number": _number,
  "p": lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
  "rank": str,
  "times": str,
  "signed": lambda value: value if isinstance(value, str) else format_signed(float(value)),
  "count": count,
  "size": count,
  "seconds": lambda value: duration(float(value)),
  "flops": lambda value: _scaled(float(value), "FLOP"),
  "bytes": lambda value: _scaled(float(value), "B"),
}
"""Kinds of columns of numbers: (value) -> text."""
