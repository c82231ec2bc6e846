"""Tables of results: made from the files, and made again without a difference."""

import json
import subprocess
import sys

import pytest

from ddjax.study import published
from docs.tools import blocks, h200, methods, study, tables
from tests.docs import pages


def test_made_parts_are_as_they_would_be_made():
  sources = [path for path in blocks.sources() if not pages.is_made(path)]
  changed = [path.name for path in sources if blocks.filled(path.read_text()) != path.read_text()]
  assert changed == []  # else run `python -m docs.tools`
  found = [name for path in sources for name in blocks.names(path.read_text())]
  assert len(found) == len(set(found)) > 25
  assert {f"h200 {name}" for name in h200.TABLES} <= set(found)
  assert {f"cpu {name}" for name in methods.cpu_tables()} <= set(found)


def test_no_table_of_results_is_typed():
  for path in (pages.ROOT / "docs/results").glob("*.md"):
    if path.name != "index.md":  # a table of pages
      text = blocks._BLOCK.sub("", path.read_text())
      assert not [line for line in text.splitlines() if line.startswith("|")], path.name


def test_the_command_tells_of_a_difference(tmp_path):
  run = [sys.executable, "-m", "docs.tools"]
  assert subprocess.run([*run, "--check"], cwd=pages.ROOT).returncode == 0
  wrong = subprocess.run([*run, "--checks"], cwd=pages.ROOT, capture_output=True, text=True)
  assert wrong.returncode == 2 and "--check" in wrong.stderr


def test_a_part_is_filled_and_a_wrong_one_refused():
  text = "a\n<!-- made: h200 peaks -->\nold\n<!-- end -->\nb\n"
  filled = blocks.filled(text)
  assert "old" not in filled and "388" in filled and filled.startswith("a\n<!-- made: h200 peaks")
  assert blocks.filled(filled) == filled
  with pytest.raises(ValueError, match="'h200 nothing'"):
    blocks.filled("<!-- made: h200 nothing -->\n<!-- end -->\n")
  with pytest.raises(ValueError, match="1 parts begin"):
    blocks.filled("<!-- made: h200 peaks -->\n")


@pytest.mark.parametrize(
  "value,text",
  [
    (0.281, ".281"),
    (-0.14, "−.140"),
    (1.0, "1"),
    (0.0, ".000"),
    (-0.0004, "−.000"),
    (1.92, "1.920"),
  ],
)
def test_figures_are_written_without_a_leading_zero(value, text):
  assert tables.figure(value) == text


def test_cells():
  measured = {"value": 0.14, "low": 0.128, "high": -0.152, "note": "reduced"}
  assert tables.cell_text(measured, "signed") == "+.140 [.128, −.152], reduced"
  assert tables.cell_text({"value": 0.5, "low": None}, "number") == ".500"
  assert tables.cell_text("a|b", "text") == "a\\|b" and tables.cell_text(None, "number") == ""
  assert tables.cell_text(3, "count") == "3" and tables.cell_text(0.0066, "milliseconds") == "6.60"
  assert tables.markdown(tables.make({"a": "text", "b": "count"}, [["x", 1], [None, None]])) == (
    "| a | b |\n|---|---|\n| x | 1 |\n| | |"
  )
  with pytest.raises(ValueError, match="1 cells for 2 columns"):
    tables.markdown(tables.make({"a": "text", "b": "count"}, [["x"]]))


def test_h200_figures_are_those_of_the_runs():
  rows = {
    (row["method"], row["ipc"]): row
    for row in tables.matching(h200.published(), {"data": "CIFAR-10"})
  }
  text = {key: tables.cell_text(row["test accuracy"], "number") for key, row in rows.items()}
  assert text["DM", 10] == ".485 [.474, .496]"  # as written down on 2026-11-26
  assert text["MTT, 10 of 100 experts", 1] == ".437 [.423, .450]"
  assert rows["MTT, 10 of 100 experts", 1]["steps"] == "600 of 5000"
  assert text["DSA", 1] == ".281 [.269, .292]" and rows["DSA", 1]["whole run"] == "143 s"
  assert text["DM", 50] == "not run" and rows["DM", 50]["date"] is None


def test_intervals_of_the_files_are_intervals():
  count = 0
  for table in methods.cpu_tables().values():
    for row in table["rows"]:
      assert len(row) == len(table["columns"])
      for cell in row:
        if isinstance(cell, dict):
          count += 1
          assert cell["low"] <= cell["high"]
  assert count > 150


def test_published_figures_are_those_of_the_studies():
  names = {"random subset": "random", "KIP": "kip"}
  compared = 0
  for one in methods.methods():
    for ipc, value in one["published"].items():
      known = published.find(names.get(one["name"], one["name"].lower()), "cifar10", ipc)
      if known is not None:
        compared += 1
        assert known.accuracy == value, (one["name"], ipc)
  assert compared > 15


def test_a_figure_that_is_not_there_is_refused():
  with pytest.raises(ValueError, match="fits 2 rows"):
    methods.measured(
      {"ipc": 1, "table": "coresets", "where": {"choice": "random"}, "figure": "mean"}
    )
  with pytest.raises(ValueError, match="idc-cifar10-ipc1 was not run"):
    methods.measured({"ipc": 1, "h200": "idc-cifar10-ipc1"})


def test_a_finished_study_is_shown_with_its_answers(tmp_path):
  path = tmp_path / "study.json"
  table = {
    "name": "accuracy", "label": "Table 1", "caption": "How accurate.",
    "columns": [{"name": "method", "kind": "text"}, {"name": "accuracy", "kind": "number"}],
    "rows": [["DM", {"value": 0.9, "low": 0.85, "high": 0.95, "seeds": 3}], ["KIP", None]],
  }  # fmt: skip
  section = {"question": "How accurate?", "answer": "Very (Table 1).", "points": ["one"]}
  section |= {"notes": ["noted"], "tables": [table], "figures": []}
  figures = [{"name": name, "alt": "dots", "caption": "Seen.", "label": name} for name in "ab"]
  section["figures"] = figures
  (tmp_path / "figures").mkdir()
  (tmp_path / "figures/a.png").touch()
  path.write_text(json.dumps({"title": "A study", "progress": "All done.", "sections": [section]}))
  text = study.text(path)
  for part in (
    "A study. All done.", "## How accurate?", "Very (Table 1).", "- one", "noted",
    "**Table 1.** How accurate.", "| DM | 0.900 [0.850, 0.950] |", "| KIP | – |",
    "![dots](study-digits/figures/a.png)", "**a.** Seen.",
  ):  # fmt: skip
    assert part in text, part
  assert "b.png" not in text  # it could not be drawn
