"""A study in the terminal: counts, time left, and a table that ends by itself."""

import io
import math
import sys
import threading
import time

from absl import logging
from ml_collections import ConfigDict
import pytest
import rich.console

from ddjax.study import live
from ddjax.study.cell import Cell
from ddjax.study.ledger import Ledger
from ddjax.training.progress import Progress


def _cell(name, method="dm", role="method", ipc=1):
  factors = {"method": method, "dataset": "digits", "ipc": ipc}
  return Cell(name, role, "distill", factors, ConfigDict())


def _state(state, seconds=None, **facts):
  return {"state": state, "seconds": seconds, "estimate_seconds": None, "error": None, **facts}


def _as_text(table):
  console = rich.console.Console(width=120, file=io.StringIO())
  console.print(table)
  return console.file.getvalue()


def _rows(text):
  """{first word or words: counts} of a printed table."""
  lines = [line.split("│") for line in text.splitlines() if "│" in line]
  return {line[1].strip(): [part.strip() for part in line[2:-1]] for line in lines}


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def _make_terminal(monkeypatch):
  """A terminal of 120 columns in the place of stderr; looks at the folder come at once.

  To be called in a test: pytest sets stderr anew before it.
  """
  screen = _Terminal()
  for name, value in {"COLUMNS": "120", "LINES": "40", "TERM": "xterm"}.items():
    monkeypatch.setenv(name, value)
  for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setattr(sys, "stderr", screen)
  monkeypatch.setattr(live, "_SECONDS", 0.01)
  return screen


def _wait_for(condition):
  deadline = time.monotonic() + 20
  while not condition() and time.monotonic() < deadline:
    time.sleep(0.01)
  assert condition()


def _is_still(terminal):
  before = len(terminal.getvalue())
  time.sleep(0.2)
  return len(terminal.getvalue()) == before


def test_time_left_is_that_of_cells_of_the_same_kind_shared_among_those_that_run():
  cells = [
    _cell("a"), _cell("b"), _cell("c"), _cell("d"), _cell("e", method="kip"),
    _cell("f", role="curve"), _cell("g", method="kip"), _cell("h", method="kip"),
  ]  # fmt: skip
  states = {
    "a": _state("done", 10.0),
    "b": _state("done", 20.0),
    "c": _state("waiting"),  # 15 s, as a and b in mean
    "d": _state("running"),  # likewise
    "e": _state("waiting"),  # 24 s: none of its kind is done, and this is the mean of all
    "f": _state("done", 42.0),
    "g": _state("failed"),
    "h": _state("too dear"),
  }
  assert live.seconds_left(cells, states) == 15 + 15 + 24
  states["c"] = _state("running")
  assert live.seconds_left(cells, states) == (15 + 15 + 24) / 2
  states["a"] = _state("done", None)  # recorded without its time
  assert live.seconds_left(cells, states) == (20 + 20 + 31) / 2


def test_time_left_is_not_known_before_a_cell_is_done_and_nothing_in_the_end():
  cells = [_cell("a"), _cell("b")]
  states = {"a": _state("running"), "b": _state("failed")}
  assert math.isnan(live.seconds_left(cells, states))
  states["a"] = _state("done", 3.0)
  assert live.seconds_left(cells, states) == 0


def test_the_table_counts_cells_by_kind_and_state():
  cells = [
    _cell("a"), _cell("b"), _cell("c", ipc=10), _cell("d", method="random", role="curve", ipc=5),
    _cell("e", method="full set", role="steps", ipc=None),
    _cell("f", method="full set", role="full", ipc=None),
  ]  # fmt: skip
  states = {
    "a": _state("done", 60.0),
    "b": _state("done", 120.0),
    "c": _state("running"),
    "d": _state("waiting"),
    "e": _state("failed"),
    "f": _state("too dear"),
  }
  text = _as_text(live.table(cells, states, "dm digits: step 3 of 9"))
  assert text.startswith("2 of 6 cells done, about 3 min 00 s left")
  assert "dm digits: step 3 of 9" in text.splitlines()[-1]
  assert _rows(text) == {  # done, running, waiting, failed, too dear
    "dm digits ipc 1": ["2", "", "", "", ""],
    "dm digits ipc 10": ["", "1", "", "", ""],
    "random digits further sizes": ["", "", "1", "", ""],
    "full set digits so many steps": ["", "", "", "1", ""],
    "full set digits": ["", "", "", "", "1"],
  }


@pytest.mark.parametrize(
  ("state", "title"),
  [
    (_state("waiting"), "0 of 1 cell done, time left not known yet"),
    (_state("done", 3.0), "1 of 1 cell done"),
    (_state("failed"), "0 of 1 cell done"),
  ],
)
def test_the_title_of_the_table(state, title):
  assert live.table([_cell("a")], {"a": state}).title == title


def test_the_summary_counts_states_and_says_why():
  cells = [_cell(name) for name in "abcde"]
  states = {
    "a": _state("done", 3.0),
    "b": _state("failed", error="ipc=0 must be at least 1."),
    "c": _state("too dear", estimate_seconds=7500.0),
    "d": _state("too dear", error="It needs c, which is too dear."),
    "e": _state("done", 3.0),
  }
  assert live.summary(cells, states).splitlines() == [
    "2 done, 1 failed, 2 too dear",
    "  b failed: ipc=0 must be at least 1.",
    "  c is too dear here: 2 h 05 min",
    "  d is too dear here: It needs c, which is too dear.",
  ]


def test_watching_ends_with_the_last_cell_and_runs_none(tmp_path, monkeypatch, capsys):
  ledger, looks = Ledger(tmp_path), []
  leases = {name: ledger.take(name) for name in "abc"}
  ends = iter([("a", "done"), ("b", "failed"), ("c", "too dear")])
  titles = []
  table = live.table
  monkeypatch.setattr(
    live, "table", lambda *args: titles.append(table(*args).title) or table(*args)
  )

  def sleep(seconds):
    looks.append(seconds)
    name, state = next(ends)
    ledger.finish(leases[name], {"state": state, "seconds": 5.0})

  monkeypatch.setattr(live.time, "sleep", sleep)
  live.watch([_cell(name) for name in "abc"], ledger)
  assert looks == [live._SECONDS] * 3
  assert titles == [
    "0 of 3 cells done, time left not known yet",
    "1 of 3 cells done, about 5.0 s left",  # of two cells that run at once
    "1 of 3 cells done, about 5.0 s left",
    "1 of 3 cells done",
  ]
  shown = capsys.readouterr().err
  assert _rows(shown)["dm digits ipc 1"] == ["1", "", "", "1", "1"]
  assert all(len(list((tmp_path / "leases" / name).iterdir())) == 1 for name in "abc")


def test_watching_can_be_interrupted(tmp_path, monkeypatch):
  def interrupt(_):
    raise KeyboardInterrupt

  monkeypatch.setattr(live.time, "sleep", interrupt)
  with pytest.raises(KeyboardInterrupt):
    live.watch([_cell("a")], Ledger(tmp_path))
  assert not (tmp_path / "leases").exists()


def test_without_a_terminal_nothing_is_shown(tmp_path, capsys):
  before = threading.active_count()
  with live.shown([_cell("a")], Ledger(tmp_path)):
    assert threading.active_count() == before
  assert capsys.readouterr().err == ""


def test_on_a_terminal_the_table_is_live_and_log_lines_pass_above_it(tmp_path, monkeypatch):
  ledger, terminal = Ledger(tmp_path), _make_terminal(monkeypatch)
  handler = logging.get_absl_handler()
  stream, before = handler.python_handler.stream, threading.active_count()
  logger, level = logging.get_absl_logger(), logging.get_verbosity()
  logging.set_verbosity(logging.INFO)
  logger.addHandler(handler)
  try:
    with live.shown([_cell("a"), _cell("b")], ledger):
      _wait_for(lambda: "0 of 2 cells done" in terminal.getvalue())
      lease = ledger.take("a")
      with Progress(9, description="a of nine") as progress:
        progress.update(3, {"loss": 0.5})
        _wait_for(lambda: "a of nine" in terminal.getvalue().rpartition("0 of 2 cells")[2])
      ledger.finish(lease, {"state": "done", "seconds": 7.0})
      _wait_for(lambda: "1 of 2 cells done, about 7.0 s left" in terminal.getvalue())
      assert handler.python_handler.stream is sys.stderr is not terminal  # the table's own
      logging.info("Cell b.")
      assert "Cell b." in terminal.getvalue()
      monkeypatch.setattr(live, "_SECONDS", 60.0)
      _wait_for(lambda: _is_still(terminal))
      ledger.finish(ledger.take("b"), {"state": "failed"})
  finally:
    logger.removeHandler(handler)
    logging.set_verbosity(level)
  last = terminal.getvalue().rpartition("cells done")
  assert last[0].endswith("1 of 2 ") and "left" not in last[2]  # the end is shown
  assert "Cell b." not in last[2]
  assert handler.python_handler.stream is stream and threading.active_count() == before


def test_an_error_leaves_the_terminal_as_it_was(tmp_path, monkeypatch):
  terminal = _make_terminal(monkeypatch)
  handler = logging.get_absl_handler()
  stream, before = handler.python_handler.stream, threading.active_count()
  with pytest.raises(ValueError, match="of the worker"), live.shown([_cell("a")], Ledger(tmp_path)):
    raise ValueError("of the worker")
  assert handler.python_handler.stream is stream and sys.stderr is terminal
  assert threading.active_count() == before
  assert terminal.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back
