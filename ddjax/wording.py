"""Words for people: the nearest known name, numbers with their noun, lengths of time."""

import difflib

_MOST_LISTED = 30  # names that one still reads through


def nearest(name: str, known) -> str:
  """A sentence that helps with a misspelt name: the nearest known one, then all of them.

  Of many names it gives only the nearest three.
  """
  known = sorted(map(str, known))
  if len(known) > _MOST_LISTED:
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.0)
    return f"Did you mean one of {', '.join(map(repr, close))}? There are {len(known)}."
  close = difflib.get_close_matches(str(name), known, n=1)
  hint = f"Did you mean {close[0]!r}? " if close else ""
  return f"{hint}Known: {', '.join(known)}."


def counted(number: int, one: str, several: str = "") -> str:
  """A number with its noun: `1 cell`, `2 cells`; `several` is a plural with more than an s."""
  return f"{number} {one if number == 1 else several or one + 's'}"


def look_up(table: dict, name: str, what: str):
  """The entry `name`; ValueError with the nearest known name where there is none."""
  if name not in table:
    raise ValueError(f"Unknown {what} {name!r}. {nearest(name, table)}")
  return table[name]


def duration(seconds: float) -> str:
  """A time in words: `0.4 s`, `48 s`, `3 min 20 s`, `2 h 05 min`; NaN is `not known`."""
  if seconds != seconds:
    return "not known"
  if seconds < 9.95:
    return f"{seconds:.1f} s"
  whole = round(seconds)
  if whole < 60:
    return f"{whole} s"
  if whole < 3600:
    return f"{whole // 60} min {whole % 60:02d} s"
  return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
