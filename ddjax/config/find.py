"""Where a config file lies: at its path, or, for a bare name, among those that ddjax carries."""

import ast
import pathlib
import re

import ddjax
from ddjax.wording import nearest

_NAME = re.compile(r"[A-Za-z_]\w*")


def carried_folder() -> pathlib.Path:
  """The folder `configs/`: in an installed package inside of it, in a checkout beside it."""
  package = pathlib.Path(ddjax.__file__).resolve().parent
  inside = package / "configs"
  return inside if inside.is_dir() else package.parent / "configs"


def carried() -> dict[str, pathlib.Path]:
  """{name: path} of the config files that ddjax carries, in alphabetical order."""
  return {path.stem: path for path in sorted(carried_folder().glob("*.py"))}


def first_line(path: pathlib.Path) -> str:
  """The first line of a module's docstring, without running the module; empty without one."""
  text = ast.get_docstring(ast.parse(path.read_text()))
  return (text or "").partition("\n")[0]


def find_config(text: str) -> str:
  """`kip:cifar10,ipc=10` as `/.../configs/kip.py:cifar10,ipc=10`; a path stays as it is.

  Args:
    text: of `--config`: a path that ends in `.py`, or a name of `carried()`, and what the file is
      told after a colon.
  Raises:
    FileNotFoundError: for a path without a file.
    ValueError: for an unknown name, with the nearest known one.
  """
  file, colon, argument = text.partition(":")
  if pathlib.Path(file).is_file():
    return text
  known = carried()
  if file in known:
    return f"{known[file]}{colon}{argument}"
  name = pathlib.PurePath(file).stem
  if _NAME.fullmatch(file):
    own = pathlib.Path(f"{file}.py")
    hint = f"Did you mean the file {str(own)!r}? " if own.is_file() else ""
    raise ValueError(f"Unknown config {file!r}. {hint}{nearest(name, known)}")
  raise FileNotFoundError(f"No config file {file!r}. Those of ddjax: {nearest(name, known)}")
