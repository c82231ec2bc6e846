"""`report.html`: one self-contained page, readable on paper, on a screen, by day and by night.

The template is `templates/report.html.j2`; what it shows is put in order here, from the JSON of a
report alone. `settings["headline"]`, a list of figures, chooses a report's cards; without it the
first three have one. `settings["checks"]`, a list of sentences, stands in full under a report's
table: what a reader must know before he believes the figures.
"""

import base64
from collections.abc import Mapping, Sequence
import json
import os
from pathlib import Path
from typing import Any

from ddjax.io import comparisons as compare
from ddjax.io.cards import cards
from ddjax.io.findings import HOW_TO_READ, finding
from ddjax.wording import duration

_TITLES = {
  "kernel": "Kernel ridge regression",
  "accuracy": "Networks trained on the set",
  "privacy": "Privacy",
  "robustness": "Robustness",
  "fairness": "Fairness",
  "features": "Features",
}
_MEDIANS = "brightness and contrast are the train medians"
_CAPTIONS = {
  "images": "Initial images, and what they became, in pixels",
  "images_by_medians": f"Initial images, and what they became; {_MEDIANS}",
  "set_images": "The images of the set, in pixels",
  "set_images_by_medians": f"The images of the set; {_MEDIANS}",
  "curves": "Loss and accuracy over the steps of the distillation",
  "experts": "Training loss of the experts",
  "architectures": "Test accuracy by training set and architecture",
  "membership": "Membership inference: rates on logarithmic axes, targets of all splits pooled",
  "closest_pairs": "The synthetic images nearest to a train image, with root mean square distances",
  "closest_pairs_in_features": "The same, by distance in the features of a network of the full set",
  "robustness": "Test accuracy under PGD against the size of the perturbation",
  "corruptions": "Test accuracy under corruptions by severity",
  "fairness": "Test accuracy by class, with 95 % intervals",
  "fairness_groups": "Test accuracy by class and colour",
  "features": "Real, distilled and random images in the features of a network",
  "confusion": "What the test images of each class were taken for, by the kernel predictor",
}
_MAX_SETTING = 280  # characters; longer ones stand in report.json alone
_FIELDS_ELSEWHERE = (
  "config", "versions", "seconds", "estimates", "compilation", "class_names"
)  # fmt: skip
_OF_ALL_SETS = ("robustness", "corruptions", "membership")
"""Figures that show several sets in one picture."""


def render(
  report_json: Mapping[str, Any],
  figures: Mapping[str, str | os.PathLike],
  study_page: str = "",
) -> str:
  """The page as HTML.

  Args:
    report_json: what `ddjax.io.report.report_to_json` gave.
    figures: {name or caption: path of a PNG}; the pictures become part of the page.
    study_page: address of the page of the study that the run is a cell of, for a link to it.
  Raises:
    FileNotFoundError: for a figure that does not exist.
  """
  import jinja2

  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("ddjax.io", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= {
    "number": compare.format_number,
    "signed": compare.format_signed,
    "interval": compare.format_interval,
    "words": compare.words,
    "plain": _plain,
  }
  run = report_json["run"]
  sets = {one["label"]: one["reports"] for one in report_json.get("sets", ())}
  sets = sets or {"": report_json["reports"]}
  names = list(dict.fromkeys([*_TITLES, *(name for one in sets.values() for name in one)]))
  return environment.get_template("report.html.j2").render(
    title=compare.run_title(run),
    study_page=study_page,
    run={key: value for key, value in run.items() if key not in _FIELDS_ELSEWHERE},
    cards=[card | {"title": _title(card["report"])} for card in cards(sets, names)],
    sections=[
      _section(name, {label: one[name] for label, one in sets.items() if name in one}, run)
      for name in names
      if any(name in one for one in sets.values())
    ],
    figures=[
      (_caption(name), _finding(name, report_json), _data_uri(path))
      for name, path in figures.items()
    ],
    times=_times(run),
    estimates={k: v for k, v in (run.get("estimates") or {}).items() if k != "seconds" and v != {}},
    versions=run.get("versions") or {},
    config=json.dumps(run["config"], indent=2) if run.get("config") else "",
  )


def _caption(name: str) -> str:
  """Of a figure by its name; `NAME of LABEL` is the same of a further set."""
  kind, _, label = name.partition(" of ")
  return f"{_CAPTIONS[kind]}: {label}" if label and kind in _CAPTIONS else _CAPTIONS.get(name, name)


def _finding(name: str, report_json: Mapping[str, Any]) -> str:
  """What a figure shows, in words; of one of all sets a sentence for each."""
  kind, _, label = name.partition(" of ")
  sets = {one["label"]: one["reports"] for one in report_json.get("sets", ())}
  class_names = report_json["run"].get("class_names") or ()
  if kind in _OF_ALL_SETS and sets:
    said = {one: finding(kind, reports, class_names) for one, reports in sets.items()}
    return " ".join(f"{one}: {sentence}" for one, sentence in said.items() if sentence)
  reports = sets.get(label, {}) if label else report_json["reports"]
  return finding(kind, reports, class_names)


def _section(
  name: str, of_sets: Mapping[str, Mapping[str, Any]], run: Mapping[str, Any]
) -> dict[str, Any]:
  """All figures of one report, its figures by class, and its settings.

  Args:
    name: of the report.
    of_sets: {label: report as JSON} of the sets that have it. Further ones get a column each.
    run: its facts.
  """
  (subject, report), *rest = of_sets.items()
  others = dict(rest)
  settings = dict(report["settings"])
  reasons = settings.pop("not_measured", {})
  settings.pop("headline", None)
  checks, verdicts, exact, per_class = [], [], [], {}
  for label, one in of_sets.items():
    said = one["settings"]
    start = f"{label}: " if others else ""
    checks += [start + sentence for sentence in said.get("checks", [])]
    exact += [start + sentence for sentence in _exact_rates(said.get("clopper_pearson", {}))]
    verdicts += [start + sentence for sentence in _verdicts(said.get("amplified", {}))]
    per_class |= {
      f"{compare.words(key)} of {label}" if others else compare.words(key): values
      for key, values in one["per_class"].items()
      if label == subject or not key.startswith(compare.BASELINE_PREFIXES)
    }
  for key in ("checks", "clopper_pearson", "amplified"):
    settings.pop(key, None)
  num_classes = max(map(len, per_class.values()), default=0)
  names = settings.pop("class_names", None) or run.get("class_names") or range(num_classes)
  if worst := settings.get("worst_class"):  # {figure: number of a class}
    settings["worst_class"] = {
      key: names[label] if label < len(names) else label for key, label in worst.items()
    }
  rows = compare.comparisons({name: report})
  further = {
    label: {row.key: row for row in compare.comparisons({name: one})}
    for label, one in others.items()
  }
  labels = [level.label for row in rows for level in (*row.baselines, *row.gains)]
  return {
    "title": _title(name),
    "subject": subject or settings.get("subject", "distilled"),
    "columns": list(dict.fromkeys(labels)),
    "others": list(others),
    "rows": [
      {
        "key": row.key,
        "level": row.distilled,
        "spread": report["spread"].get(row.key),
        "models": report["per_model"].get(row.key, []),
        "baselines": {level.label: level for level in row.baselines},
        "gains": {level.label: level for level in row.gains},
        "others": [_beside(row, by_key.get(row.key)) for by_key in further.values()],
        "reason": reasons.get(row.key),
      }
      for row in rows
    ],
    "how_to_read": HOW_TO_READ.get(name, ()),
    "checks": checks,
    "verdicts": verdicts,
    "notes": exact
    + [note for label, other in others.items() for note in _missing(label, other, rows)],
    "intervals": _intervals(settings.pop("interval_over", None)),
    "settings": {
      key: value for key, value in settings.items() if len(_plain(value)) < _MAX_SETTING
    },
    "class_keys": list(per_class),
    "class_rows": _class_rows(list(names), list(per_class.values()), num_classes),
  }


def _beside(row: compare.Comparison, other: compare.Comparison | None) -> dict[str, Any]:
  """A further set's figure, how it differs from the first one's, and its gain over random."""
  if other is None:
    return {"level": compare.Level("", None, None), "difference": None, "gain": None}
  gains = [gain for gain in other.gains if gain.label == "random subset"]
  return {
    "level": other.distilled,
    "difference": compare.difference(other.distilled, row.distilled),
    "gain": gains[0] if gains else None,
  }


def _verdicts(amplified: Mapping[str, Any]) -> list[str]:
  """Whether unfairness grew against each baseline, one sentence a figure."""
  return [
    f"{compare.words(key)}: unfairness {_plain(of_baseline)}"
    for key, of_baseline in amplified.items()
  ]


def _exact_rates(intervals: Mapping[str, Sequence[float]]) -> list[str]:
  """The exact intervals of the distilled set's rates in one sentence."""
  shown = [
    f"{compare.words(key)} {compare.format_interval(ends)}"
    for key, ends in intervals.items()
    if not key.startswith(compare.BASELINE_PREFIXES)
  ]
  return [f"Exact intervals (Clopper, Pearson): {', '.join(shown)}."] if shown else []


def _missing(
  label: str, report: Mapping[str, Any], rows: Sequence[compare.Comparison]
) -> list[str]:
  """Why a further set has no figure in some rows, one sentence a reason."""
  reasons: dict[str, list[str]] = {}
  for row in rows:
    if (reason := report["settings"].get("not_measured", {}).get(row.key)) is not None:
      reasons.setdefault(reason, []).append(compare.words(row.key))
  return [f"{label} has no {', '.join(keys)}: {reason}." for reason, keys in reasons.items()]


def _intervals(over: Any) -> list[str]:
  """What the intervals run over: one sentence, or one for each group of figures."""
  if not isinstance(over, Mapping):
    return [f"Intervals: {over}."] if over else []
  groups: dict[str, list[str]] = {}
  for key, text in over.items():
    groups.setdefault(str(text), []).append(compare.words(key))
  if len(groups) == 1:
    return [f"Intervals: {next(iter(groups))}."]
  return [f"Intervals of {', '.join(keys)}: {text}." for text, keys in groups.items()]


def _class_rows(names: Sequence[Any], columns: Sequence[Sequence[float]], num_classes: int):
  """(class name, [figure, ...]) by class, None where a column is shorter."""
  return [
    (
      names[index] if index < len(names) else index,
      [column[index] if index < len(column) else None for column in columns],
    )
    for index in range(num_classes)
  ]


def _times(run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
  """(stage, estimated, taken), with a dash where one is not known, the total, and compilation.

  Compilation, with what comes before it, is a part of the stages' seconds, and of none of their
  estimates. Where some stages have no estimate, those that have are summed up apart.
  """
  taken = run.get("seconds") or {}
  estimated = dict((run.get("estimates") or {}).get("seconds") or {})
  compiled = run.get("compilation") or {}
  spent = [compiled[key] for key in ("seconds", "tracing_seconds") if compiled.get(key) is not None]
  compiling = estimated.pop("compilation", None), sum(spent) if spent else None
  stages = [*taken, *(stage for stage in estimated if stage not in taken)]

  def text(seconds: float | None) -> str:
    return "–" if seconds is None else duration(seconds)

  rows = [(stage, text(estimated.get(stage)), text(taken.get(stage))) for stage in stages]
  if len(taken) > 1:
    shared = [stage for stage in taken if estimated.get(stage) is not None]
    whole = sum(estimated[stage] for stage in shared)
    if shared and len(shared) < len(taken):
      rows.append(("stages with an estimate", text(whole), text(sum(map(taken.get, shared)))))
    is_known = len(shared) == len(taken)
    rows.append(("total", text(whole if is_known else None), text(sum(taken.values()))))
  if any(seconds is not None for seconds in compiling):
    rows.append(("compilation, in the above", text(compiling[0]), text(compiling[1])))
  return rows


def _title(report: str) -> str:
  """The heading of a report."""
  return _TITLES.get(report, compare.words(report))


def _plain(value: Any) -> str:
  """A setting in one line."""
  if isinstance(value, float):
    return f"{value:.6g}"
  if isinstance(value, dict):
    return ", ".join(f"{compare.words(key)} {_plain(item)}" for key, item in value.items())
  if isinstance(value, list):
    parts = [_plain(one) for one in value]
    are_sentences = all(part.endswith(".") for part in parts)
    return (" " if are_sentences else ", ").join(parts) or "none"
  if value is None:
    return "none"
  return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _data_uri(path: str | os.PathLike) -> str:
  """A PNG as part of a page."""
  return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()
