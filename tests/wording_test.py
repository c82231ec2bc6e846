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
