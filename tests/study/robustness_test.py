"""Robustness: who bears more, curves, and sentences."""

import pytest

from ddjax.statistics import over_seeds
from ddjax.study import conditions as of
from ddjax.study import robustness
from ddjax.study import section as page
from tests.study import made


def _records(seeds=(0, 1, 2)):
  return [
    made.record(
      reports={"robustness": made.robustness(value + 0.001 * seed, clean=0.8)},
      method=method,
      seed=seed,
    )
    for method, value in (("kip", 0.28), ("dm", 0.2))
    for seed in seeds
  ]


def test_the_answer_in_words():
  answer = page.numbered([robustness.build(_records(), {})])[0]["answer"]
  assert answer == (
    "Networks trained on KIP (1 image a class) withstand the most: fooling them takes 0.281 "
    "[0.279, 0.283] of the size of an image (3 seeds); against random subsets, 0 of 2 kinds of set "
    "are shown to withstand less and 1 more (Holm); against the full set, 2 of 2 kinds of set are "
    "shown to withstand less and 0 more (Holm) (Table 1, Figure 1)."
  )


def test_the_table():
  table = robustness.build(_records(), {})["tables"][0]
  names = [column["name"] for column in table["columns"]]
  assert names[2:6] == ["clean", "PGD l∞ 8/255", "autoattack l∞ 8/255", "corruption mean"]
  row = dict(zip(names, table["rows"][0]))
  assert row["relative perturbation"]["value"] == pytest.approx(0.281)
  assert row["against random"]["value"] == pytest.approx(0.081)
  assert row["against the full set"]["value"] == pytest.approx(-0.019)


def test_the_worst_case_stands_in_for_autoattack():
  records = _records(seeds=(0,))
  for one in records:
    scalars = one.report["reports"]["robustness"]["scalars"]
    scalars |= {"autoattack_linf_8_255": None, "worst_case_linf_8_255": 0.6, "pgd_l2_1_255": 0.7}
  table = robustness.build(records, {})["tables"][0]
  names = [column["name"] for column in table["columns"]]
  assert names[2:7] == [
    "clean", "PGD l∞ 8/255", "PGD l2 1/255", "worst case l∞ 8/255", "corruption mean",
  ]  # fmt: skip


def test_curves_have_the_random_subset_and_the_full_set():
  figures = {one["kind"]: one for one in robustness.build(_records(), {})["figures"]}
  (panel,) = figures["epsilon"]["data"]["panels"].values()
  assert sorted(panel) == ["DM", "KIP", "full set", "random subset"]
  assert "At the largest perturbation, 16/255" in figures["epsilon"]["caption"]
  assert "blur" in figures["matrix"]["caption"]


def test_reference_is_from_real_images():
  records = [
    made.record(reports={"robustness": made.robustness(0.2)}, init=init)
    for init in ("noise", "real")
  ] + [made.record(reports={"robustness": made.robustness(0.2)}, method="kip", init="noise")]
  found = robustness.reference(of.conditions(records, "method"))
  assert [(one.method, one.factors["init"]) for one in found] == [("KIP", "noise"), ("DM", "real")]


def test_figures_of_a_kernel_are_no_corruptions():
  records = _records(seeds=(0,))
  report = records[0].report["reports"]["robustness"]
  report["settings"]["architectures"] = ["convnet", "kernel"]
  report["scalars"]["corruption_blur_kernel"] = 0.1
  section = robustness.build(records, {})
  names = [column["name"] for column in section["tables"][1]["columns"]]
  assert names[2:] == ["blur", "JPEG"]
  assert section["figures"][1]["data"]["columns"] == ["blur", "JPEG"]


def test_without_deepfool_it_says_so():
  report = made.robustness(0.2)
  for key in list(report["scalars"]):
    if "deepfool" in key:
      del report["scalars"][key]
  answer = robustness.build([made.record(reports={"robustness": report})], {})["answer"]
  assert "what fools networks is not measured" in answer


def test_methods_are_held_against_each_other_at_one_preprocessing():
  records = [
    one._replace(
      factors=one.factors
      | {"preprocessing": "zca" if one.factors["method"] == "kip" else "standardise"}
    )
    for one in made.study()
  ]
  methods = of.conditions(records, "method")
  found, means = robustness.largest_between_methods(methods)
  assert len(means) == 3 and max(means) - min(means) == pytest.approx(found.value)
  assert found.value == pytest.approx(0.06, abs=0.01)


def test_the_sentence_counts_by_the_p_values_of_the_table():
  """Ten tests by themselves would all be shown; the table has as many against random subsets."""
  records = []
  for ipc in range(1, 11):
    for seed in range(3):
      own = made.robustness(0.28 + 0.004 * seed, random=0.28, full=0.3228)
      records.append(made.record(reports={"robustness": own}, ipc=ipc, seed=seed))
  alone = over_seeds.mean([0.004 * seed - 0.0428 for seed in range(3)]).p
  assert 10 * alone < 0.05 < 20 * alone
  section = robustness.build(records, made.CONFIG)
  table = section["tables"][0]
  places = [i for i, column in enumerate(table["columns"]) if column["name"] == "p, Holm"]
  assert table["rows"][0][places[1]] == pytest.approx(20 * alone)
  assert "against the full set, 0 of 10 kinds of set" in section["answer"]


def test_the_most_robust_of_sets_of_one_problem_says_so():
  few = made.record(reports={"robustness": made.robustness(0.9)}, num_classes=5)
  answer = robustness.build([*made.study(), few], made.CONFIG)["answer"]
  assert "withstand the most, of the 16 sets on digits, all classes" in answer
  assert "of the" not in robustness.build(made.study(), made.CONFIG)["answer"].split(":")[0]
