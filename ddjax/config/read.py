"""Config files, read as the command line reads them."""

import importlib.util
import os
from types import ModuleType

from ml_collections import ConfigDict

from ddjax.config.find import find_config


def get_config(path: str) -> ConfigDict:
  """The config that `--config=path` stands for: `configs/kip.py:cifar10,ipc=10`, or `kip:cifar10`.

  Args:
    path: of a config file, or the name of one that ddjax carries, and its argument after a colon.
  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for an unknown name, or an argument that the file does not know.
  """
  file, _, argument = find_config(path).partition(":")
  return load_file(file).get_config(argument or None)


def load_file(path: str | os.PathLike) -> ModuleType:
  """Runs a config file and returns its module; config files use it to read one another."""
  spec = importlib.util.spec_from_file_location("config_file", path)
  assert spec is not None and spec.loader is not None  # a .py file has both
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
