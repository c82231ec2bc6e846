"""Verdicts on planted effects and on nulls."""

import itertools
import re

import numpy as np
import pytest

from ddjax.statistics import over_seeds
from ddjax.study import claims
from ddjax.study import section as page
from tests.study import made


def _claim(value, low, high, direction=1, small=0.02):
  estimate = None if value is None else over_seeds.from_interval(value, low, high)
  return claims.Claim("", "", "", direction, small, estimate, (value,), ())


@pytest.mark.parametrize(
  "claim, p, expected",
  [
    (_claim(0.1, 0.05, 0.15), 0.01, "holds"),
    (_claim(0.1, 0.05, 0.15), 0.2, "not shown"),  # after Holm
    (_claim(-0.1, -0.15, -0.05), 0.01, "does not"),
    (_claim(-0.1, -0.15, -0.05, direction=0), 0.01, "holds"),
    (_claim(-0.1, -0.15, -0.05, direction=-1), 0.01, "holds"),
    (_claim(0.0, -0.05, 0.05), 1.0, "not shown"),
    (_claim(0.0, -0.01, 0.01), 1.0, "does not"),  # surely small
    (_claim(0.01, 0.005, 0.015), 0.001, "does not"),  # surely not zero, surely small
    (_claim(0.1, None, None), None, "not shown"),
    (_claim(None, None, None), None, "not measured"),
  ],
)
def test_verdicts(claim, p, expected):
  assert claims.verdict(claim, p) == expected


@pytest.mark.parametrize(
  "claim, p, told",
  [
    (_claim(-0.1, -0.15, -0.05), 0.01, "does not hold (the effect goes the other way); "),
    (
      _claim(0.003, 0.002, 0.005),
      0.046,
      "does not hold (there is an effect, but it is smaller than 0.02, too little to matter); ",
    ),
    (
      _claim(-0.006, -0.009, -0.003),
      0.098,  # not shown after Holm
      "does not hold (any effect is smaller than 0.02, too little to matter); ",
    ),
    (_claim(0.1, 0.05, 0.15), 0.01, "holds; "),
    (_claim(0.1, 0.05, 0.15), 0.2, "not shown; "),
    (_claim(None, None, None), None, "not measured."),
  ],
)
def test_why_a_claim_does_not_hold_is_said(claim, p, told):
  claim = claim._replace(text="It is so.")
  assert claims.in_words(claim, claims.verdict(claim, p), p).startswith(f"It is so: {told}")


def _verdicts(records):
  made_claims = claims.claims(records, made.CONFIG)
  p_values = claims.corrected(made_claims)
  return {one.name: claims.verdict(one, p) for one, p in zip(made_claims, p_values)}


def test_planted_effects_are_found():
  assert _verdicts(made.study()) == {
    "leak": "holds",
    "ipc": "holds",
    "init": "does not",  # planted: nothing, and the seeds are precise
    "num_classes": "not measured",
    "robust against the full set": "holds",
    "robust against random real subsets of equal size": "does not",
    "robust by method": "holds",
    "fair against the full set": "holds",
    "fair against random real subsets of equal size": "does not",
  }


def _null(seed, noise=0.05):
  """Nothing anywhere, seeds that vary widely."""
  rng = np.random.default_rng(seed)
  draw = lambda: float(rng.normal(scale=noise))  # noqa: E731
  return [
    made.record(
      reports={
        "privacy": made.privacy(0.5 + draw()),
        "robustness": made.robustness(0.25 + draw(), random=0.25, full=0.25),
        "fairness": made.fairness(0.2 + draw(), random=0.2, full=0.2),
      },
      method=method,
      ipc=ipc,
      seed=seed,
    )
    for method in ("kip", "dm")
    for ipc in (1, 10)
    for seed in range(3)
  ]


def test_a_null_is_not_shown():
  words = [word for seed in range(12) for word in _verdicts(_null(seed)).values()]
  assert words.count("not shown") >= 0.85 * len([one for one in words if one != "not measured"])
  assert words.count("holds") <= 2


def test_the_section_counts():
  section = page.numbered([claims.build(made.study(), made.CONFIG)])[0]
  assert section["answer"] == (
    "Of 9 claims: 5 hold, 3 do not, 0 not shown, 1 not measured (Table 1)."
  )
  assert len(section["tables"][0]["rows"]) == len(section["points"]) == 9


def test_each_claim_has_a_sentence_with_interval_and_seeds():
  points = claims.build(made.study(), made.CONFIG)["points"]
  assert re.fullmatch(
    r"Networks trained on distilled data give away which real examples were distilled: holds; AUC "
    r"of LiRA, the strongest of 2 attacks \(corrected for the choice\), minus one half "
    r"\+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\], 3 seeds, mean of \d+, from \+0\.\d{3} to "
    r"\+0\.\d{3} \(\[\[leaks\]\], \[\[leaks-figure\]\]\)\.",
    points[0],
  )
  assert points[3] == "The leak of networks depends on the number of classes: not measured."


def _half_by_kernel():
  """Only what is attacked through kernel regression leaks, and DM says by which network."""
  records = []
  for method, auc, predictor in (("kip", 0.8, "kernel regression"), ("dm", 0.5, "convnet")):
    for ipc, seed in itertools.product((1, 10), range(3)):
      more = 0.1 * (method == "kip" and ipc == 10)
      report = made.privacy(auc + more + 0.001 * (seed - 1) * ipc / 10)
      report["settings"]["predictor"] = predictor
      records.append(made.record(reports={"privacy": report}, method=method, ipc=ipc, seed=seed))
  return records


def test_a_claim_on_networks_rests_on_networks_alone():
  verdicts = _verdicts(_half_by_kernel())
  assert verdicts["leak"] == "does not" and verdicts["leak, kernel regression"] == "holds"
  assert verdicts["ipc, kernel regression"] == "holds" and verdicts["ipc"] == "does not"
  section = claims.build(_half_by_kernel(), made.CONFIG)
  texts = [row[0] for row in section["tables"][0]["rows"]]
  assert texts[1] == (
    "Kernel regression on distilled data gives away which real examples were distilled."
  )
  assert section["notes"][-1].startswith("Figures of privacy are not all of one predictor")


def test_robustness_of_kernels_has_rows_of_its_own():
  records = []
  for method, predictor in (("kip", "kernel"), ("dm", "convnet"), ("dc", "convnet")):
    for seed in range(3):
      report = made.robustness(0.2 + 0.001 * seed + 0.05 * (method == "dc"))
      report["settings"]["architectures"] = [predictor]
      records.append(made.record(reports={"robustness": report}, method=method, seed=seed))
  found = {one.name: one for one in claims.claims(records, made.CONFIG)}
  assert len(found["robust against the full set"].parts) == 2
  assert len(found["robust against the full set, kernel regression"].parts) == 1
  assert len(found["robust by method"].parts) == 2


def test_a_leak_that_the_first_attack_misses_is_found():
  """By LiRA next to nothing, by the loss clearly more: the set is as private as that leaves it."""
  records = []
  for method, seed in itertools.product(("dm", "dc"), range(3)):
    report = made.privacy(0.502 + 0.0001 * seed)
    report["scalars"]["loss_auc"] = 0.52 + 0.001 * seed + 0.01 * (method == "dc")
    records.append(made.record(reports={"privacy": report}, method=method, seed=seed))
  claim = claims.claims(records, made.CONFIG)[0]
  assert claims.verdict(claim, claims.corrected([claim])[0]) == "holds"
  assert claim.measure == (
    "AUC of loss, the strongest of 2 attacks (corrected for the choice), minus one half"
  )
  assert claim.estimate.value == pytest.approx(0.026)
  assert claim.parts == pytest.approx((0.021, 0.031))
  alone = over_seeds.mean([0.025, 0.026, 0.027])
  assert claim.estimate.p == pytest.approx(2 * alone.p)
  assert claim.estimate.high - 0.026 > alone.high - 0.026


def test_a_claim_rests_on_the_conditions_that_have_the_seeds():
  """Seed 1 has begun with KIP alone: the mean is still that of seed 0, over all conditions."""
  whole = made.study(seeds=(0,))
  begun = [one for one in made.study(seeds=(1,)) if one.factors.get("method") == "kip"]
  claim = {one.name: one for one in claims.claims([*whole, *begun], made.CONFIG)}
  alone = {one.name: one for one in claims.claims(whole, made.CONFIG)}
  name = "robust against the full set"
  assert claim[name].estimate == alone[name].estimate and claim[name].parts == alone[name].parts
  # DM failed at the later seeds: it is left out, and that is said.
  failed = [
    one
    for one in made.study(seeds=(0, 1, 2))
    if one.factors.get("method") != "dm" or one.factors["seed"] == 0
  ]
  (found,) = [one for one in claims.claims(failed, made.CONFIG) if one.name == name]
  assert found.estimate.num_seeds == 3 and len(found.parts) < found.num_known
  told = claims.in_words(found, "holds", 0.01)
  assert f"mean of {len(found.parts)} of {found.num_known}, from" in told
  assert np.mean(found.parts) == pytest.approx(found.estimate.value)


def test_a_leak_is_negligible_only_if_no_attack_may_find_more():
  """LiRA finds next to nothing for sure; what the loss finds is anybody's guess."""
  records = []
  for seed, loss in enumerate((0.47, 0.53, 0.50)):
    report = made.privacy(0.501 + 0.0001 * seed)
    report["scalars"]["loss_auc"] = loss
    records.append(made.record(reports={"privacy": report}, seed=seed))
  claim = claims.claims(records, made.CONFIG)[0]
  assert claims.verdict(claim, claims.corrected([claim])[0]) != "does not"


def test_a_sentence_says_what_the_mean_is_of():
  claim = _claim(-0.045, -0.049, -0.04)._replace(text="It is so.", parts=(-0.001, -0.089))
  told = claims.in_words(claim, "holds", 0.001)
  assert "one seed, mean of 2, from −0.089 to −0.001 (" in told


def test_p_values_are_corrected_over_all_claims():
  made_claims = claims.claims(made.study(), made.CONFIG)
  raw = [one.estimate.p for one in made_claims if one.estimate is not None]
  found = [p for p in claims.corrected(made_claims) if p is not None]
  assert min(found) == pytest.approx(min(raw) * len(raw))


def test_nothing_measured():
  assert claims.build([made.record()], {})["answer"] == page.NOTHING


def test_one_seed_has_a_verdict_from_its_own_intervals():
  verdicts = _verdicts(made.study(seeds=(0,)))
  assert verdicts["leak"] == "holds" and verdicts["robust by method"] == "not measured"
