"""What `study.json` holds: every cell with its figures, and every question with its answer.

A function of the records alone, so that the same cells give the same study, and any state of an
unfinished study can be shown.
"""

from collections import Counter, defaultdict
from typing import Any, Callable, Mapping, MutableMapping, Sequence

from absl import logging
import numpy as np

from ddjax.files import atomic
from ddjax.io.comparisons import BASELINE_PREFIXES
from ddjax.study import (
  claims,
  fairness,
  pairs,
  performance,
  privacy,
  ranks,
  robustness,
  transfer,
)
from ddjax.study import conditions as of
from ddjax.study import section as page
from ddjax.study.records import Record
from ddjax.wording import duration

FORMAT = 1
_EVALUATORS = {
  "performance": ("accuracy", "kernel"),
  "privacy": ("privacy",),
  "robustness": ("robustness",),
  "fairness": ("fairness",),
}
"""The evaluators that a section needs, one of them at least."""
STATES = ("done", "running", "waiting", "failed", "too dear")


def summarise(
  records: Sequence[Record],
  config: Mapping[str, Any],
  known: MutableMapping[str, dict[str, np.ndarray]] | None = None,
) -> dict[str, Any]:
  """The study as plain data.

  Args:
    records: from `read_records`.
    config: of the study, a plain dict: preset, axes, evaluators, claims_attacks, ...
    known: replicates of earlier calls by what they are of; those of this one are added. Kept
      between calls, it saves the bootstrap of cells that were there before.
  Returns:
    JSON-safe: {"format", "title", "preset", "config", "counts": {state: n}, "progress": a sentence,
    "hardware": [...], "codes": [...], "days": [first, last], one or none, "cells": [{name, role,
    task, factors, state, error, seconds, estimate_seconds, device, code, finished, figures: [[axis,
    figure, value, low, high, num_models], ...]}], "sections": see `ddjax.study.section`}.
  """
  cells = [_cell(record) for record in records]
  records, is_kernel = of.with_accuracy(records)
  sections = _sections(records, config, is_kernel, known)
  counts = Counter(record.state for record in records)
  study = {
    "format": FORMAT,
    "title": _title(records, config),
    "preset": config.get("preset"),
    "config": dict(config),
    "counts": {state: counts[state] for state in (*STATES, *sorted(set(counts) - set(STATES)))
               if counts[state]},
    "progress": progress(records),
    "hardware": _made_by(records, "device"),
    "codes": _made_by(records, "code"),
    "days": _days(records),
    "cells": cells,
    "sections": page.numbered(sections),
  }  # fmt: skip
  return atomic.json_safe(study)


def _sections(
  records: Sequence[Record],
  config: Mapping[str, Any],
  is_kernel: bool,
  known: MutableMapping[str, dict[str, np.ndarray]] | None,
) -> list[dict[str, Any]]:
  """Every question with its answer, in the order of the page."""

  def leaks() -> list[pairs.Difference]:
    methods = sorted(of.conditions(records, "method"), key=page.sort_key)
    attack = privacy.attack_of(methods, config)
    return pairs.differences(methods, attack, known) if attack else []

  found = _unless_it_fails(leaks) or []
  asked, made = config.get("evaluators"), []
  for name, question, build in (
    ("claims", claims.QUESTION, lambda: claims.build(records, config, found)),
    ("performance", performance.QUESTION, lambda: performance.build(records, config, is_kernel)),
    ("privacy", privacy.QUESTION, lambda: privacy.build(records, config, found)),
    ("robustness", robustness.QUESTION, lambda: robustness.build(records, config)),
    ("fairness", fairness.QUESTION, lambda: fairness.build(records, config)),
    ("together", ranks.QUESTION, lambda: ranks.build(records, config)),
    ("transfer", transfer.QUESTION, lambda: transfer.build(records, config)),
  ):
    one = _unless_it_fails(build, name, question)
    if one is None:
      continue
    needed = _EVALUATORS.get(name)
    if one["answer"] == page.NOTHING and needed and asked and not set(needed) & set(asked):
      one["answer"] = page.NOT_ASKED
    made.append(one)
  return made


def _unless_it_fails(build: Callable[[], Any], name: str = "", question: str = "") -> Any:
  """What `build()` returns; where a report is of no known form, a section that says so, or None.

  One strange report must hide neither the other questions nor a study that goes on.
  """
  try:
    return build()
  except Exception as error:  # of figures that nobody foresaw
    reason = f"{type(error).__name__}: {error}"
    logging.warning("A part of the study, %s, could not be made (%s).", name or "pairs", reason)
    told = f"This part could not be made from the reports at hand ({reason})."
    return page.section(name, question, told) if name else None


def _title(records: Sequence[Record], config: Mapping[str, Any]) -> str:
  datasets = dict.fromkeys(
    str(record.factors["dataset"]) for record in records if record.factors.get("dataset")
  )
  parts = ["A study of dataset distillation"]
  if datasets:
    parts.append(f" on {page.joined(list(datasets))}")
  if config.get("preset"):
    parts.append(f", preset {config['preset']}")
  return "".join(parts)


def progress(records: Sequence[Record]) -> str:
  """How far a study is, in one sentence or two."""
  if not records:
    return "This study has no cells."
  counts = Counter(record.state for record in records)
  text = f"{counts['done']} of {len(records)} cells are done"
  rest = [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
  text += f" ({', '.join(rest)})." if rest else "."
  spent = sum(record.seconds or 0.0 for record in records)
  if spent:
    text += f" The cells took {duration(spent)} of computing."
  left = [record for record in records if record.state in ("waiting", "running")]
  expected = _expected(records)
  known = [seconds for record in left if (seconds := expected(record)) is not None]
  if left and known:
    more = (
      f", without {len(left) - len(known)} that have no estimate" if len(known) < len(left) else ""
    )
    text += f" What is left is estimated at {duration(sum(known))} of computing{more}."
  return text


def _expected(records: Sequence[Record]) -> Callable[[Record], float | None]:
  """What a cell takes: as cells that differ in the seed did, else its estimate, else as its like.

  Estimates leave out compilation and attacks, so what was taken comes first.
  """
  same, like = defaultdict(list), defaultdict(list)

  def keys(record: Record) -> tuple[tuple, tuple]:
    factors = sorted((k, repr(v)) for k, v in record.factors.items() if k != "seed")
    return (record.role, *factors), (record.role, record.factors.get("method"))

  for record in records:
    if record.state == "done" and record.seconds is not None:
      for taken, key in zip((same, like), keys(record)):
        taken[key].append(record.seconds)

  def expected(record: Record) -> float | None:
    key, wide = keys(record)
    if key in same:
      return sum(same[key]) / len(same[key])
    if record.estimate_seconds is not None:
      return record.estimate_seconds
    return sum(like[wide]) / len(like[wide]) if wide in like else None

  return expected


def _made_by(records: Sequence[Record], field: str) -> list[str]:
  """The machines' devices, or the versions of the code, and how many cells each made."""
  values = [getattr(record, field) for record in records if record.state == "done"]
  found = Counter(value for value in values if value)
  return [
    f"{value} ({count} cell{'' if count == 1 else 's'})" for value, count in found.most_common()
  ]


def _days(records: Sequence[Record]) -> list[str]:
  """The first and the last day on which a cell was finished, once where they are one."""
  days = sorted({record.finished[:10] for record in records if record.finished})
  return list(dict.fromkeys((*days[:1], *days[-1:])))


def _cell(record: Record) -> dict[str, Any]:
  names = (
    "name", "role", "task", "factors", "state", "error", "seconds", "estimate_seconds", "device",
    "code", "finished",
  )  # fmt: skip
  return {name: getattr(record, name) for name in names} | {"figures": figures(record)}


def figures(record: Record) -> list[list[Any]]:
  """[axis, figure, value, low, high, num_models] of a cell's own set.

  Figures of what stands beside it, and differences from that, are in the cell's own report.
  """
  rows = []
  for axis, report in (record.report or {"reports": {}})["reports"].items():
    num_models = report["settings"].get("num_models")
    for key, value in report["scalars"].items():
      if key.startswith((*BASELINE_PREFIXES, "gain_over_")):
        continue
      low, high = report["interval"].get(key) or (None, None)
      models = len(report["per_model"].get(key) or ()) or _count(num_models)
      rows.append([axis, key, *map(_short, (value, low, high)), models])
  return rows


def _short(value: float | None) -> float | None:
  """Six digits, which are more than any figure here is known to."""
  return float(f"{value:.6g}") if isinstance(value, float) else value


def _count(num_models: Any) -> int | None:
  """Of the distilled set, where a report counts by set."""
  if isinstance(num_models, Mapping):
    num_models = num_models.get("distilled")
  return num_models if isinstance(num_models, int) else None
