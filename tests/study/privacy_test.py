"""Leaks and factors: planted ones are found, a null is not shown."""

import pytest

from ddjax.study import conditions as of
from ddjax.study import privacy
from ddjax.study import section as page
from tests.study import made


def _record(auc, **factors):
  return made.record(reports={"privacy": made.privacy(auc)}, **factors)


def test_the_attack_is_one_that_most_cells_have():
  reports = made.privacy(0.6)
  reports["scalars"]["lira_auc"] = None
  records = [made.record(reports={"privacy": reports}, ipc=ipc) for ipc in (1, 10)]
  methods = of.conditions(records, "method")
  assert privacy.attack_of(methods, {"claims_attacks": ["lira", "loss"]}) == "loss"
  assert privacy.attack_of([], {}) is None


def test_of_attacks_that_all_cells_have_it_is_the_strongest():
  methods = of.conditions([_record(0.6, ipc=ipc) for ipc in (1, 10)], "method")
  config = {"claims_attacks": ["loss", "lira"]}
  assert privacy.attacks_of(methods, config) == ["lira", "loss"]  # .60 and .59
  notes = privacy.build([_record(0.6)], config)["notes"]
  assert notes[0].startswith("The attack is LiRA: in mean over these sets it tells members better")
  assert "multiplied by 2" in notes[0]
  once, twice = (privacy.leak_p_values(methods, "lira", num) for num in (1, 2))
  assert twice == [min(1.0, 2 * p) for p in once]


def test_shadow_runs_of_fewer_steps_are_said():
  records = [_record(0.6, method="dc", ipc=ipc) for ipc in (1, 10)] + [_record(0.6)]
  for one, own, steps in zip(records, (300, 1000, 500), (50, 50, 500)):
    one.report["run"] = {**one.report.get("run", {}), "num_steps": own}
    one.report["reports"]["privacy"]["settings"]["num_steps"] = steps
  notes = privacy.build(records, {})["notes"]
  told = [note for note in notes if "fewer steps" in note]
  assert len(told) == 1 and "other questions: DC 50 instead of 300 to 1000. More" in told[0]
  assert not [note for note in privacy.build(records[2:], {})["notes"] if "fewer steps" in note]


def test_a_mean_of_bounds_has_no_interval():
  records = [_record(0.6 + 0.01 * seed, seed=seed) for seed in range(3)]
  for one in records:
    scalars = one.report["reports"]["privacy"]["scalars"]
    scalars["lira_epsilon_lower_bound"] = 0.1 * one.factors["seed"]
  table = privacy.build(records, made.CONFIG)["tables"][0]
  place = [column["name"] for column in table["columns"]].index("epsilon at least")
  assert table["rows"][0][place] == pytest.approx(
    {"value": 0.1, "low": None, "high": None, "seeds": 3}
  )


def test_the_answer_in_words():
  records = [
    _record(0.6 + 0.001 * seed + 0.05 * (ipc == 10), ipc=ipc, seed=seed)
    for ipc in (1, 10)
    for seed in range(3)
  ]
  answer = page.numbered([privacy.build(records, made.CONFIG)])[0]["answer"]
  assert answer == (
    "By LiRA, 2 of 2 kinds of distilled set are shown to tell their members (AUC above one half, "
    "Holm); the most telling is DM (10 images a class), AUC 0.651 [0.649, 0.653] (3 seeds) "
    "(Table 1, Figure 1). On average the AUC changes with more images a class by +0.050 [+0.050, "
    "+0.050] (1 pair); 1 of 1 single differences is shown after Holm's correction (Table 2, "
    "Figure 2)."
  )


def test_a_leak_that_is_none_is_not_shown():
  records = [_record(0.5 + value, ipc=ipc) for ipc, value in ((1, 0.004), (10, 0.1))]
  methods = of.conditions(records, "method")
  assert privacy.num_leaking(methods, "lira") == 1
  found = privacy.leak_p_values(methods, "lira")
  assert found[0] > 0.05 and found[1] < 0.001


def test_the_predictor_is_a_column_and_a_note():
  records = [_record(0.9, method="kip"), _record(0.6)]
  for one, name in zip(records, ("kernel regression", "convnet(depth=2)")):
    one.report["reports"]["privacy"]["settings"]["predictor"] = name
  section = privacy.build(records, {})
  table = section["tables"][0]
  place = [column["name"] for column in table["columns"]].index("predictor")
  assert [row[place] for row in table["rows"]] == ["kernel regression", "convnet(depth=2)"]
  assert section["notes"][-1] == (
    "Figures are not all of one predictor, and compare predictors too: kernel regression of KIP; "
    "convnet(depth=2) of DM."
  )
  assert "KIP (1 image a class) through kernel regression, AUC 0.900" in section["answer"]


def test_pairs_of_both_predictors_are_told():
  records = [_record(0.6 + ipc / 100, method=m, ipc=ipc) for m in ("kip", "dm") for ipc in (1, 10)]
  assert "included" not in privacy.build(records, {})["answer"]
  for one in records[:2]:
    one.report["reports"]["privacy"]["settings"]["predictor"] = "kernel regression"
  assert "(2 pairs), pairs of kernel regression included;" in privacy.build(records, {})["answer"]


def test_nothing_measured():
  assert privacy.build([made.record(reports={})], {})["answer"] == page.NOTHING
