"""Words for people."""

import pytest

from ddjax import wording


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.04, "0.0 s"),
    (9.96, "10 s"),
    (59.6, "1 min 00 s"),
    (200, "3 min 20 s"),
    (7500, "2 h 05 min"),
  ],
)
def test_duration(seconds, text):
  assert wording.duration(seconds) == text


def test_a_misspelt_name_is_answered_with_the_nearest_and_all_known():
  assert wording.look_up({"dm": 1, "dsa": 2}, "dm", "method") == 1
  with pytest.raises(
    ValueError, match=r"Unknown method 'dmm'. Did you mean 'dm'\? Known: dm, dsa."
  ):
    wording.look_up({"dm": 1, "dsa": 2}, "dmm", "method")


def test_of_many_names_only_the_nearest_are_given():
  known = [f"field_{number}" for number in range(200)]
  text = wording.nearest("feild_17", known)
  assert text.startswith("Did you mean one of 'field_17', ") and "There are 200." in text
  assert len(text) < 90
  assert "'field_" in wording.nearest("?", known)  # whatever is asked


def test_a_number_has_its_noun():
  assert [wording.counted(number, "cell") for number in (0, 1, 2)] == [
    "0 cells",
    "1 cell",
    "2 cells",
  ]
  assert wording.counted(1, "cell is", "cells are") == "1 cell is"
  assert wording.counted(3, "cell is", "cells are") == "3 cells are"
