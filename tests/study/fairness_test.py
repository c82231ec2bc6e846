"""Fairness between classes: gaps, differences, groups."""

import pytest

from ddjax.study import fairness
from ddjax.study import section as page
from tests.study import made


def _records(seeds=(0, 1, 2), **changes):
  return [
    made.record(reports={"fairness": made.fairness(gap + 0.001 * seed)}, method=method, seed=seed)
    for method, gap in (("kip", 0.15), ("dm", 0.4))
    for seed in seeds
  ]


def test_the_answer_in_words():
  answer = page.numbered([fairness.build(_records(), {})])[0]["answer"]
  assert answer == (
    "The gap between the best and the worst class is smallest with KIP (1 image a class), 0.151 "
    "[0.149, 0.153], and largest with DM (1 image a class), 0.401 [0.399, 0.403] (3 seeds); "
    "against the full set, 2 of 2 kinds of set are shown to widen it and 0 to narrow it (Holm); "
    "against random subsets, 1 of 2 kinds of set is shown to widen it and 1 to narrow it (Holm) "
    "(Table 1, Figure 1)."
  )


def test_equal_gaps_are_not_put_in_order():
  records = [
    made.record(reports={"fairness": made.fairness(0.7472 + tiny)}, method=method)
    for method, tiny in (("kip", 0.0), ("dm", 0.0001))
  ]
  answer = fairness.build(records, {})["answer"]
  assert answer.startswith(
    "The gap between the best and the worst class is alike with both kinds of set, 0.747 [0.737, "
    "0.777] (one seed); "
  )


def test_groups_have_a_table_where_there_are_any():
  assert len(fairness.build(_records(), {})["tables"]) == 1
  records = _records()
  for one in records:
    one.report["reports"]["fairness"]["scalars"]["deo_max"] = 0.3
  tables = fairness.build(records, {})["tables"]
  assert [column["name"] for column in tables[1]["columns"]][-1] == "deo max"
  assert tables[1]["rows"][0][-1]["value"] == pytest.approx(0.3)


def test_nothing_measured():
  assert fairness.build([], {})["answer"] == page.NOTHING
