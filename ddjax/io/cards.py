"""The cards of a report: each main figure with what it is to be held against, on one scale."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddjax.io import comparisons as compare

_ROLES = {"distilled": "distilled", "random subset": "random", "step 0": "initial"}
_MOST_WITH_GAINS = 3  # sets beside each other whose gains over random subsets are all written out
Rows = dict[tuple[str, str], dict[str, compare.Comparison]]
"""{(report, figure): {label of a set: its row}}."""


def cards(sets: Mapping[str, Mapping[str, Any]], order: Sequence[str]) -> list[dict[str, Any]]:
  """What the template shows of each main figure.

  Args:
    sets: {label: reports as JSON}; the label of a single set is not shown.
    order: of the reports.
  """
  rows: Rows = {}
  for label, reports in sets.items():
    for row in compare.headlines(reports):
      rows.setdefault((row.report, row.key), {})[label] = row
  in_order = sorted(rows.items(), key=lambda item: order.index(item[0][0]))
  return [_card(by_set, len(sets) > 1) for _, by_set in in_order]


def _card(rows: Mapping[str, compare.Comparison], is_of_several: bool) -> dict[str, Any]:
  """One figure: of a single set in large, of several sets as marks alone."""
  first = next(iter(rows.values()))
  levels = {
    label: row.distilled._replace(label=label) if is_of_several else row.distilled
    for label, row in rows.items()
    if row.distilled.value is not None
  }
  marks = [
    (level, "other" if number else _ROLES.get(first.distilled.label, "distilled"))
    for number, level in enumerate(levels.values())
  ]
  marks += [(level, _ROLES.get(level.label.split(" of ")[0], "full")) for level in _baselines(rows)]
  ends = [end for level, _ in marks for end in _ends(level)]
  low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
  margin = 0.06 * (high - low) or 0.01

  def place(value: float | None) -> float:
    return (
      0.0 if value is None else round(100 * (value - low + margin) / (high - low + 2 * margin), 2)
    )

  return {
    "report": first.report,
    "name": compare.words(first.key),
    "is_better_low": compare.is_better_low(first.report, first.key),
    "level": None if is_of_several else first.distilled,
    "marks": [
      {
        "level": level,
        "role": role,
        "at": place(level.value),
        "ends": [place(end) for end in level.interval] if level.interval else None,
      }
      for level, role in marks
    ],
    "gains": _verdicts(levels, rows)
    if is_of_several
    else [(gain, compare.gain_in_words(gain)) for gain in first.gains],
  }


def _ends(level: compare.Level) -> Sequence[float]:
  """Of its interval; without one it is its own."""
  return level.interval or ([] if level.value is None else [level.value])


def _baselines(rows: Mapping[str, compare.Comparison]) -> list[compare.Level]:
  """What stands beside the sets; where it is another one for a further set, it says for which."""
  found: list[compare.Level] = []
  for label, row in rows.items():
    for level in row.baselines:
      alike = [one for one in found if one.label.split(" of ")[0] == level.label]
      if not alike:
        found.append(level)
      elif all((one.value, one.interval) != (level.value, level.interval) for one in alike):
        found.append(level._replace(label=f"{level.label} of {label}"))
  return found


def _verdicts(
  levels: Mapping[str, compare.Level], rows: Mapping[str, compare.Comparison]
) -> list[tuple[compare.Level, str]]:
  """The further sets against the first, and each against its random subset."""
  said = []
  if levels:
    first, *others = levels.values()
    for one in others:
      gain = compare.difference(one, first)
      assert gain is not None  # both are measured
      said.append((gain, f"{one.label}: {compare.gain_in_words(gain, first.label)}"))
  if len(levels) <= _MOST_WITH_GAINS:
    for label in levels:
      said += [
        (gain, f"{label}: {compare.gain_in_words(gain)}") for gain in _over_random(rows[label])
      ]
  return said


def _over_random(row: compare.Comparison) -> Sequence[compare.Level]:
  return [gain for gain in row.gains if gain.label == "random subset"]
