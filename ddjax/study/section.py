"""The parts of a study's page as plain data: sections, tables, figures, and how they refer."""

import re
from typing import Any, Iterable, Mapping, Sequence

from ddjax.io.comparisons import format_number, format_signed
from ddjax.study import conditions as of
from ddjax.study.conditions import NAMES, Condition
from ddjax.study.published import Published
from ddjax.study.records import Record

NOTHING = "Nothing of this is measured yet."
NOT_ASKED = "This study does not measure it."
BESIDE = " Ways to choose real images stand below, without a test."
"""What a table says of its rows of baselines."""
REFERENCE = re.compile(r"\[\[([\w-]+)\]\]")


def table(
  name: str, caption: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]]
) -> dict[str, Any]:
  """A table; a column without any value is left out.

  Args:
    name: by which sentences refer to it, as `[[NAME]]`.
    caption: what it shows, a sentence.
    columns: (heading, kind), a kind of `ddjax.study.page.WRITERS`, text or verdict.
    rows: one value a column: a plain value, None, or {"value", "low", "high", ...}.
  """
  kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
  return {
    "name": name,
    "caption": caption,
    "columns": [{"name": columns[i][0], "kind": columns[i][1]} for i in kept],
    "rows": [[row[i] for i in kept] for row in rows],
  }


def figure(name: str, kind: str, caption: str, alt: str, data: Any) -> dict[str, Any]:
  """A figure.

  Args:
    name: by which sentences refer to it, as `[[NAME]]`; its file is `figures/NAME.png`.
    kind: of the drawing, a name of `ddjax.study.page.DRAWINGS`.
    caption: the finding in words.
    alt: what the picture shows, for those who do not see it.
    data: what the drawing needs.
  """
  return {"name": name, "kind": kind, "caption": caption, "alt": alt, "data": data}


def marks(
  methods: Sequence[Condition], names: Sequence[str], report: str, key: str
) -> list[dict[str, Any]]:
  """A mark of each set beside the random subset and the full set of its own report.

  Args:
    methods: whose figure is drawn.
    names: of the factors that vary.
    report: the evaluator's name.
    key: of the figure.
  """
  sets = {"random subset": "random_subset_", "full set": "full_"}
  found = []
  for one in methods:
    beside = {label: of.estimated(one, report, key, prefix) for label, prefix in sets.items()}
    found.append(
      {
        "label": of.describe(one.factors, [name for name in names if name != "ipc"]),
        "group": of.describe({"ipc": one.factors.get("ipc")}, ("ipc",)),
        "own": of.estimated(one, report, key),
        "beside": {label: cell for label, cell in beside.items() if cell},
      }
    )
  return found


def section(
  name: str,
  question: str,
  answer: str,
  *,
  points: Sequence[str] = (),
  notes: Sequence[str] = (),
  tables: Sequence[dict[str, Any] | None] = (),
  figures: Sequence[dict[str, Any] | None] = (),
) -> dict[str, Any]:
  """One question of the study, its answer, and what it rests on; missing tables are left out.

  Args:
    name: of its place on the page.
    question: its heading.
    answer: a sentence or more.
    points: further sentences, shown as a list.
    notes: how figures are to be read.
    tables: from `table`, or None.
    figures: from `figure`, or None.
  """
  return {
    "name": name,
    "question": question,
    "answer": answer,
    "points": list(points),
    "notes": list(notes),
    "tables": [one for one in tables if one is not None and one["rows"]],
    "figures": [one for one in figures if one is not None],
  }


def numbered(sections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """The same with tables and figures numbered, and every `[[NAME]]` in words, such as `Table 3`.

  A reference to what was left out goes, with the brackets around it if it stands alone there.
  """
  labels: dict[str, str] = {}
  made = [dict(one) for one in sections]
  for kind, title in (("tables", "Table"), ("figures", "Figure")):
    count = 0
    for one in made:
      one[kind] = [dict(item) for item in one[kind]]
      for item in one[kind]:
        count += 1
        item["label"] = labels[item["name"]] = f"{title} {count}"

  def resolve(text: str) -> str:
    text = re.sub(
      r" \(((?:\[\[[\w-]+\]\](?:, )?)+)\)",
      lambda match: _bracketed(
        [labels[name] for name in REFERENCE.findall(match[1]) if name in labels]
      ),
      text,
    )
    return REFERENCE.sub(lambda match: labels.get(match[1], "below"), text)

  for one in made:
    one["answer"] = resolve(one["answer"])
    for part in ("points", "notes"):
      one[part] = [resolve(text) for text in one[part]]
    for item in (*one["tables"], *one["figures"]):
      item["caption"] = resolve(item["caption"])
  return made


def _bracketed(labels: Sequence[str]) -> str:
  return f" ({', '.join(labels)})" if labels else ""


def with_interval(cell: Mapping[str, Any] | None, *, is_signed: bool = False) -> str:
  """`0.912 [0.903, 0.921]` for a sentence; without an interval the number alone, None as a dash."""
  if cell is None:
    return "–"
  write = format_signed if is_signed else format_number
  if cell.get("low") is None or cell.get("high") is None:
    return write(cell["value"])
  return f"{write(cell['value'])} [{write(cell['low'])}, {write(cell['high'])}]"


def are(count: int) -> str:
  """`is` after one, `are` after any other number."""
  return "is" if count == 1 else "are"


def joined(parts: Sequence[str]) -> str:
  """`a, b and c`."""
  return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else ""


def factor_columns(names: Sequence[str]) -> list[tuple[str, str]]:
  """Columns of the method and the factors that vary."""
  titles = {
    "dataset": "data", "ipc": "images a class", "init": "from", "num_classes": "classes",
    "preprocessing": "preprocessing",
  }  # fmt: skip
  return [("method", "text"), *((titles[name], "text") for name in names)]


def factor_cells(condition: Condition, names: Sequence[str]) -> list[Any]:
  """The cells under `factor_columns`."""
  return [condition.method, *(condition.factors.get(name) for name in names)]


def sort_key(condition: Condition) -> tuple:
  """Order of rows: data, classes, images a class, then methods before baselines."""
  factors = condition.factors
  order = list(NAMES)
  method = str(factors.get("method"))
  return (
    str(factors.get("dataset")),
    -(factors.get("num_classes") or 10**9),
    factors.get("ipc") or 10**9,
    order.index(method) if method in order else len(order),
    condition.method,
    {"real": 0}.get(str(factors.get("init")), 1),
    str(factors.get("preprocessing")),
  )


def published_text(found: Published | None) -> str | None:
  """`0.489 (Zhao, Bilen 2023)`."""
  return f"{format_number(found.accuracy)} ({found.source})" if found else None


def baselines(records: Iterable[Record], report: str, key: str) -> list[Condition]:
  """The ways to choose real images that measured a figure, in the order of rows.

  Args:
    records: of the whole study.
    report: the evaluator's name.
    key: of the figure.
  """
  found = [one for one in of.conditions(records, "baseline") if of.by_seed(one, report, key)]
  return sorted(found, key=sort_key)
