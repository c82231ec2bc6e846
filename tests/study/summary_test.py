"""The whole study as plain data, at every stage of its making."""

import json

import pytest

from ddjax.study import summary
from tests.study import made


def test_it_is_json_and_the_same_twice():
  records = made.study(seeds=(0,))
  first = json.dumps(summary.summarise(records, made.CONFIG), allow_nan=False)
  assert first == json.dumps(summary.summarise(records, made.CONFIG), allow_nan=False)


def test_counts_and_progress():
  study = summary.summarise(made.study(seeds=(0,)), made.CONFIG)
  assert study["counts"] == {"done": 33, "waiting": 1, "failed": 1, "too dear": 1}
  assert study["progress"] == (
    "33 of 36 cells are done (1 waiting, 1 failed, 1 too dear). The cells took 55 min 00 s of "
    "computing. What is left is estimated at 2 min 00 s of computing."
  )
  assert study["title"] == "A study of dataset distillation on digits, preset made"
  assert study["format"] == 1 and study["hardware"] == ["CPU, 2 cores (33 cells)"]
  assert study["days"] == ["2026-11-30"]


def test_the_days_are_the_first_and_the_last():
  one = made.record("full")
  days = (
    "2026-12-02T00:10:00+00:00",
    None,
    "2026-11-30T23:59:00+00:00",
    "2026-12-01T08:00:00+00:00",
  )
  records = [one._replace(finished=day) for day in days]
  assert summary._days(records) == ["2026-11-30", "2026-12-02"] and summary._days([]) == []


def test_what_is_left_is_told_by_cells_that_differ_in_the_seed():
  done = made.record(reports={}, seed=0)  # took 100 s
  waiting = [
    made.record(state="waiting", seed=1)._replace(estimate_seconds=1.0),
    made.record(state="waiting", ipc=10)._replace(estimate_seconds=7.0),
    made.record(state="running", ipc=50)._replace(estimate_seconds=None),
    made.record(state="waiting", method="kip")._replace(estimate_seconds=None),
  ]
  assert summary.progress([done, *waiting]).endswith(
    "What is left is estimated at 3 min 27 s of computing, without 1 that have no estimate."
  )


def test_which_code_made_which_cell():
  records = [
    made.record(reports={}, seed=seed)._replace(code=f"1.0+{seed // 2}") for seed in (0, 1, 2)
  ]
  study = summary.summarise(records, made.CONFIG)
  assert study["codes"] == ["1.0+0 (2 cells)", "1.0+1 (1 cell)"]
  assert [cell["code"] for cell in study["cells"]] == ["1.0+0", "1.0+0", "1.0+1"]


def test_no_cells_at_all():
  study = summary.summarise([], {})
  assert study["progress"] == "This study has no cells." and study["cells"] == []
  assert [one["name"] for one in study["sections"]] == [
    "claims", "performance", "privacy", "robustness", "fairness", "together",
  ]  # fmt: skip


def test_what_a_study_does_not_ask_is_told():
  answers = {
    one["name"]: one["answer"]
    for one in summary.summarise([], {"evaluators": ["privacy"]})["sections"]
  }
  assert answers["privacy"] == "Nothing of this is measured yet."
  assert answers["fairness"] == answers["performance"] == "This study does not measure it."


def test_a_strange_report_hides_nothing_else():
  records = made.study(seeds=(0,))
  records[0].report["reports"]["robustness"]["settings"]["curve"] = {"distilled": {"epsilon": 3}}
  answers = {
    one["name"]: one["answer"] for one in summary.summarise(records, made.CONFIG)["sections"]
  }
  assert answers["robustness"].startswith("This part could not be made from the reports at hand")
  assert "reaches the highest accuracy" in answers["performance"]


def test_figures_of_a_cell_are_its_own():
  record = made.record(reports={"accuracy": made.accuracy(0.5, random=0.4, full=0.9)})
  assert summary.figures(record) == [
    ["accuracy", made.NETWORK, 0.5, pytest.approx(0.48), pytest.approx(0.52), 5]
  ]


@pytest.mark.parametrize("number", [0, 1, 3, 12, 20])
def test_any_part_of_a_study_can_be_shown(number):
  records = made.study(seeds=(0,))
  unfinished = [
    one if i < number else one._replace(state="waiting", report=None)
    for i, one in enumerate(records)
  ]
  study = summary.summarise(unfinished, made.CONFIG)
  assert len(study["sections"]) == 6
  assert "could not be made" not in json.dumps(study["sections"])


def _two_kinds():
  """KIP whitens, the others do not; what methods are held against comes once a kind."""
  made_once = made.study(ipcs=(1,), inits=("real",))
  records = []
  for kind in ("standardise", "zca"):
    for one in made_once:
      if one.role == "method" and (one.factors["method"] == "kip") != (kind == "zca"):
        continue
      factors = one.factors | {"preprocessing": kind}
      report = one.report
      if kind == "zca" and one.role in ("full", "curve", "steps") and report:
        report = report | {"reports": {"accuracy": made.accuracy(0.2)}}  # told apart by this
      records.append(one._replace(factors=factors, name=f"{one.name}-{kind}", report=report))
  return records


def test_two_kinds_of_preprocessing_stand_apart():
  study = summary.summarise(_two_kinds(), made.CONFIG)
  assert "could not be made" not in json.dumps(study["sections"])
  performance = next(one for one in study["sections"] if one["name"] == "performance")
  table = performance["tables"][0]
  names = [column["name"] for column in table["columns"]]
  kinds = {row[0]: row[names.index("preprocessing")] for row in table["rows"]}
  assert kinds == {"KIP": "zca", "DC": "standardise", "DM": "standardise", "MTT": "standardise"}
  full = {row[0]: row[names.index("full set")]["value"] for row in table["rows"]}
  assert full["KIP"] == pytest.approx(0.2) and full["DC"] == pytest.approx(0.97)
  worth = next(one for one in performance["tables"] if one["name"] == "worth")
  places = [column["name"] for column in worth["columns"]]
  steps = {row[0]: row[places.index("worth steps on real data")] for row in worth["rows"]}
  assert steps["KIP"]["value"] == "more than 1,000" and steps["DC"]["value"] < 100


def test_one_kind_of_preprocessing_is_not_named():
  study = summary.summarise(made.study(seeds=(0,)), made.CONFIG)
  assert "preprocessing" not in json.dumps(study["sections"])


@pytest.mark.parametrize("axis", ["accuracy", "privacy", "robustness", "fairness"])
def test_a_study_of_one_axis_alone(axis):
  records = [
    one
    if one.report is None
    else one._replace(
      report={
        **one.report,
        "reports": {k: v for k, v in one.report["reports"].items() if k == axis},
      }
    )
    for one in made.study(seeds=(0, 1))
  ]
  study = summary.summarise(records, made.CONFIG)
  assert "[[" not in json.dumps([one["answer"] for one in study["sections"]])
  assert "could not be made" not in json.dumps(study["sections"])
