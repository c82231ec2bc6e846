"""What every kind of run has in common: its shape, and what it returns."""

import pathlib
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict

from ddjax.io.report import HTML_NAME, summary_text
from ddjax.stages.estimate import Estimate


class Outcome(NamedTuple):
  """A finished run.

  Attributes:
    workdir: its folder.
    report: what its `report.json` holds; None for a task that writes none.
    summary: its figures and the names of its files, for a terminal.
  """

  workdir: pathlib.Path
  report: dict[str, Any] | None
  summary: str


class EstimateFn(Protocol):
  """(config) -> what a run of it costs on this machine; reads the data, computes nothing."""

  def __call__(self, config: ConfigDict) -> Estimate: ...


class RunFn(Protocol):
  """(config, workdir, overwrite=False) -> outcome; a second call goes on where one was left."""

  def __call__(
    self, config: ConfigDict, workdir: pathlib.Path, *, overwrite: bool = False
  ) -> Outcome: ...


class Task(NamedTuple):
  """A kind of run: a module of this room has both functions."""

  estimate: EstimateFn
  run: RunFn


def outcome(workdir: pathlib.Path, report: dict[str, Any] | None) -> Outcome:
  """Of a run whose report is a table of figures; None where another host has it."""
  if report is None:
    return Outcome(workdir, None, "")
  return Outcome(workdir, report, f"{summary_text(report)}\nReport: {workdir / HTML_NAME}")
