"""The data card of an exported set: what it is, where it comes from, what was measured of it."""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import ddjax
from ddjax.data.preprocess import Preprocessing
from ddjax.io import comparisons as compare
from ddjax.io.report import JSON_NAME
from ddjax.types import DistilledSet

_ORIGIN = ("method", "dataset", "ipc", "seed", "step", "layout", "code_version")
_HASHES = {"real_data_hash": "SHA-256 of the real data", "member_hash": "SHA-256 of the members"}
_PLACES = ("path", "data_dir", "init_from", "resume_from")  # on the machine of the run
_AFTERWARDS = ", by the audit"
_MOST_SHOWN = 8  # channels or numbers in a line


def render(
  distilled: DistilledSet,
  class_names: Sequence[str],
  format_name: str,
  files: Sequence[str],
  report: Mapping[str, Any] | None,
  evaluation: Mapping[str, Any] | None = None,
) -> str:
  """The card in Markdown, headed as the Hugging Face hub reads it.

  Args:
    distilled: from `load_distilled`.
    class_names: k names.
    format_name: of the export.
    files: sentences on the files of the export, and on what they lost.
    report: what `report.json` holds; None where nothing was measured.
    evaluation: from `read_report`; what it measured stands apart from what the distillation did.
  """
  import jinja2

  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("ddjax.io", "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  info = distilled.info
  measured = {"": report or {"reports": {}}, _AFTERWARDS: evaluation or {"reports": {}}}
  origin = [(name.replace("_", " "), info[name]) for name in _ORIGIN if info.get(name) is not None]
  origin += [(words, info[name]) for name, words in _HASHES.items() if info.get(name)]
  is_named = any(name != str(index) for index, name in enumerate(class_names))
  return environment.get_template("data_card.md.j2").render(
    title=_escaped(compare.run_title({**info, "num_steps": info.get("step")})),
    what=_what(distilled),
    version=ddjax.__version__,
    format=format_name,
    files=files,
    preprocessing=_preprocessing(info["preprocessing"]),
    origin=[(key, _escaped(str(value))) for key, value in origin],
    remarks=[_escaped(remark) for remark in info.get("remarks", ())],
    guarantee=[_escaped(line) for line in (info.get("guarantee") or {}).get("sentences", ())],
    rows=[
      (f"{name}{suffix}", table)
      for suffix, one in measured.items()
      for name, table in _rows(one["reports"])
    ],
    measured_on=_escaped(compare.run_title(report["run"] if report else {**info})),
    checks=[
      _escaped(f"{compare.words(name).capitalize()}{suffix}: {sentence}")
      for suffix, one in measured.items()
      for name, table in one["reports"].items()
      for sentence in table["settings"].get("checks", [])
    ],
    classes=", ".join(f"{i} {_escaped(name)}" for i, name in enumerate(class_names))
    if is_named
    else "",
    config=json.dumps(_without_places(info["config"]), indent=2) if info.get("config") else "",
  )


def read_report(path: Path, digest: str) -> dict[str, Any]:
  """What the report of an evaluation holds of one set.

  Args:
    path: a `report.json`, or the run folder that it lies in.
    digest: of the set, by `ddjax.io.distilled.set_digest`.
  Returns:
    {"run": ..., "reports": ...} of that set.
  Raises:
    FileNotFoundError: where there is no report.
    ValueError: naming a report that is damaged, or of other sets.
  """
  place = path / JSON_NAME if path.is_dir() else path
  if not place.is_file():
    raise FileNotFoundError(f"There is no report {place}.")
  report = _parse(place)
  digests = report["run"].get("set_sha256") or []
  if digest not in digests:
    raise ValueError(f"{place} is no evaluation of this set (sha256 {digest[:12]}).")
  sets = report.get("sets") or [{"reports": report["reports"]}]
  if len(sets) != len(digests):
    raise ValueError(f"{place} is damaged: {len(sets)} sets, {len(digests)} digests.")
  return {"run": report["run"], "reports": sets[digests.index(digest)]["reports"]}


def find_report(path: Path) -> dict[str, Any] | None:
  """What the `report.json` beside a set, or in the run folder above it, holds; None without one.

  Args:
    path: of the set's npz.
  Raises:
    ValueError: naming a report that is damaged.
  """
  for folder in (path.parent, path.parent.parent):
    place = folder / JSON_NAME
    if not place.is_file():
      continue
    return _parse(place)
  return None


def _parse(place: Path) -> dict[str, Any]:
  """What a `report.json` holds; ValueError, naming it, where it is damaged."""
  try:
    report = json.loads(place.read_text())
    for part in ("run", "reports"):
      report[part].items()
  except (AttributeError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{place} is damaged: {error}.") from error
  return report


def _what(distilled: DistilledSet) -> str:
  """The set in two or three sentences."""
  count, height, width, channels = distilled.images.shape
  info = distilled.info
  sentences = [
    f"{count} images of {height} x {width} x {channels}, {distilled.labels.shape[1]} classes, "
    f"labels of kind {info['label_kind']}."
  ]
  factor = info.get("decode_factor") or 1
  if factor > 1:
    sentences.append(
      f"Each is a grid of {factor} x {factor} images: before training, cut it up and enlarge each "
      "cell to full size, bilinearly."
    )
  if info.get("learning_rate") is not None:
    sentences.append(f"Networks should train on it at the learning rate {info['learning_rate']:g}.")
  return " ".join(sentences)


def _preprocessing(preprocessing: Preprocessing) -> list[str]:
  """How pixels become what the networks see."""
  kind = preprocessing.kind
  if kind == "none":
    return ["`none`: networks see pixels in [0, 1] as they are."]
  lines = [f"`{kind}`: the map from pixels in [0, 1] to what the networks see."]
  if preprocessing.mean is not None:
    mean, std = (_numbers(values) for values in (preprocessing.mean, preprocessing.std))
    lines.append(f"By channel: (pixel - mean) / std, mean {mean}, std {std}.")
  if preprocessing.is_whitening:
    regularisation = preprocessing.regularisation
    lines.append(f"Then whitened, regularisation {regularisation:g}; the matrix lies in the file.")
  if not preprocessing.is_exactly_invertible:
    lines.append(
      "It forgets each image's mean and norm: pixels here have the medians of the train images, so "
      "brightness and contrast are only typical, and mapping them forward gives the images back "
      "only nearly."
    )
  return lines


def _rows(reports: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
  """[(report, its table)]: figures with the random subset, the gain over it, and the full set."""
  tables: dict[str, list[tuple[str, ...]]] = {}
  for row in compare.comparisons(reports):
    beside = {level.label: compare.format_number(level.value) for level in row.baselines}
    gains = [gain for gain in row.gains if gain.label == "random subset"]
    value = compare.format_number(row.distilled.value)
    if row.distilled.value is None:
      reasons = reports[row.report]["settings"].get("not_measured", {})
      value += f" ({_escaped(str(reasons.get(row.key, 'no reason given')))})"
    gain = [
      f"{compare.format_signed(gain.value)} {compare.format_interval(gain.interval)}".strip()
      for gain in gains
    ]
    tables.setdefault(row.report, []).append(
      (
        compare.words(row.key),
        value,
        compare.format_interval(row.distilled.interval),
        beside.get("random subset", ""),
        gain[0] if gain else "",
        beside.get("full set", ""),
      )
    )
  return [(compare.words(name).capitalize(), table) for name, table in tables.items()]


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
  """The settings without paths on the machine of the run, which are nobody else's business."""
  return {
    key: _without_places(value) if isinstance(value, Mapping) else value
    for key, value in config.items()
    if key not in _PLACES
  }


def _numbers(values: Any) -> str:
  """A few numbers in a line."""
  shown = ", ".join(f"{float(value):.4g}" for value in values[:_MOST_SHOWN])
  return f"({shown}{', ...' if len(values) > _MOST_SHOWN else ''})"


def _escaped(text: str) -> str:
  """Text that cannot break a table or open a tag."""
  return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
