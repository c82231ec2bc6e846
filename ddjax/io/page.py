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
_CAPTIONS = {
  "images": "Initial images, and what they became, in pixels",
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
_ROLES = {"distilled": "distilled", "random subset": "random", "step 0": "initial"}


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
  run, reports = report_json["run"], report_json["reports"]
  return environment.get_template("report.html.j2").render(
    title=compare.run_title(run),
    study_page=study_page,
    run={key: value for key, value in run.items() if key not in _FIELDS_ELSEWHERE},
    cards=[_card(row) for row in compare.headlines(reports)],
    sections=[
      _section(name, report, run, _of_others(report_json, name)) for name, report in reports.items()
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
  """What a figure of a set shows, in words."""
  kind, _, label = name.partition(" of ")
  sets = {one["label"]: one["reports"] for one in report_json.get("sets", ())}
  reports = sets.get(label, {}) if label else report_json["reports"]
  return finding(kind, reports, report_json["run"].get("class_names") or ())


def _of_others(report_json: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
  """{label: the report `name`} of the further sets of an evaluation of several."""
  return {
    one["label"]: one["reports"][name]
    for one in report_json.get("sets", ())[1:]
    if name in one["reports"]
  }


def _card(row: compare.Comparison) -> dict[str, Any]:
  """A figure with its baselines as marks on one scale, and its gains in words."""
  measured = row.distilled.value is not None
  levels = [row.distilled, *row.baselines] if measured else row.baselines
  ends = [end for level in levels for end in (level.interval or [level.value])]
  low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
  margin = 0.06 * (high - low) or 0.01

  def place(value: float) -> float:
    return round(100 * (value - low + margin) / (high - low + 2 * margin), 2)

  return {
    "title": _title(row.report),
    "name": compare.words(row.key),
    "level": row.distilled,
    "marks": [
      {
        "level": level,
        "role": _ROLES.get(level.label, "full"),
        "at": place(level.value),
        "ends": [place(end) for end in level.interval] if level.interval else None,
      }
      for level in levels
    ],
    "gains": [(gain, compare.gain_in_words(gain)) for gain in row.gains],
  }


def _section(
  name: str,
  report: Mapping[str, Any],
  run: Mapping[str, Any],
  others: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """All figures of one report, its figures by class, and its settings.

  `others` holds the same report of further sets by label, which get a column each.
  """
  settings = dict(report["settings"])
  reasons = settings.pop("not_measured", {})
  settings.pop("headline", None)
  checks = list(settings.pop("checks", []))
  verdicts = _verdicts(settings.pop("amplified", {}))
  exact = _exact_rates(settings.pop("clopper_pearson", {}))
  per_class = {compare.words(key): values for key, values in report["per_class"].items()}
  for label, other in others.items():
    per_class |= {
      f"{compare.words(key)} of {label}": values
      for key, values in other["per_class"].items()
      if not key.startswith(compare.BASELINE_PREFIXES)
    }
    checks += [f"{label}: {sentence}" for sentence in other["settings"].get("checks", [])]
    exact += [
      f"{label}: {sentence}"
      for sentence in _exact_rates(other["settings"].get("clopper_pearson", {}))
    ]
    verdicts += [
      f"{label}: {sentence}" for sentence in _verdicts(other["settings"].get("amplified", {}))
    ]
  num_classes = max(map(len, per_class.values()), default=0)
  names = settings.pop("class_names", None) or run.get("class_names") or range(num_classes)
  if worst := settings.get("worst_class"):  # {figure: number of a class}
    settings["worst_class"] = {
      key: names[label] if label < len(names) else label for key, label in worst.items()
    }
  rows = compare.comparisons({name: report})
  labels = [level.label for row in rows for level in (*row.baselines, *row.gains)]
  return {
    "title": _title(name),
    "subject": settings.get("subject", "distilled"),
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
        "others": [
          compare.Level(label, other["scalars"].get(row.key), other["interval"].get(row.key))
          for label, other in others.items()
        ],
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
