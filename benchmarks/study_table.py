"""The study's table from the reports of audits, in Markdown.

  python -m benchmarks.study_table RUN...

RUN is the folder of an audit (`configs/evaluate.py:DATASET,audit`) of one set. The first table has
a row for each: test accuracy, membership AUC of LiRA (online and offline), accuracy under the
ensemble of attacks, the worst class, with 95 % intervals; below them the random subset and the full
set of the first run. The second says what distillation does to the gap between classes.
"""

import json
import pathlib
import sys
from typing import Any

from ddjax.io.comparisons import format_interval, format_number, format_signed

_COLUMNS = {
  "test accuracy": ("accuracy", None),
  "LiRA AUC": ("privacy", "lira_auc"),
  "offline LiRA AUC": ("privacy", "lira_offline_auc"),
  "accuracy, attacks of l∞ 8/255": ("robustness", "autoattack_linf_8_255"),
  "worst class": ("fairness", "worst_class_accuracy"),
}


def row(label: str, report: dict[str, Any], prefix: str = "") -> str:
  """One line of the table; `prefix` picks the random subset or the full set."""
  cells = [label]
  for name, key in _COLUMNS.values():
    one = report["reports"].get(name)
    if one is None:
      cells.append("")
      continue
    key = prefix + (key or one["settings"]["architectures"][0])
    value, interval = one["scalars"].get(key), one["interval"].get(key)
    cells.append(f"{format_number(value)} {format_interval(interval)}".strip())
  return f"| {' | '.join(cells)} |"


def gap_row(report: dict[str, Any]) -> str:
  """One line on the gap between classes, and its paired differences from both baselines."""
  fairness = report["reports"]["fairness"]
  cells = [report["run"]["method"], format_number(fairness["scalars"]["accuracy_gap"])]
  for baseline, gain in (("random_subset", "random"), ("full", "full")):
    key = f"gain_over_{gain}_accuracy_gap"
    difference = format_signed(fairness["scalars"].get(key))
    verdict = fairness["settings"]["amplified"]["accuracy_gap"].get(baseline, "not measured")
    cells.append(f"{difference} {format_interval(fairness['interval'].get(key))}: {verdict}")
  return f"| {' | '.join(cells)} |"


def main(paths: list[str]) -> None:
  """Prints the table."""
  if not paths:
    sys.exit(__doc__)
  reports = [json.loads((pathlib.Path(path) / "report.json").read_text()) for path in paths]
  print(f"| trained on | {' | '.join(_COLUMNS)} |")
  print("|---" * (1 + len(_COLUMNS)) + "|")
  for report in reports:
    print(row(report["run"]["method"], report))
  print(row("random subset", reports[0], "random_subset_"))
  print(row("full set", reports[0], "full_"))
  print(
    "\n| trained on | gap | against the random subset | against the full set |\n|---|---|---|---|"
  )
  for report in reports:
    print(gap_row(report))


if __name__ == "__main__":
  main(sys.argv[1:])
