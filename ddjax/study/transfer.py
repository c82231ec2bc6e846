"""Sets under other kernels than their own: distilled with the row's, tested with the column's."""

from pathlib import PurePath
from typing import Any, Mapping, Sequence

from ddjax.io.comparisons import format_number
from ddjax.statistics import over_seeds
from ddjax.study import conditions as of
from ddjax.study import section as page
from ddjax.study.records import Record

QUESTION = "Transfer: do sets serve other kernels than their own?"
RANDOM = "random subset"
_KEY = "test_accuracy"
_RANDOM_KEY = "random_subset_accuracy"

Cells = dict[tuple[str, str], over_seeds.Estimate]


def cells(records: Sequence[Record]) -> Cells:
  """{(distilled with, tested with): accuracy over seeds} of the cells of the role "transfer".

  Args:
    records: a transfer cell tests every set of the study under its own `variant`; its report has a
      list `sets`, labelled by the cells that made them, or for a single set `run["distilled"]`.
  """
  made_by = {record.name: record for record in records}
  found: dict[tuple[str, str], dict[int, of.Figure]] = {}
  for record in records:
    if record.role != "transfer" or record.report is None:
      continue
    column = str(record.factors.get("variant") or record.name)
    seed = int(record.factors.get("seed") or 0)
    for label, reports in _sets(record.report):
      origin = made_by.get(label)
      row = label if origin is None else _row(origin)
      at = seed if origin is None else int(origin.factors.get("seed") or 0)
      tested = record._replace(report={**record.report, "reports": reports})
      for name, key in ((row, _KEY), (RANDOM, _RANDOM_KEY)):
        if (one := of.figure(tested, "kernel", key)) is not None:
          found.setdefault((name, column), {}).setdefault(at, one)
  means = {place: of.estimate(figures, (0.0, 1.0)) for place, figures in found.items()}
  return {place: one for place, one in means.items() if one is not None}


def _row(origin: Record) -> str:
  """What a set was distilled with: its variant, else its method and further fields."""
  variant = origin.factors.get("variant")
  return str(variant) if variant else of.method_label(origin.factors)


def _sets(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
  if "sets" in report:
    return [(PurePath(one["label"]).name, one["reports"]) for one in report["sets"]]
  paths = report["run"].get("distilled") or ["set"]
  return [(PurePath(paths[0]).name, report["reports"])]


def build(records: Sequence[Record], config: Mapping[str, Any]) -> dict[str, Any] | None:
  """The section; None for a study without cells of transfer."""
  del config
  tests = [record for record in records if record.role == "transfer"]
  if not tests:
    return None
  found = cells(records)
  if not found:
    return page.section("transfer", QUESTION, page.NOTHING)
  columns = list(dict.fromkeys(str(one.factors.get("variant") or one.name) for one in tests))
  made = list(dict.fromkeys(row for row, _ in found if row != RANDOM))
  rows = [RANDOM, *sorted(made, key=lambda row: columns.index(row) if row in columns else 99)]
  rows = [row for row in rows if any((row, column) in found for column in columns)]
  table = [
    [row, *(of.as_cell(found.get((row, column))) for column in columns), _own(found, row),
     _others(found, row, columns)]
    for row in rows
  ]  # fmt: skip
  matrix = [
    [found[row, column].value if (row, column) in found else None for column in columns]
    for row in rows
  ]
  answer = _answer(found, rows, columns)
  return page.section(
    "transfer",
    QUESTION,
    f"{answer} ([[transfer]], [[transfer-figure]]).",
    notes=["A dash is a cell that was not run; the list of cells below says why."],
    tables=[
      page.table(
        "transfer",
        "Test accuracy of kernel ridge regression: sets distilled with the row's kernel, tested "
        "with the column's.",
        [
          ("distilled with", "text"),
          *((column, "number") for column in columns),
          ("own kernel", "number"),
          ("mean of the others", "number"),
        ],
        table,
      )
    ],
    figures=[
      page.figure(
        "transfer-figure",
        "transfer",
        f"{answer}.",
        "Test accuracy by kernel of distillation, a row, and kernel of the test, a column; a "
        "kernel's own cell has a frame.",
        {"rows": rows, "columns": columns, "values": matrix},
      )
    ],
  )


def _own(found: Cells, row: str) -> dict[str, Any] | None:
  return of.as_cell(found.get((row, row)))


def _others(found: Cells, row: str, columns: Sequence[str]) -> float | None:
  values = [
    found[row, column].value for column in columns if column != row and (row, column) in found
  ]
  return sum(values) / len(values) if values else None


def _answer(found: Cells, rows: Sequence[str], columns: Sequence[str]) -> str:
  """How much accuracy a set loses under other kernels, and whether it still beats random."""
  lost, wins, others = [], 0, 0
  for row in rows:
    if row == RANDOM:
      continue
    own, mean = found.get((row, row)), _others(found, row, columns)
    if own is not None and mean is not None:
      lost.append(own.value - mean)
    for column in columns:
      if column != row and (row, column) in found and (RANDOM, column) in found:
        others += 1
        wins += found[row, column].value > found[RANDOM, column].value
  if not lost:
    return f"{len(found)} pairs of kernels are measured; none has both its own kernel and another"
  text = (
    f"Under other kernels {len(lost)} sets lose {format_number(sum(lost) / len(lost))} of accuracy "
    "on average"
  )
  return f"{text}; {wins} of {others} such cells are above a random subset" if others else text
