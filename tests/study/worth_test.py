"""What a set is worth: planted equivalents, ends, and sentences."""

import math

import pytest

from ddjax.statistics.equivalent_size import Size
from ddjax.study import conditions as of
from ddjax.study import worth
from tests.study import made


def _curve(seeds=(0, 1, 2)):
  """Accuracy .3 + .2 log10(images / 10), seeds .01 apart, as cells of the roles of a study."""
  records = []
  for seed in seeds:
    for ipc in (1, 2, 5, 10, 20):
      level = 0.3 + 0.2 * math.log10(ipc) + 0.01 * (seed - 1)
      role = "baseline" if ipc == 1 else "curve"
      reports = {"accuracy": made.accuracy(level, spread=0.004)}
      records.append(made.record(role, reports, method="random", ipc=ipc, seed=seed))
    for steps in (10, 100, 1000):
      level = 0.2 * math.log10(steps)
      reports = {"accuracy": made.accuracy(level + 0.01 * (seed - 1))}
      records.append(made.record("steps", reports, steps=steps, seed=seed))
  return records


_OWN = (0.005, -0.005, 0.0)
"""What the sets of a seed have beside what its random subsets have too."""


def _worth(level, seeds=(0, 1, 2), **factors):
  records = _curve() + [
    made.record(
      reports={"accuracy": made.accuracy(level + _OWN[seed] + 0.01 * (seed - 1))},
      seed=seed,
      **factors,
    )
    for seed in seeds
  ]
  return worth.build(records, of.conditions(records, "method"))


def test_as_good_as_a_random_subset_of_twenty_images():
  (found,) = _worth(0.3 + 0.2 * math.log10(2))
  assert found.own_size == 10
  assert found.images.value == pytest.approx(20.0)
  assert found.images.low < 20 < found.images.high
  assert (found.images.smallest, found.images.largest) == (10, 200)


def test_steps_on_real_data():
  (found,) = _worth(0.4)
  assert found.steps.value == pytest.approx(100.0)
  assert found.steps.low < 100 < found.steps.high


def test_outside_the_measured_range():
  (above,) = _worth(0.9)
  assert worth.in_words(above.images) == "more than 200"
  (below,) = _worth(0.01)
  assert worth.in_words(below.images) == "fewer than 10"
  assert worth.as_json(below.images)["value"] == "fewer than 10"


def test_an_interval_may_end_outside():
  size = Size(1234.5, 900.0, math.inf, 10, 2000)
  assert worth.in_words(size) == "1,234 [900, more than 2,000]"
  assert worth.as_json(size)["high"] == "more than 2,000"


def test_the_sentence():
  text = worth.sentence(_worth(0.3 + 0.2 * math.log10(5)))
  assert text.startswith("Does it pay? The 10 images of DM (1 image a class) are worth 50 [")
  assert "1 of 1 sets is shown to be worth more real images than they have (Holm)" in text


def test_the_sentence_says_that_it_is_the_most_of_several():
  found = _worth(0.3 + 0.2 * math.log10(5)) + _worth(0.2)
  text = worth.sentence(found)
  assert text.startswith("Does it pay? At the most of 2 sets, the 10 images of DM")
  assert "by their means 1 is worth fewer images than they have" in text


def test_a_set_no_better_than_random_is_not_worth_more():
  found = _worth(0.3)
  assert "0 of 1 sets are shown to be worth more" in worth.sentence(found)


def test_the_count_is_corrected_over_all_sets():
  records = _curve() + [
    made.record(
      reports={"accuracy": made.accuracy(0.322 + _OWN[seed] + 0.01 * (seed - 1))},
      seed=seed, method=f"method {number}",
    )
    for seed in range(3)
    for number in range(12)
  ]  # fmt: skip
  alone = [one for one in records if one.factors["method"] in ("random", "full set", "method 0")]
  (one,) = worth.build(alone, of.conditions(alone, "method"))
  assert one.p < 0.05 and one.is_more and one.excess == pytest.approx(0.022)
  found = worth.build(records, of.conditions(records, "method"))
  assert found[0].p == pytest.approx(12 * one.p) and not any(one.is_more for one in found)
  assert "0 of 12 sets are shown to be worth more" in worth.sentence(found)


def test_an_interval_that_is_open_at_both_ends_shows_nothing():
  (one,) = _worth(0.4)
  size = Size(math.inf, -math.inf, math.inf, 10, 200)
  open_ended = one._replace(images=size, p=1.0)
  assert worth.in_words(size) == "not shown"
  text = worth.sentence([open_ended])
  assert "is not shown: all intervals are open at both ends; 0 of 1 sets" in text
  assert "are worth" not in worth.sentence([open_ended]) and "are worth" in (
    worth.sentence([open_ended, one])
  )
  (row,) = worth.table([open_ended], ["ipc"])["rows"]
  assert row[4]["value"] == row[5] == "not shown" and row[4]["low"] is None


def test_other_data_have_another_curve():
  assert _worth(0.4, dataset="mnist") == []
  assert _worth(0.4, num_classes=5) == []
  assert _worth(0.4, preprocessing="zca") == []


def test_without_a_curve_there_is_no_answer():
  records = [made.record(reports={"accuracy": made.accuracy(0.5)})]
  found = worth.build(records, of.conditions(records, "method"))
  assert found == [] and worth.sentence(found) == ""


def test_the_table():
  found = _worth(0.3 + 0.2 * math.log10(2))
  (row,) = worth.table(found, ["ipc"])["rows"]
  assert row[0] == "DM" and row[2] == 10 and row[5] == "2"
