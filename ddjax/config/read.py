"""Config files, read as the command line reads them."""

import importlib.util

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
  spec = importlib.util.spec_from_file_location("config_file", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(argument or None)
