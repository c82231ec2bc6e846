"""What the Python interface hands out: results, reports and sets that a notebook shows.

They are the project's own nouns (`ddjax.types`, `ddjax.tasks.task`) with three things more:
`to_pandas()`, `plot()`, and the forms in which notebooks and terminals show objects. What only
shows never raises: where a picture cannot be drawn, the text comes without.
"""

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from ddjax import types
from ddjax.io import notebook
from ddjax.io.comparisons import Comparison, comparisons, headlines, run_title, words
from ddjax.io.report import HTML_NAME, report_to_json, table_lines
from ddjax.plots import figures, grids, levels
from ddjax.study.page import HTML_NAME as STUDY_PAGE
from ddjax.tasks.task import Outcome
from ddjax.wording import nearest

if TYPE_CHECKING:
  from matplotlib.figure import Figure
  from pandas import DataFrame

_STUDY_COLUMNS = ("axis", "figure", "value", "low", "high", "num_models")
_MOST_SHOWN = 10  # images of a class, and classes of several images, that a notebook shows


class Result(Outcome):
  """A finished run: `workdir`, `report` (what its `report.json` holds), `summary`."""

  __slots__ = ()

  @property
  def is_study(self) -> bool:
    """Whether the report is that of a study, with a table of cells."""
    return self.report is not None and "cells" in self.report

  def to_pandas(self) -> "DataFrame":
    """Every figure of the run, a row each.

    Returns:
      columns set (where several were evaluated), report, figure, of ("distilled", "random subset",
      "gain over random subset", ...), value, low, high, std, num_models; of a study one row for
      each cell and figure: cell, role, state, the factors, axis, figure, value, low, high,
      num_models, seconds.
    Raises:
      ImportError: without pandas.
      ValueError: for a run without a report.
    """
    module = notebook.pandas()
    report = self._known_report()
    if self.is_study:
      return module.DataFrame(_study_rows(report))
    rows = []
    for one in report.get("sets", [report]):
      of_set = {"set": one["label"]} if "label" in one else {}
      rows += [of_set | row for row in notebook.figure_rows(one["reports"])]
    return module.DataFrame(rows)

  def plot(self, *names: str) -> "Figure":
    """The main figures beside their baselines, with 95 % intervals.

    Args:
      names: of figures, such as "test_accuracy"; none for those that the report puts first.
    Raises:
      ValueError: for an unknown name, or a run without such figures.
    """
    report = self._known_report()
    if self.is_study:
      page = self.workdir / STUDY_PAGE
      raise ValueError(f"A study has pictures of its own: see {page}, or to_pandas().")
    return _plot(report["reports"], names)

  def _known_report(self) -> dict[str, Any]:
    if self.report is None:
      raise ValueError(f"The run in {self.workdir} makes no report; its files lie there.")
    return self.report

  def __repr__(self) -> str:
    """Its summary, as the command line prints it."""
    return self.summary or f"a run in {self.workdir}"

  def _repr_html_(self) -> str:
    """Its figures, and a link to its page."""
    if self.report is None:
      return notebook.heading_html(self.summary or str(self.workdir))
    if self.is_study:
      title, body, page = _study_html(self.report), "", STUDY_PAGE
    else:
      title, page = notebook.heading_html(run_title(self.report["run"])), HTML_NAME
      parts = []
      for one in self.report.get("sets", [self.report]):
        parts += [notebook.heading_html(one["label"])] if "label" in one else []
        parts.append(notebook.reports_html(one["reports"]))
      body = "".join(parts)
    path = str(self.workdir / page)
    return title + body + notebook.link_html(path, f"Report: {path}")


class Report(types.Report):
  """The figures of one evaluator; its fields are those of `ddjax.types.Report`."""

  __slots__ = ()

  def to_pandas(self) -> "DataFrame":
    """Every figure, a row each; columns as of `Result.to_pandas`."""
    return notebook.pandas().DataFrame(notebook.figure_rows(self._as_json()))

  def plot(self, *names: str) -> "Figure":
    """The main figures beside their baselines; arguments and errors as of `Result.plot`."""
    return _plot(self._as_json(), names)

  def _as_json(self) -> dict[str, Any]:
    return report_to_json({}, {self.kind: self})["reports"]

  def __repr__(self) -> str:
    """Its figures as a table of text."""
    return "\n".join(table_lines(self._as_json()))

  def _repr_html_(self) -> str:
    title = notebook.heading_html(words(self.kind))
    return title + notebook.reports_html(self._as_json(), with_names=False)


class Reports(dict[str, Report]):
  """{evaluator: Report} of one set."""

  def to_pandas(self) -> "DataFrame":
    """Every figure, a row each; columns as of `Result.to_pandas`."""
    return notebook.pandas().DataFrame(notebook.figure_rows(self._as_json()))

  def plot(self, *names: str) -> "Figure":
    """The main figures beside their baselines; arguments and errors as of `Result.plot`."""
    return _plot(self._as_json(), names)

  def _as_json(self) -> dict[str, Any]:
    return report_to_json({}, self)["reports"]

  def __repr__(self) -> str:
    """The figures of all reports as a table of text."""
    return "\n".join(table_lines(self._as_json()))

  def _repr_html_(self) -> str:
    return notebook.reports_html(self._as_json())


class DistilledSet(types.DistilledSet):
  """A distilled set from disk; its fields are those of `ddjax.types.DistilledSet`."""

  def to_pandas(self) -> "DataFrame":
    """The labels, a row an image: the class of the largest one, then a column for each class.

    Raises:
      ImportError: without pandas.
    """
    labels, names = np.asarray(self.labels), self.class_names()
    columns: dict[str, Any] = {"class": [names[index] for index in labels.argmax(axis=-1)]}
    for index in range(labels.shape[-1]):
      columns[f"label of {names[index]}"] = labels[:, index]
    frame = notebook.pandas().DataFrame(columns)
    frame.index.name = "image"
    return frame

  def plot(
    self, class_names: Sequence[str] | None = None, *, max_per_class: int = _MOST_SHOWN
  ) -> "Figure":
    """The images in pixels, by class.

    Args:
      class_names: k names; default those that the set was saved with, else numbers.
      max_per_class: how many images of a class are shown.
    Raises:
      ValueError: for a set without its preprocessing, or images of other than 1 or 3 channels.
    """
    preprocessing = (self.info or {}).get("preprocessing")
    if preprocessing is None:
      raise ValueError("The set has no preprocessing, so its pixels are not known: see ddjax.load.")
    pixels = np.asarray(preprocessing.inverse(np.asarray(self.images)))
    names = self.class_names() if class_names is None else class_names
    return grids.image_grid(pixels, np.asarray(self.labels), names, max_per_class=max_per_class)

  def class_names(self) -> list[str]:
    """Those that the set was saved with; numbers for a set that has none."""
    num_classes = self.labels.shape[-1]
    names = [str(name) for name in (self.info or {}).get("class_names") or ()]
    return names if len(names) == num_classes else [str(index) for index in range(num_classes)]

  def _title(self) -> str:
    info = self.info or {}
    return run_title({**info, "num_steps": info.get("step")})

  def _facts(self) -> dict[str, Any]:
    """What is known of the set, in a few words each; None where nothing is."""
    info = self.info or {}
    return {
      "images": f"{len(self.images)} of {'x'.join(map(str, self.images.shape[1:]))}",
      "classes": self.labels.shape[-1],
      "labels": info.get("label_kind"),
      "preprocessing": getattr(info.get("preprocessing"), "kind", None),
      "learning rate": info.get("learning_rate"),
    }

  def __repr__(self) -> str:
    """Where it comes from, and what it holds, without its numbers."""
    try:
      known = {name: fact for name, fact in self._facts().items() if fact is not None}
      return f"{self._title()}: {', '.join(f'{name} {fact}' for name, fact in known.items())}"
    except Exception:  # JAX builds such objects around leaves that are no arrays
      return f"DistilledSet(images={self.images!r}, labels={self.labels!r})"

  def _repr_html_(self) -> str:
    """Where it comes from, and its images."""
    text = notebook.heading_html(self._title()) + notebook.facts_html(self._facts())
    try:
      png = figures.as_png(self.plot())
    except Exception as error:  # of a set that nobody foresaw; the text is worth something
      return text + notebook.facts_html({"No picture:": error})
    return text + notebook.picture_html(png, f"{len(self.images)} distilled images by class")


def _plot(reports: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> "Figure":
  """Strips of the named figures, or of those that stand for each report."""
  rows = comparisons(reports)
  known = [row.key for row in rows]
  for name in names:
    if name not in known:
      raise ValueError(f"Unknown figure {name!r}. {nearest(name, known)}")
  chosen = [row for row in rows if row.key in names] if names else headlines(reports)
  return levels.draw([(_name(row, reports), _marks(row)) for row in chosen])


def _name(row: Comparison, reports: Mapping[str, Any]) -> str:
  return words(row.key) if len(reports) == 1 else f"{words(row.report)}: {words(row.key)}"


def _marks(row: Comparison) -> list[levels.Mark]:
  """Nothing for a figure that was not measured."""
  if row.distilled.value is None:
    return []
  return [
    levels.Mark(label, value, interval)
    for label, value, interval in (row.distilled, *row.baselines)
    if value is not None
  ]


def _study_rows(study: Mapping[str, Any]) -> list[dict[str, Any]]:
  """One row for each cell and figure; a cell without figures has one, with its state."""
  rows = []
  for cell in study["cells"]:
    start = {"cell": cell["name"], "role": cell["role"], "state": cell["state"]} | cell["factors"]
    for figure in cell["figures"] or [[None] * len(_STUDY_COLUMNS)]:
      values = dict(zip(_STUDY_COLUMNS, figure, strict=True))
      rows.append(start | values | {"seconds": cell["seconds"]})
  return rows


def _study_html(study: Mapping[str, Any]) -> str:
  """Its state, and the answer of each section."""
  text = notebook.heading_html(study["title"]) + notebook.facts_html({"": study["progress"]})
  answers = {section["question"]: section["answer"] for section in study["sections"]}
  return text + "".join(notebook.facts_html({question: answers[question]}) for question in answers)
