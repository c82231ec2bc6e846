"""Accuracy beside baselines, and cost: numbers and sentences that are known."""

import pytest

from ddjax.study import conditions as of
from ddjax.study import performance, published
from ddjax.study import section as page
from tests.study import made


def _records(seeds=(0, 1, 2)):
  """KIP .2 above random, DC as random; seeds differ by .001 around."""
  records = []
  for seed in seeds:
    shift = 0.001 * (seed - 1)
    for method, gain in (("kip", 0.2), ("dc", 0.0)):
      own = made.accuracy(0.6 + gain + shift, random=0.6 - shift, full=0.95)
      records.append(made.record(reports={"accuracy": own}, method=method, seed=seed))
    records.append(
      made.record("baseline", {"accuracy": made.accuracy(0.65)}, method="herding", seed=seed)
    )
  return records


def _column(table, name):
  place = [column["name"] for column in table["columns"]].index(name)
  return [row[place] for row in table["rows"]]


def test_the_table_has_every_baseline_and_the_gain():
  section = performance.build(_records(), {})
  table = section["tables"][0]
  assert _column(table, "method") == ["KIP", "DC"]
  assert _column(table, "accuracy")[0]["value"] == pytest.approx(0.8)
  assert _column(table, "seeds") == [3, 3]
  assert _column(table, "herding")[0]["value"] == pytest.approx(0.65)
  assert _column(table, "full set")[0]["value"] == pytest.approx(0.95)
  gains = _column(table, "gain over it")
  assert gains[0]["value"] == pytest.approx(0.2) and gains[1]["low"] < 0 < gains[1]["high"]
  assert _column(table, "p, Holm")[0] < 0.001 and _column(table, "p, Holm")[1] == 1.0
  assert "k-means" not in [column["name"] for column in table["columns"]]  # nothing measured it


def test_the_answer_in_words():
  answer = page.numbered([performance.build(_records(), {})])[0]["answer"]
  assert answer == (
    "KIP (1 image a class) reaches the highest accuracy, 0.800 [0.798, 0.802] (3 seeds), +0.200 "
    "[+0.195, +0.205] against random subsets of equal size; the full set gives 0.950 [0.950, "
    "0.950]. Of 2 distilled sets, 1 is shown to be better than a random subset of equal size and "
    "0 worse, after Holm's correction (Table 1, Figure 1)."
  )


def test_sets_that_only_a_kernel_tested_stand_apart():
  kernel = made.section_of("kernel", {"test_accuracy": 0.99})
  records = [*_records(), made.record(reports={"kernel": kernel}, method="label_solve")]
  section = performance.build(records, {})
  table = section["tables"][0]
  row = _column(table, "method").index("Label Solve")
  assert _column(table, "accuracy")[row] is None
  assert _column(table, "by kernel regression")[row]["value"] == 0.99
  assert section["answer"].startswith("KIP")


def test_one_seed_is_said():
  answer = performance.build(_records(seeds=(1,)), {})["answer"]
  assert "(one seed)" in answer and "0.800 [0.780, 0.820]" in answer


def test_nothing_finished():
  section = performance.build([made.record(state="waiting")], {})
  assert section["answer"] == page.NOTHING and section["tables"] == []


def test_costs():
  record = made.record(reports={"accuracy": made.accuracy(0.5)}, ipc=10, method="kip")
  assert performance.cost_of(record) == {
    "flops": 1e13, "seconds": 300.0, "memory": 2_000_000, "whole": 100.0,
  }  # fmt: skip
  bare = record._replace(report={"run": {}, "reports": {}})
  assert performance.cost_of(bare)["flops"] is None


def test_memory_that_is_not_counted_is_a_dash():
  records = [made.record(reports={"accuracy": made.accuracy(0.5)}, method=m) for m in ("dc", "mtt")]
  cost = {one["name"]: one for one in performance.build(records, {})["tables"]}["cost"]
  assert _column(cost, "memory") == [None, 2_000_000]


def _mtt(seed=0, method="mtt", init="real", preprocessing=None):
  record = made.record(
    reports={"accuracy": made.accuracy(0.5)},
    method=method, seed=seed, init=init, preprocessing=preprocessing,
  )  # fmt: skip
  record.report["run"]["seconds"]["experts"] = 0.5
  return record


def _experts(seed=0, is_read=True, **factors):
  record = made.record("experts", {} if is_read else None, method="experts", seed=seed, **factors)
  if is_read:
    record.report["run"] |= {
      "seconds": {"train": 40.0}, "estimates": {"flops": {"train": 8e12}},
    }  # fmt: skip
  return record._replace(seconds=44.0, name=f"experts-mtt-digits-seed{seed}")


def test_experts_are_shared_over_the_cells_that_follow_them():
  followers = [_mtt(), _mtt(init="noise"), _mtt(seed=1)]
  plain = made.record(reports={"accuracy": made.accuracy(0.5)}, method="dc")
  records = [*followers, plain, _experts(), _experts(seed=1)]
  found = [performance.cost_of(one, records) for one in records[:4]]
  assert [one["flops"] for one in found] == [5e12, 5e12, 9e12, 1e12]
  assert [one["seconds"] for one in found] == [50.5, 50.5, 70.5, 30.0]
  pareto = next(o for o in performance.build(records, {})["figures"] if o["kind"] == "pareto")
  (points,) = pareto["data"]["panels"].values()
  assert pareto["data"]["unit"] == "flops"
  costs = {(point["label"], point["text"]): point["cost"] for point in points}
  assert costs["MTT", "MTT (1 image a class, from real images)"] == pytest.approx(7e12)


def test_experts_of_other_data_or_methods_cost_nothing():
  records = [_mtt(method="tesla"), _mtt(preprocessing="zca"), _experts(preprocessing="standardise")]
  assert performance.cost_of(records[1], records)["flops"] == 1e12
  other = [_mtt(), _experts(num_classes=5), _experts(seed=3)]
  assert performance.cost_of(other[0], other)["flops"] == 1e12


def test_experts_without_a_report_leave_operations_unknown():
  records = [_mtt(), _experts(is_read=False)]
  cost = performance.cost_of(records[0], records)
  assert cost["flops"] is None and cost["seconds"] == 74.5


def test_experts_that_cells_share_are_told():
  experts = made.record("experts", None)._replace(seconds=120.0)
  notes = performance.build([*_records(), experts], {})["notes"]
  assert any("2 min 00 s" in note for note in notes)


def test_pareto_front_by_hand():
  points = [(1.0, 0.5), (2.0, 0.4), (3.0, 0.7), (3.0, 0.6), (0.5, 0.1)]
  assert performance.pareto_front(points) == [4, 0, 2]


def test_the_front_in_words():
  (figure,) = [
    one for one in performance.build(_records(), {})["figures"] if one["kind"] == "pareto"
  ]
  assert figure["caption"] == (
    "No set is both cheaper and more accurate than KIP (1 image a class)."
  )
  assert figure["data"]["unit"] == "flops"


def test_the_front_is_of_sets_of_one_problem():
  few = made.record(
    reports={"accuracy": made.accuracy(0.99)}, method="kip", num_classes=5, ipc=1, seed=0
  )
  (figure,) = [
    one for one in performance.build([*_records(), few], {})["figures"] if one["kind"] == "pareto"
  ]
  assert "5 classes" not in figure["caption"] and figure["caption"].startswith("On digits, no set")
  panels = figure["data"]["panels"]
  assert list(panels) == ["on digits", "on digits, 5 classes"]
  assert [point["on_front"] for point in panels["on digits, 5 classes"]] == [True]


def test_the_best_set_is_the_best_whatever_the_preprocessing():
  records = [
    made.record(
      reports={"accuracy": made.accuracy(value)}, method=method, preprocessing=kind, ipc=ipc
    )
    for method, kind, value in (("kip", "zca", 0.845), ("dm", "standardise", 0.811))
    for ipc in ((1, 10) if method == "dm" else (1,))
  ]
  section = performance.build(records, {})
  assert section["answer"].startswith(
    "KIP (1 image a class, preprocessing zca) reaches the highest"
  )
  (figure,) = [one for one in section["figures"] if one["kind"] == "pareto"]
  assert len(figure["data"]["panels"]) == 1 and figure["caption"].startswith("No set is both")


def test_published_figures_stand_beside_ours():
  assert published.find("dm", "cifar10", 10).accuracy == 0.489
  assert published.find("dm", "cifar10", 7) is None and published.find("new", "cifar10", 1) is None
  assert published.find("dc", "cifar100", 50) is None
  record = made.record(reports={"accuracy": made.accuracy(0.5)}, method="dm", dataset="cifar10")
  table = performance.build([record], {})["tables"][0]
  assert _column(table, "published") == ["0.260 (Zhao, Bilen 2023)"]


def test_the_random_subset_is_the_one_that_the_gain_is_over():
  cell = made.record("baseline", {"accuracy": made.accuracy(0.9)}, method="random")
  section = performance.build([*_records(), cell], {})
  table = section["tables"][0]
  for own, random, gain in zip(
    *(_column(table, name) for name in ("accuracy", "random subset", "gain over it"))
  ):
    assert own["value"] - random["value"] == pytest.approx(gain["value"])
  dots = next(one for one in section["figures"] if one["kind"] == "dots")
  assert dots["data"]["marks"][0]["beside"]["random subset"]["value"] == pytest.approx(0.6)


def test_other_baselines_come_from_cells_first():
  (one,) = of.conditions([_records()[0]], "method")
  cells = of.conditions(
    [
      made.record("full", {"accuracy": made.accuracy(0.61)}),
      made.record("baseline", {"accuracy": made.accuracy(0.5)}, method="random", ipc=7),
    ],
    "full", "baseline",
  )  # fmt: skip
  assert performance.level(one, "full set", cells, "accuracy", "")["value"] == pytest.approx(0.61)
  assert performance.level(one, "full set", [], "accuracy", "")["value"] == pytest.approx(0.95)
  bare = made.record(reports={"accuracy": made.accuracy(0.8)}, ipc=7)
  (bare,) = of.conditions([bare], "method")
  assert performance.level(bare, "random", cells, "accuracy", "")["value"] == pytest.approx(0.5)
