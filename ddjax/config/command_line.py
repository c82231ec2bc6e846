"""Parsing the command line so that a wrong word is one sentence, not a traceback."""

import contextlib
import re
import sys

from absl import flags, logging
from ml_collections import ConfigDict

from ddjax.config.find import find_config
from ddjax.wording import nearest


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; a wrong one is a sentence on stderr and exit code 2.

  Args:
    argv: as `sys.argv`.
  Returns:
    What is left that is no flag, the program's name first.
  """
  path = ""
  try:
    argv, path = _with_config_path(argv)
    with _log_held_back():
      return flags.FLAGS(argv)
  except (AttributeError, KeyError, TypeError) as error:
    print(f"Error: {_about_field(argv, path) or _last_line(error)}", file=sys.stderr)
  except (flags.Error, ValueError, OSError, ImportError) as error:
    print(f"Error: {_last_line(error)}", file=sys.stderr)
  sys.exit(2)


def _last_line(error: Exception) -> str:
  """What an error says in the end; what stands before is how flags wrap it."""
  return str(error).strip().splitlines()[-1].strip()


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


def _with_config_path(argv: list[str]) -> tuple[list[str], str]:
  """The arguments with `--config=kip` as the path of that file, and what `--config` then holds.

  Raises:
    FileNotFoundError, ValueError: see `find_config`.
  """
  argv = list(argv)
  for place, argument in enumerate(argv):
    name, has_value, value = argument.partition("=")
    if name not in ("-config", "--config"):
      continue
    if has_value:
      path = find_config(value)
      argv[place] = f"{name}={path}"
      return argv, path
    if place + 1 < len(argv):
      argv[place + 1] = find_config(argv[place + 1])
      return argv, argv[place + 1]
  return argv, ""


def _about_field(argv: list[str], path: str) -> str:
  """A sentence on the first of the arguments' fields that the config has not; "" without one."""
  from ddjax.config.compare import flatten
  from ddjax.config.read import get_config

  try:
    config = get_config(path)
  except Exception:  # the config file itself fails, and what it raised is what is to be said
    return ""
  for argument in argv:
    given = re.match(r"--?config\.([\w.-]+)", argument)
    group, before = config, ""
    for part in given[1].split(".") if given else ():
      if not isinstance(group, ConfigDict):
        known = [name for name in flatten(config.to_dict()) if name.endswith(f".{part}")]
        hint = f" Did you mean {', '.join(known)}?" if known else ""
        holder = before[:-1]
        return f"unknown config field '{before}{part}': {holder} is {group!r}, no group.{hint}"
      if part not in group:
        return f"unknown config field '{before}{part}'. {nearest(part, list(group))}"
      group, before = group[part], f"{before}{part}."
  return ""
