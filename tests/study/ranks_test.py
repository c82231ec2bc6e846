"""Ranks and trade-offs of studies whose order is planted."""

import pytest

from ddjax.study import conditions as of
from ddjax.study import ranks
from ddjax.study import section as page
from tests.study import made

RECORDS = made.study()


def test_the_planted_order_is_found():
  section = ranks.build(RECORDS, made.CONFIG)
  table = section["tables"][0]
  rows = {row[0]: row[1:] for row in table["rows"]}
  assert [rows[name][0]["rank"] for name in ("KIP", "DM", "MTT")] == [1, 2, 3]
  assert rows["KIP"][0]["probability"] > 0.99
  assert rows["KIP"][1]["rank"] == 7  # it leaks the most
  assert rows["KIP"][2]["rank"] == 1 and rows["KIP"][3]["rank"] == 1
  assert all(0 <= cell["probability"] <= 1 for row in rows.values() for cell in row[:4])


def test_ranks_of_an_axis_are_all_there():
  rows = ranks.build(RECORDS, made.CONFIG)["tables"][0]["rows"]
  for column in range(1, 5):
    assert sorted(row[column]["rank"] for row in rows) == list(range(1, len(rows) + 1))


def test_planted_trade_offs():
  methods = of.conditions(RECORDS, "method")
  found = {(one.a.name, one.b.name): one for one in ranks.trade_offs(methods, ranks.axes("lira"))}
  assert len(found) == 6
  traded = found["performance", "privacy"]
  assert traded.correlation.high < 0 and traded.p < 0.05
  together = found["robustness", "fairness"]
  assert together.correlation.low > 0 and together.p < 0.05


def test_trade_offs_at_equal_images_a_class_stand_beside():
  """More images bring accuracy and robustness; at equal images one is bought with the other."""
  records = [
    made.record(
      reports={
        "accuracy": made.accuracy(0.4 + 0.01 * place + 0.3 * (ipc == 10)),
        "robustness": made.robustness(0.2 - 0.01 * place + 0.3 * (ipc == 10)),
      },
      method=f"method {place}",
      ipc=ipc,
    )
    for place in range(6)
    for ipc in (1, 10)
  ]
  methods = of.conditions(records, "method")
  (found,) = ranks.trade_offs(methods, ranks.axes(None)[:2])
  assert found.correlation.value > 0 and found.correlation.num == 12
  assert found.within.value == pytest.approx(-1.0) and found.p_within < 0.05
  section = ranks.build(records, made.CONFIG)
  table = section["tables"][-1]
  assert [column["name"] for column in table["columns"]][-3:] == [
    "at equal images a class", "p, Holm", "in words",
  ]  # fmt: skip
  assert table["rows"][0][-1] == "one is bought with the other"
  assert "; at equal images a class, 1 of 1 is shown ([[trade-offs]])." in section["answer"]


def test_the_answer_names_the_first_of_each_axis():
  answer = page.numbered([ranks.build(RECORDS, made.CONFIG)])[0]["answer"]
  assert answer.startswith(
    "At 1 image a class, of 7 ways to make a set, the first are KIP in performance (probability "
    "1.00), "
  )
  assert "performance and privacy (traded, −" in answer
  assert "[[" not in answer


@pytest.mark.parametrize(
  "name, said", [("1 image a class", "At 1 image a class"), ("on digits", "On digits")]
)
def test_a_place_begins_a_sentence(name, said):
  assert ranks._at(name) == said


def test_sets_of_fewer_classes_do_not_count_in_trade_offs():
  """Five classes are easier on every axis: mixed with ten they would hide what is traded."""
  easy = [
    record._replace(factors=record.factors | {"num_classes": 5}, name=f"{record.name}-5")
    for record in RECORDS
    if record.role == "method" and record.factors["method"] in ("kip", "dm")
  ]
  known = ranks.axes("lira")
  alone = ranks.trade_offs(of.conditions(RECORDS, "method"), known)
  assert ranks.trade_offs(of.conditions([*RECORDS, *easy], "method"), known) == alone


def test_one_start_a_method_counts_in_trade_offs():
  methods = of.conditions(RECORDS, "method")
  (first, *_) = ranks.trade_offs(methods, ranks.axes("lira"))
  assert len(methods) == 16 and first.correlation.num == 8
  assert any("One start a method" in note for note in ranks.build(RECORDS, made.CONFIG)["notes"])


def _with_predictors():
  """The study whose KIP is attacked through kernel regression."""
  records = made.study(ipcs=(1,), inits=("real",))
  for one in records:
    if one.report and "privacy" in one.report["reports"]:
      is_kip = one.factors["method"] == "kip"
      settings = one.report["reports"]["privacy"]["settings"]
      settings["predictor"] = "kernel regression" if is_kip else "convnet"
  return records


def test_ranks_do_not_mix_predictors():
  section = ranks.build(_with_predictors(), made.CONFIG)
  rows = {row[0]: row[1:] for row in section["tables"][0]["rows"]}
  assert rows["KIP"][1] is None and rows["KIP"][-1] is None
  assert sorted(row[1]["rank"] for name, row in rows.items() if name != "KIP") == [*range(1, 7)]
  (panel,) = section["figures"][0]["data"]["panels"].values()
  assert panel["lines"]["KIP"][1] is None and panel["lines"]["DM"][1] is not None


def test_kinds_of_preprocessing_are_ranked_apart():
  records = [
    one._replace(factors=one.factors | {"preprocessing": kind})
    for kind in ("standardise", "zca")
    for one in RECORDS
    if (one.factors["method"] == "kip") == (kind == "zca") or one.role == "baseline"
  ]
  tables = ranks.build(records, made.CONFIG)["tables"]
  found = {table["caption"].split(":")[0]: {row[0] for row in table["rows"]} for table in tables}
  assert found["Ranks at 1 image a class, preprocessing zca"] == {
    "KIP", "random subset", "herding", "k-means",
  }  # fmt: skip
  assert "KIP" not in found["Ranks at 1 image a class, preprocessing standardise"]


def test_one_method_alone_has_no_rank():
  records = [one for one in RECORDS if one.role == "method" and one.factors["method"] == "kip"]
  assert ranks.build(records, made.CONFIG)["answer"] == page.NOTHING


def test_lines_have_every_axis():
  (figure,) = ranks.build(RECORDS, made.CONFIG)["figures"]
  panel = figure["data"]["panels"]["10 images a class"]
  assert [axis["name"] for axis in panel["axes"]] == [
    "performance", "privacy", "robustness", "fairness",
  ]  # fmt: skip
  assert panel["lines"]["KIP"][0] == pytest.approx(0.85, abs=0.01)
  assert figure["caption"].startswith("No method is the best on every axis.")


def _of_two_axes(ipcs):
  """KIP is the best on both of the axes that are measured."""
  return [
    made.record(
      reports={
        "accuracy": made.accuracy(0.6 + 0.05 * place, spread=0.001),
        "fairness": made.fairness(0.5 - 0.05 * place),
      },
      method=method,
      ipc=ipc,
    )
    for place, method in enumerate(("dc", "dsa", "dm", "mtt", "kip"))
    for ipc in ipcs
  ]


def test_the_best_on_every_axis_that_is_measured_is_said():
  (figure,) = ranks.build(_of_two_axes((1,)), made.CONFIG)["figures"]
  assert figure["caption"].startswith("At 1 image a class one method is the best on every axis.")
  few = [one for one in _of_two_axes((1,)) if one.factors["method"] in ("kip", "dm")]
  (figure,) = ranks.build(few, made.CONFIG)["figures"]
  assert figure["caption"].startswith("Each line is a method;")


def test_of_one_ipc_the_same_is_not_told_twice():
  section = ranks.build(_of_two_axes((1,)), made.CONFIG)
  assert "at equal images a class" not in section["answer"]
  assert (
    "at equal images a class, 1 of 1 is shown"
    in (ranks.build(_of_two_axes((1, 10)), made.CONFIG)["answer"])
  )
