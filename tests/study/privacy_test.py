"""Leaks and factors: planted ones are found, a null is not shown."""

from ddjax.study import conditions as of
from ddjax.study import privacy
from ddjax.study import section as page
from tests.study import made


def _record(auc, **factors):
  return made.record(reports={"privacy": made.privacy(auc)}, **factors)


def test_the_attack_is_the_first_that_most_cells_have():
  reports = made.privacy(0.6)
  reports["scalars"]["lira_auc"] = None
  records = [made.record(reports={"privacy": reports}, ipc=ipc) for ipc in (1, 10)]
  methods = of.conditions(records, "method")
  assert privacy.attack_of(methods, {"claims_attacks": ["lira", "loss"]}) == "loss"
  assert privacy.attack_of([], {}) is None


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
