"""Reports and sets as tables: HTML for notebooks, and rows for pandas.

The HTML takes its colours from the notebook around it, by day and by night.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ddjax.io.comparisons import (
  Comparison,
  comparisons,
  format_interval,
  format_number,
  format_signed,
  words,
)

_LEFT, _RIGHT = "text-align: left", "text-align: right; white-space: nowrap"
_SOFT = "opacity: .65"


def pandas():
  """The module.

  Raises:
    ImportError: where it is not installed, with the command that installs it.
  """
  try:
    import pandas as module
  except ImportError as error:
    raise ImportError("to_pandas() needs pandas: pip install pandas") from error
  return module


def figure_rows(reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Every figure of some reports, with its baselines and gains, a row each.

  Args:
    reports: {name: report as JSON}.
  Returns:
    rows of report, figure, of ("distilled", "random subset", "gain over random subset", ...),
    value, low, high, std and num_models, with None for what is not known.
  """
  return [row for one in comparisons(reports) for row in _rows(one, reports[one.report])]


def _rows(one: Comparison, report: Mapping[str, Any]) -> list[dict[str, Any]]:
  levels = [(one.distilled.label, one.distilled)]
  levels += [(level.label, level) for level in one.baselines]
  levels += [(f"gain over {level.label}", level) for level in one.gains]
  rows = []
  for number, (label, level) in enumerate(levels):
    low, high = level.interval or (None, None)
    rows.append(
      {
        "report": one.report,
        "figure": one.key,
        "of": label,
        "value": level.value,
        "low": low,
        "high": high,
        "std": report["spread"].get(one.key) if number == 0 else None,
        "num_models": (len(report["per_model"].get(one.key, [])) or None) if number == 0 else None,
      }
    )
  return rows


def reports_html(reports: Mapping[str, Mapping[str, Any]], with_names: bool = True) -> str:
  """The figures of some reports as one table.

  Args:
    reports: {name: report as JSON}.
    with_names: whether the name of the report stands before that of a figure.
  """
  rows = comparisons(reports)
  labels = list(dict.fromkeys(level.label for row in rows for level in row.baselines))
  subjects = list(dict.fromkeys(row.distilled.label for row in rows))
  subject = subjects[0] if len(subjects) == 1 else "value"
  head = ["figure", subject, "95 % interval", *labels, *["gain over random subset"] * bool(labels)]
  body = []
  for row in rows:
    name = f"{words(row.report)}: {words(row.key)}" if with_names else words(row.key)
    baselines = {level.label: level for level in row.baselines}
    gain = next((one for one in row.gains if one.label == "random subset"), None)
    cells = [
      escape(name),
      format_number(row.distilled.value),
      format_interval(row.distilled.interval),
      *(format_number(baselines[one].value) if one in baselines else "" for one in labels),
    ]
    if labels:
      cells.append(
        f"{format_signed(gain.value)} {_soft(format_interval(gain.interval))}" if gain else ""
      )
    body.append(cells)
  checks = [
    f"{words(name)}: {sentence}"
    for name, report in reports.items()
    for sentence in report["settings"].get("checks", [])
  ]
  return table(head, body) + "".join(f"<p>{escape(sentence)}</p>" for sentence in checks)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A table; the first column to the left, the others to the right.

  Args:
    head: plain text.
    rows: HTML.
  """

  def line(cells: Sequence[str], tag: str) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    styles = [_LEFT] + [_RIGHT] * (len(cells) - 1)
    return "".join(
      f'<{tag}{scope} style="{style}">{cell}</{tag}>'
      for cell, style in zip(cells, styles, strict=True)
    )

  body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
  top = f"<thead><tr>{line([escape(cell) for cell in head], 'th')}</tr></thead>"
  return f'<div style="overflow-x: auto"><table>{top}<tbody>{body}</tbody></table></div>'


def facts_html(facts: Mapping[str, Any]) -> str:
  """Names and values on one line, without those that are None."""
  shown = [
    f"{_soft(escape(name))} {escape(str(value))}"
    for name, value in facts.items()
    if value is not None
  ]
  return f"<p>{' &nbsp; '.join(shown)}</p>"


def heading_html(text: str) -> str:
  """A line in bold."""
  return f"<p><strong>{escape(text)}</strong></p>"


def picture_html(png: bytes, alt: str) -> str:
  """A PNG as part of the page."""
  data = base64.b64encode(png).decode()
  return (
    f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" '
    'style="max-width: 100%; background: #fff">'
  )


def link_html(path: str, text: str) -> str:
  """A link to a file."""
  return f'<p><a href="{escape(path)}">{escape(text)}</a></p>'


def _soft(html: str) -> str:
  return f'<span style="{_SOFT}">{html}</span>' if html else ""
