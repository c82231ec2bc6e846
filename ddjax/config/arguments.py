"""The string behind the colon: `configs/kip.py:cifar10,ipc=10,smoke`.

The first word without `=` is the data set; other words are flags; `name=value` are values.
"""

from typing import Any, Collection, Mapping

from ddjax.wording import nearest


def parse_argument(
  arg: str | None, defaults: Mapping[str, Any], flags: tuple[str, ...] = ()
) -> dict[str, Any]:
  """Reads `cifar10,ipc=10,smoke` against the arguments that a config file knows.

  Args:
    arg: the text behind the colon; None or empty gives the defaults.
    defaults: {name: value}, whose types the given values take. Must hold "dataset".
    flags: words that may stand alone; each is False by default.
  Returns:
    {name: value} for every name in `defaults` and `flags`.
  Raises:
    ValueError: for an unknown name, a value of the wrong type, or a name given twice.
  """
  values = dict(defaults) | dict.fromkeys(flags, False)
  given = set()
  for word in filter(None, (part.strip() for part in (arg or "").split(","))):
    name, has_value, text = (part.strip() for part in word.partition("="))
    if not has_value and name in flags:
      value: Any = True
    elif not has_value and "dataset" not in given:
      name, value = "dataset", name
    elif not has_value:
      raise ValueError(f"Unknown word {word!r} in config argument {arg!r}. {nearest(word, flags)}")
    elif name not in values:
      raise ValueError(f"Unknown name {name!r} in config argument {arg!r}. {nearest(name, values)}")
    else:
      value = _typed(name, text, values[name])
    if name in given:
      raise ValueError(f"{name!r} stands twice in config argument {arg!r}.")
    given.add(name)
    values[name] = value
  return values


def split_words(arg: str | None, names: Collection[str]) -> tuple[str, str]:
  """Words for a config file and those that it hands on to the file that it is derived from.

  Args:
    arg: the text behind the colon.
    names: of the file's own values.
  Returns:
    (`name=value` words with these names, the other words), each joined by commas.
  """
  words = [word.strip() for word in (arg or "").split(",") if word.strip()]
  is_own = ["=" in word and word.partition("=")[0].strip() in names for word in words]
  own = [word for word, own in zip(words, is_own) if own]
  return ",".join(own), ",".join(word for word, own in zip(words, is_own) if not own)


def _typed(name: str, text: str, default: Any) -> Any:
  """`text` as a value of the default's type."""
  try:
    if isinstance(default, bool):
      return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    return type(default)(text)
  except (KeyError, ValueError) as error:
    kind = type(default).__name__
    raise ValueError(f"{name}={text!r} in the config argument is not of type {kind}.") from error
