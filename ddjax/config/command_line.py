"""Parsing the command line so that a wrong word is one sentence, not a traceback."""

import contextlib
import pathlib
import re
import sys

from absl import flags, logging

from ddjax.wording import nearest


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; a wrong one is a sentence on stderr and exit code 2.

  Args:
    argv: as `sys.argv`.
  Returns:
    What is left that is no flag, the program's name first.
  """
  path = _config_path(argv)
  try:
    if path and not pathlib.Path(path.partition(":")[0]).is_file():
      raise OSError(f"No config file {path.partition(':')[0]!r}.")
    with _log_held_back():
      return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    name = re.search(r"\w+", str(error)).group()
    print(f"Error: unknown config field {name!r}. {nearest(name, _fields(path))}", file=sys.stderr)
  except (flags.Error, ValueError, TypeError, OSError, ImportError) as error:
    print(f"Error: {str(error).strip().splitlines()[-1].strip()}", file=sys.stderr)
  sys.exit(2)


@contextlib.contextmanager
def _log_held_back():
  """What configs log while flags are read is shown after it, if the flags let it, or they fail."""
  handler, records = logging.get_absl_handler(), []

  def hold(record):
    records.append(record)
    return False

  handler.addFilter(hold)
  try:
    yield
  finally:
    handler.removeFilter(hold)
    for record in records:
      if logging.get_absl_logger().isEnabledFor(record.levelno):
        handler.handle(record)


def _config_path(argv: list[str]) -> str:
  """What follows `--config`, with `=` or a space; empty where it is missing."""
  for place, argument in enumerate(argv):
    name, has_value, value = argument.partition("=")
    if name.lstrip("-") == "config" and name.startswith("-"):
      return value if has_value else "".join(argv[place + 1 : place + 2])
  return ""


def _fields(path: str) -> set[str]:
  """Names of the fields of the config that `path` names."""
  from ddjax.config.compare import flatten
  from ddjax.config.read import get_config

  return {name.rpartition(".")[2] for name in flatten(get_config(path).to_dict())}
