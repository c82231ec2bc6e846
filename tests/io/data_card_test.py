"""The card says what the set is, where it comes from, and what was measured; nothing breaks it."""

import json

import numpy as np
import pytest

from ddjax.data.preprocess import Preprocessing
from ddjax.io import data_card
from ddjax.io.report import report_to_json
from ddjax.types import DistilledSet, Report

_INFO = {
  "label_kind": "centred",
  "method": "kip",
  "dataset": "digits",
  "ipc": 2,
  "seed": 3,
  "step": 300,
  "learning_rate": 0.02,
  "member_hash": "fed",
  "real_data_hash": "abc",
  "decode_factor": 2,
  "config": {"method": "kip", "ridge": 1e-6},
  "code_version": "9.9",
  "preprocessing": Preprocessing(
    kind="standardise", mean=np.float32([0.25]), std=np.float32([0.5])
  ),
}
_NAMES = tuple(map(str, range(4)))


def _set(**info):
  return DistilledSet(
    np.zeros((8, 6, 6, 1), np.float32), np.zeros((8, 4), np.float32), _INFO | info
  )


def _report():
  privacy = Report(
    kind="privacy",
    scalars={
      "auc": 0.61,
      "random_subset_auc": 0.7,
      "full_auc": 0.8,
      "gain_over_random_auc": -0.09,
      "lira_auc": None,
    },
    spread={},
    interval={"auc": [0.58, 0.64], "gain_over_random_auc": [-0.12, -0.06]},
    per_model={},
    per_class={},
    settings={"not_measured": {"lira_auc": "no shadow | splits"}, "checks": ["left out."]},
  )
  run = {"method": "kip", "dataset": "digits", "ipc": 2, "seed": 3}
  return report_to_json(run, {"privacy": privacy})


def _card(report=None, names=_NAMES, **info):
  return data_card.render(_set(**info), names, "png", ["`a.png`: one file."], report)


def test_what_the_set_is():
  card = _card()
  for text in (
    "8 images of 6 x 6 x 1, 4 classes, labels of kind centred.",
    "Each is a grid of 2 x 2 images",
    "learning rate 0.02",
    "- `a.png`: one file.",
    "`standardise`: the map from pixels in [0, 1]",
    "mean (0.25), std (0.5)",
    "| seed | 3 |",
    "| SHA-256 of the real data | abc |",
    "| SHA-256 of the members | fed |",
    "licence of the real data is not known",
    '"ridge": 1e-06',
    "None was measured: no `report.json`",
  ):
    assert text in card, text
  assert "grid" not in _card(decode_factor=1)
  assert "SHA-256 of the members" not in _card(member_hash=None)


def test_figures_with_intervals_beside_the_random_subset():
  lines = _card(_report()).splitlines()
  assert "| AUC | 0.610 | [0.580, 0.640] | 0.700 | −0.090 [−0.120, −0.060] | 0.800 |" in lines
  assert "| LiRA AUC | – (no shadow \\| splits) |  |  |  |  |" in lines
  assert "- Privacy: left out." in lines
  assert "### Privacy" in lines and not any("None was measured" in line for line in lines)


def test_the_head_is_yaml_as_the_hub_reads_it():
  _, head, body = _card().split("---\n", 2)
  fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
  assert json.loads(fields["pretty_name"]) == "kip on digits, 2 images a class, seed 3, 300 steps"
  assert fields["license"] == "unknown"
  assert body.lstrip().startswith("# kip on digits")


def test_names_and_remarks_cannot_break_the_card():
  card = _card(names=("a|b", "<script>", "c", "d"), remarks=["one\ntwo", "<img src=x>"])
  assert "<script>" not in card and "<img" not in card
  assert "0 a\\|b" in card and "- one two" in card


def test_no_path_of_the_machine_is_told():
  config = {"data": {"name": "npz", "path": "/home/me/a.npz"}, "resume_from": "/home/me/run"}
  card = _card(config=config)
  assert "/home/me" not in card and '"name": "npz"' in card


def test_the_figures_of_an_evaluation_are_those_of_the_same_set(tmp_path):
  audit = _report()
  other = {"privacy": {**audit["reports"]["privacy"], "scalars": {"auc": 0.123}, "interval": {}}}
  audit["run"]["set_sha256"] = ["aaaa", "bbbb"]
  audit["sets"] = [{"label": "a", "reports": audit["reports"]}, {"label": "b", "reports": other}]
  (tmp_path / "report.json").write_text(json.dumps(audit))
  second = data_card.read_report(tmp_path, "bbbb")
  card = data_card.render(_set(), _NAMES, "png", [], _report(), second)
  assert card.index("### Privacy\n") < card.index("0.610") < card.index("### Privacy, by the audit")
  assert card.index("### Privacy, by the audit") < card.index("| AUC | 0.123 |")
  first = data_card.read_report(tmp_path / "report.json", "aaaa")
  assert first["reports"] == audit["reports"]
  with pytest.raises(ValueError, match="no evaluation of this set .sha256 cccc"):
    data_card.read_report(tmp_path, "cccc")
  with pytest.raises(FileNotFoundError, match="nowhere"):
    data_card.read_report(tmp_path / "nowhere", "aaaa")


def test_a_report_is_found_beside_the_set_and_above_it(tmp_path):
  folder = tmp_path / "run" / "distilled"
  folder.mkdir(parents=True)
  assert data_card.find_report(folder / "distilled.npz") is None
  (tmp_path / "run" / "report.json").write_text(json.dumps(_report()))
  assert data_card.find_report(folder / "distilled.npz") == _report()
  (folder / "report.json").write_text("{")
  with pytest.raises(ValueError, match="report.json is damaged"):
    data_card.find_report(folder / "distilled.npz")
