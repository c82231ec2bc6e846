"""Config files, read as the command line reads them."""

import importlib.util
import pathlib

from ml_collections import ConfigDict


def get_config(path: str) -> ConfigDict:
  """The config that `--config=path` stands for, such as `configs/kip.py:cifar10,ipc=10`.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for an argument that the file does not know.
  """
  file, _, argument = path.partition(":")
  if not pathlib.Path(file).is_file():
    raise FileNotFoundError(f"No config file {file!r}.")
  spec = importlib.util.spec_from_file_location("config_file", file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(argument or None)
