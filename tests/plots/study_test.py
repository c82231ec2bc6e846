"""Figures of a study on a few numbers: they are drawn, and hold what they should."""

import pytest

from ddjax.plots import figures, study_curves, study_marks


def _cell(value, half=0.1):
  return {"value": value, "low": value - half, "high": value + half}


def test_dots_have_a_row_for_each_set_and_a_title_for_each_group():
  few, many = "1 image a class", "10 images a class"
  bare = {"value": 0.6, "low": None, "high": None}
  marks = [
    {"label": "DM", "group": few, "own": _cell(0.5), "beside": {"random subset": _cell(0.4)}},
    {"label": "KIP", "group": many, "own": _cell(0.7), "beside": {}},
    {"label": "KIP", "group": few, "own": bare, "beside": {}},
  ]
  (axes,) = study_marks.dots({"marks": marks, "axis": "accuracy", "line": 0.5}).axes
  labels = [label.get_text() for label in axes.get_yticklabels()]
  assert labels == ["1 image a class", "10 images a class", "DM", "KIP", "KIP"]
  assert axes.get_legend_handles_labels()[1] == ["random subset", "distilled"]


def test_pareto_joins_the_front():
  points = [
    {"label": "DM", "ipc": 1, "own": _cell(0.5), "cost": 1e9, "on_front": True},
    {"label": "KIP", "ipc": 1, "own": _cell(0.4), "cost": 1e10, "on_front": False},
    {"label": "KIP", "ipc": 10, "own": _cell(0.9), "cost": 1e11, "on_front": True},
  ]
  (axes,) = study_curves.pareto({"panels": {"on digits": points}, "unit": "flops"}).axes
  assert axes.get_xscale() == "log"
  assert axes.lines[0].get_xdata().tolist() == [1e9, 1e11]
  assert not axes.texts  # labels at the marks would overprint each other
  assert axes.get_title() == ""
  labels = axes.get_legend_handles_labels()[1]
  assert labels == ["DM", "KIP", "1 a class", "10 a class"]


def test_pareto_has_a_panel_and_a_front_for_each_problem():
  many = {"label": "DM", "ipc": 1, "own": _cell(0.5), "cost": 1e9, "on_front": True}
  few = {"label": "KIP", "ipc": 1, "own": _cell(0.9), "cost": 1e8, "on_front": True}
  data = {"panels": {"on digits": [many], "on digits, 5 classes": [few]}, "unit": "seconds"}
  figure = study_curves.pareto(data)
  assert [axes.get_title() for axes in figure.axes] == ["on digits", "on digits, 5 classes"]
  assert [axes.lines[0].get_xdata().tolist() for axes in figure.axes] == [[1e9], [1e8]]
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == ["DM", "KIP"]


@pytest.mark.parametrize(
  "draw, data",
  [
    (
      study_marks.matrix,
      {"rows": ["a"], "columns": ["b", "c"], "values": [[0.5, None]], "row_label": "set",
       "column_label": "corruption", "value_label": "accuracy"},
    ),
    (study_marks.transfer, {"rows": ["a", "b"], "columns": ["b"], "values": [[0.5], [None]]}),
    (
      study_curves.worth,
      {"curve": [[10, 0.3], [100, 0.5]],
       "points": [{"label": "DM", "size": 10, "own": _cell(0.4), "worth": 31.6}]},
    ),
    (
      study_curves.epsilon_panels,
      {"panels": {"1 image a class": {
        "DM": {"epsilon": [0, 0.1], "accuracy": [0.5, 0.1], "low": [0.4, 0], "high": [0.6, 0.2]},
        "full set": {"epsilon": [0, 0.1], "accuracy": [0.9, 0.1], "low": [None, None],
                     "high": [None, None]},
      }}},
    ),
    (
      study_curves.parallel,
      {"panels": {"1 image a class": {
        "axes": [{"name": "performance", "figure": "accuracy", "is_higher_better": True},
                 {"name": "privacy", "figure": "AUC", "is_higher_better": False}],
        "lines": {"DM": [0.5, 0.6], "KIP": [0.7, None]},
      }}},
    ),
  ],
)  # fmt: skip
def test_the_others_are_drawn(draw, data):
  assert figures.as_png(draw(data)).startswith(b"\x89PNG")


def test_parallel_puts_the_best_on_top():
  panel = {
    "axes": [
      {"name": "performance", "figure": "accuracy", "is_higher_better": True},
      {"name": "privacy", "figure": "AUC", "is_higher_better": False},
    ],
    "lines": {"DM": [0.5, 0.5], "KIP": [0.7, 0.6]},
  }
  (axes,) = study_curves.parallel({"panels": {"all": panel}}).axes
  lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines[:2]}
  assert lines == {"DM": [0.0, 1.0], "KIP": [1.0, 0.0]}
