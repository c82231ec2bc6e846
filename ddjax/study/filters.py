"""Cells chosen by words such as `method=dm,ipc=1`."""

from typing import Any, Iterable, Mapping


def parse(text: str) -> dict[str, str]:
  """`method=dm,ipc=1` as {axis: value}; raises ValueError for anything else."""
  wanted = {}
  for word in filter(None, (part.strip() for part in text.split(","))):
    name, has_value, value = (part.strip() for part in word.partition("="))
    if not has_value:
      raise ValueError(f"{word!r} in {text!r} is not of the form AXIS=VALUE.")
    if name in wanted:
      raise ValueError(f"{name!r} stands twice in {text!r}.")
    wanted[name] = "0" if (name, value) == ("num_classes", "None") else value
  return wanted


def matches(factors: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
  """Whether all the factors that are named have these values, as text."""
  return all(text_of(factors, name) == value for name, value in wanted.items())


def text_of(factors: Mapping[str, Any], name: str) -> str:
  """The value of a factor as a filter names it; "None" where the cell has none.

  All classes are 0, as in the axis.
  """
  value = factors.get(name)
  return "0" if name == "num_classes" and value is None else str(value)


def matches_any(factors: Mapping[str, Any], texts: Iterable[str]) -> bool:
  """Whether one of several filters matches."""
  return any(matches(factors, parse(text)) for text in texts)
