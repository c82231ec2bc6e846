"""Jobs without data, of commands: what an estimate needs."""

import ast
import contextlib
import pathlib
from types import SimpleNamespace

import numpy as np

from ddjax import registry
from ddjax.api import get_config
from ddjax.stages.prepare import Job
from ddjax.types import DatasetInfo

_CIFAR10 = DatasetInfo("cifar10", (32, 32, 3), 10, 50000)


def job_of(command: str) -> Job:
  """The job of a recorded row, without its data."""
  path, *overrides = [word.removeprefix("--config=") for word in command.split()]
  config = get_config(path)
  for override in overrides:
    field, value = override.removeprefix("--config.").split("=")
    with contextlib.suppress(ValueError, SyntaxError):
      value = ast.literal_eval(value)
    config.update_from_flattened_dict({field: value})
  distiller = registry.DISTILLERS[config.method](config, _CIFAR10)
  real = SimpleNamespace(
    info=_CIFAR10,
    test_labels=np.zeros(10000, int),
    train_labels=np.zeros(50000, int),
    validation_labels=np.zeros(0, int),
  )
  num_steps = distiller.num_steps or config.outer.num_steps
  return Job(
    config=config,
    workdir=pathlib.Path(),
    real=real,
    data={},
    layout=None,
    distiller=distiller,
    num_steps=num_steps,
  )
