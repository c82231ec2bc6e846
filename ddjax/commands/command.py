"""The words after `ddjax` that are no flags: which command they name, and its arguments.

A command is `python -m ddjax.main WORD ARGUMENTS` too. What a command needs is imported when it is
called, so that completion and errors come at once.
"""

import argparse
import sys
from typing import Callable, Sequence

import ddjax
from ddjax.wording import nearest

COMMANDS = {
  "list": "methods, tasks, data sets, evaluators, studies; with --runs=FOLDER the runs in a folder",
  "show": "what a run folder holds, or the runs in a folder",
  "completion": "prints the script that completes `ddjax` in bash, zsh or fish",
}


def run(words: Sequence[str]) -> int:
  """Runs a command.

  Args:
    words: what follows `ddjax` on the command line.
  Returns:
    the exit code: 0, 1 for an error that is printed as one sentence, 2 for a wrong word.
  """
  if list(words) == ["--version"]:
    print(f"ddjax {ddjax.__version__}")
    return 0
  name, *arguments = words
  if name not in COMMANDS:
    return _refuse(f"Unknown command {name!r}. {nearest(name, COMMANDS)}")
  try:
    return _RUNNERS[name](arguments)
  except BrokenPipeError:  # `ddjax list | head`
    return 0
  except (ValueError, OSError) as error:
    print(f"Error: {error}", file=sys.stderr)
    return 1


def _refuse(sentence: str) -> int:
  print(f"Error: {sentence}", file=sys.stderr)
  return 2


class _Parser(argparse.ArgumentParser):
  """Says what is wrong in one sentence."""

  def error(self, message: str):
    self.exit(2, f"Error: {message} (see `{self.prog} --help`)\n")


def _parser(name: str) -> _Parser:
  return _Parser(prog=f"ddjax {name}", description=COMMANDS[name], allow_abbrev=False)


def _list(arguments: Sequence[str]) -> int:
  from ddjax.commands import catalogue

  parser = _parser("list")
  names = ", ".join(catalogue.SECTIONS)
  parser.add_argument("section", nargs="?", default="", help=f"only one of: {names}")
  parser.add_argument("--runs", metavar="FOLDER", help="the runs in a folder, and write its page")
  given = parser.parse_args(arguments)
  if given.runs is None:
    print(catalogue.text(given.section))
    return 0
  if given.section:
    parser.error(f"--runs={given.runs} lists runs; it goes without {given.section!r}")
  from ddjax.commands import show

  print(show.folder_text(given.runs))
  return 0


def _show(arguments: Sequence[str]) -> int:
  from ddjax.commands import show

  parser = _parser("show")
  parser.add_argument("folder", help="a run folder, or a folder of runs")
  print(show.text(parser.parse_args(arguments).folder))
  return 0


def _completion(arguments: Sequence[str]) -> int:
  from ddjax.commands import completion

  parser = _parser("completion")
  parser.add_argument("shell", help=f"one of: {', '.join(completion.SHELLS)}")
  print(completion.script(parser.parse_args(arguments).shell, tuple(COMMANDS)))
  return 0


_RUNNERS: dict[str, Callable[[Sequence[str]], int]] = {
  "list": _list,
  "show": _show,
  "completion": _completion,
}
