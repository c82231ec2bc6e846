"""Cells chosen by words."""

import pytest

from ddjax.study import filters


def test_words_are_read_and_matched_as_text():
  wanted = filters.parse(" method=dm, ipc=1 ")
  assert wanted == {"method": "dm", "ipc": "1"} and filters.parse("") == {}
  assert filters.matches({"method": "dm", "ipc": 1, "seed": 0}, wanted)
  assert not filters.matches({"method": "dm", "ipc": 10}, wanted)
  assert not filters.matches({"method": "dm"}, wanted)
  assert filters.matches_any({"init": None}, ("method=dm", "init=None"))
  assert not filters.matches_any({"init": None}, ())


@pytest.mark.parametrize(
  ("text", "words"), [("dm", "'dm' in 'dm' is not"), ("ipc=1,ipc=2", "'ipc' stands twice")]
)
def test_other_words_are_refused(text, words):
  with pytest.raises(ValueError, match=words):
    filters.parse(text)
