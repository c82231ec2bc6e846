"""Conditions, labels, and figures of cells."""

import pytest

from ddjax.study import conditions as of
from tests.study import made


def test_conditions_gather_seeds():
  records = made.study(seeds=(0, 1), methods={"dm": 0.0}, ipcs=(1,), inits=("real",))
  (one,) = of.conditions(records, "method")
  assert sorted(one.records) == [0, 1]
  assert one.factors == {"method": "dm", "dataset": "digits", "ipc": 1, "init": "real"}
  assert {c.factors["method"] for c in of.conditions(records, "baseline")} == {
    "random", "herding", "k_means",
  }  # fmt: skip


def test_cells_without_a_report_are_no_condition():
  assert of.conditions([made.record(state="failed")], "method") == []


@pytest.mark.parametrize(
  "factors, expected",
  [
    ({"method": "dm"}, "DM"),
    ({"method": "kip", "variant": "ntk-fc"}, "KIP, ntk-fc"),
    ({"method": "kip", "outer.learning_rate": 0.1}, "KIP, learning_rate 0.1"),
    ({"method": "k_means", "variant": None}, "k-means"),
    ({"method": "new"}, "new"),
  ],
)
def test_labels(factors, expected):
  assert of.method_label(factors | {"seed": 1, "ipc": 3}) == expected


def test_descriptions():
  factors = {"method": "dm", "ipc": 1, "init": "real", "num_classes": 5}
  assert of.describe(factors) == "DM (1 image a class, from real images)"
  assert of.describe(factors, ()) == "DM"
  assert of.describe({"ipc": 10}, ("ipc",)) == "10 images a class"
  assert of.describe(factors, ("num_classes",)) == "DM (5 classes)"


def _condition(*reports):
  records = [made.record(reports=one, seed=seed) for seed, one in enumerate(reports)]
  (one,) = of.conditions(records, "method")
  return one


def _kernel():
  return made.section_of("kernel", {"test_accuracy": 0.7, "random_subset_accuracy": 0.6})


def test_accuracies_of_networks_and_kernels_are_not_mixed():
  both = made.record(reports={"kernel": _kernel(), "accuracy": made.accuracy(0.5)})
  alone = made.record(reports={"kernel": _kernel()}, seed=1)
  found, is_kernel = of.with_accuracy([both, alone])
  assert not is_kernel
  assert of.figure(found[0], "accuracy", "").value == 0.5
  assert of.figure(found[1], "accuracy", "") is None
  assert of.figure(found[1], "kernel", "test_accuracy").value == 0.7
  assert of.figure(made.record(reports={}), "accuracy", "") is None


def test_without_any_network_accuracies_are_of_the_kernel():
  records = [made.record(reports={"kernel": _kernel()}), made.record(state="waiting", seed=1)]
  found, is_kernel = of.with_accuracy(records)
  assert is_kernel
  assert of.figure(found[0], "accuracy", "").value == 0.7
  assert of.figure(found[0], "accuracy", "", "random_subset_").value == 0.6
  assert "accuracy" not in records[0].report["reports"]


def test_different_predictors_are_told():
  reports = [made.robustness(0.2), made.robustness(0.2)]
  reports[0]["settings"]["architectures"] = ["convnet"]
  reports[1]["settings"]["architectures"] = ["kernel", "convnet"]
  records = [
    made.record(reports={"robustness": report}, method=method)
    for method, report in zip(("dm", "kip"), reports)
  ]
  conditions = of.conditions(records, "method")
  assert of.different_networks(conditions[:1], "robustness") == []
  assert of.different_networks(conditions, "robustness") == [
    "Figures are not all of one predictor, and compare predictors too: convnet of DM; kernel "
    "regression of KIP."
  ]
  networks, kernels = of.by_kernel(conditions, "robustness")
  assert [one.method for one in networks] == ["DM"] and kernels[0].method == "KIP"


def test_the_predictor_of_privacy_stands_in_its_own_setting():
  report = made.privacy(0.6)
  report["settings"]["predictor"] = "kernel regression"
  records = [
    made.record(reports={"privacy": report}, method="kip"),
    made.record(reports={"privacy": made.privacy(0.6)}),
  ]
  kip, dm = of.conditions(records, "method")
  assert of.predictor_of(kip, "privacy") == of.KERNEL and of.predictor_of(dm, "privacy") is None
  assert of.different_networks([kip, dm], "privacy") == []  # one does not say


def test_fairness_stands_without_noise():
  record = made.record(reports={"fairness": made.fairness(0.2)})
  assert of.figure(record, "fairness", "accuracy_gap").value == pytest.approx(0.2)


def test_one_seed_has_its_own_interval_and_more_have_that_of_student():
  one = _condition({"accuracy": made.accuracy(0.5)})
  assert of.estimated(one, "accuracy", "") == {
    "value": 0.5, "low": pytest.approx(0.48), "high": pytest.approx(0.52), "seeds": 1,
  }  # fmt: skip
  two = _condition({"accuracy": made.accuracy(0.5)}, {"accuracy": made.accuracy(0.6)})
  found = of.estimated(two, "accuracy", "")
  assert found["value"] == pytest.approx(0.55) and found["seeds"] == 2
  assert found["low"] == 0.0 and found["high"] == 1.0  # t of one degree of freedom, cut
  assert of.estimated(two, "privacy", "lira_auc") is None


def test_difference_prefers_what_is_paired():
  own = made.accuracy(0.8, random=0.6, full=0.9)
  own["scalars"][f"gain_over_random_{made.NETWORK}"] = 0.25
  one = _condition({"accuracy": own})
  paired = of.difference(one, "accuracy", "", None, "random_subset_", "gain_over_random_")
  assert paired[0].value == 0.25
  apart = of.difference(one, "accuracy", "", None, "full_", "gain_over_full_")
  assert apart[0].value == pytest.approx(-0.1)
  assert apart[0].high - apart[0].low == pytest.approx(2 * (0.02**2 + 0.02**2) ** 0.5)


def test_difference_from_cells_of_a_baseline():
  one = _condition({"accuracy": made.accuracy(0.8)}, {"accuracy": made.accuracy(0.9)})
  records = [
    made.record("baseline", {"accuracy": made.accuracy(0.5)}, method="random", seed=0),
    made.record("baseline", {"accuracy": made.accuracy(0.7)}, method="random", seed=5),
  ]
  (random,) = of.conditions(records, "baseline")
  found = of.difference(one, "accuracy", "", random, "random_subset_", "gain_over_random_")
  assert found[0].value == pytest.approx(0.3)  # of the same seed
  assert found[1].value == pytest.approx(0.3)  # of the mean of both


def test_baselines_share_data_classes_and_images():
  one = _condition({"accuracy": made.accuracy(0.8)})
  records = [
    made.record("baseline", {"accuracy": made.accuracy(0.5)}, method="random", ipc=10),
    made.record("baseline", {"accuracy": made.accuracy(0.6)}, method="random", num_classes=5),
    made.record("full", {"accuracy": made.accuracy(0.97)}),
  ]
  found = of.conditions(records, "baseline", "full")
  assert of.baseline_of(one, found, "random") is None
  assert of.baseline_of(one, found, "full set").role == "full"


def test_baselines_share_the_preprocessing():
  (one,) = of.conditions(
    [made.record(reports={"accuracy": made.accuracy(0.8)}, preprocessing="zca")], "method"
  )
  records = [
    made.record("baseline", {"accuracy": made.accuracy(0.5)}, method="random", preprocessing=kind)
    for kind in ("standardise", "zca")
  ] + [
    made.record("full", {"accuracy": made.accuracy(0.9)}, preprocessing=kind)
    for kind in ("standardise", "zca")
  ]
  found = of.conditions(records, "baseline", "full")
  assert len(found) == 4
  assert of.baseline_of(one, found, "random").factors["preprocessing"] == "zca"
  assert of.baseline_of(one, found, "full set").factors["preprocessing"] == "zca"
  assert of.baseline_of(one, [found[0], found[2]], "random") is None


def test_preprocessing_is_named_where_it_varies():
  records = [
    made.record(reports={"accuracy": made.accuracy(0.8)}, method=method, preprocessing=kind)
    for method, kind in (("dm", "standardise"), ("kip", "zca"))
  ]
  found = of.conditions(records, "method")
  assert of.varying(found) == ["ipc", "preprocessing"] and of.varying(found[:1]) == ["ipc"]
  assert of.shared_names(found) == ["ipc", "preprocessing"] and found[1].method == "KIP"
  assert of.describe(found[1].factors, of.varying(found)) == (
    "KIP (1 image a class, preprocessing zca)"
  )


def test_keys_of_further_predictors_are_not_its_own():
  report = made.section_of("robustness", {"clean": 1, "clean_kernel": 1, "blur_kernel_size": 1})
  report["settings"]["architectures"] = ["convnet", "kernel"]
  record = made.record(reports={"robustness": report})
  assert of.own_keys(record, "robustness") == ["clean", "blur_kernel_size"]
  assert of.own_keys(record, "fairness") == []


def test_seeds_in_words():
  one = _condition({"accuracy": made.accuracy(0.5)})
  three = _condition(*[{"accuracy": made.accuracy(0.5)}] * 3)
  assert of.seeds_in_words([one], "accuracy", "") == "one seed"
  assert of.seeds_in_words([three], "accuracy", "") == "3 seeds"
  assert of.seeds_in_words([one, three], "accuracy", "") == "1 to 3 seeds"
  assert of.seeds_in_words([], "accuracy", "") == "no seed"
  assert of.seeds_in_words([three], "privacy", "lira_auc") == "no seed"  # measured in none


def test_what_can_be_compared_is_of_one_data_set_with_all_its_classes():
  records = [
    made.record(method=method, num_classes=num, reports={"accuracy": made.accuracy(0.5)})
    for method, num in (("kip", None), ("kip", 5), ("dm", None))
  ]
  found = of.of_one_problem(of.conditions(records, "method"))
  assert [(one.method, one.factors.get("num_classes")) for one in found] == [
    ("KIP", None),
    ("DM", None),
  ]
  assert of.of_one_problem([]) == []


def test_mean_over_conditions_of_one_seed_takes_the_mean_half_width():
  rows = [{0: of.Figure(0.1, 0.0, 0.2)}, {0: of.Figure(0.3, 0.1, 0.5)}]
  found, count = of.mean_over(rows, (-1.0, 1.0))
  assert count == 2
  assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.05, 0.35))


def test_mean_over_conditions_and_seeds():
  rows = [{0: of.Figure(0.1), 1: of.Figure(0.2)}, {0: of.Figure(0.3), 1: of.Figure(0.4)},
          {0: of.Figure(9.0)}]  # fmt: skip
  found, count = of.mean_over(rows, (-1.0, 1.0))
  assert count == 2 and found.value == pytest.approx(0.25) and found.num_seeds == 2
  assert of.mean_over([], (-1.0, 1.0)) is None
