"""One table of methods that every protocol test runs over; a new method adds a row."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import coreset
from ddjax.config import groups
from ddjax.data.load import load_real_data, make_data_split
from ddjax.registry import DISTILLERS


class Case(NamedTuple):
  """A method at toy size: what it changes, and how the loss is expected to move."""

  name: str
  method: str
  changes: dict[str, Any]


CASES = [
  Case("kip", "kip", {}),
  Case(
    "kip every option",
    "kip",
    {
      "synthetic.learn_labels": True,
      "synthetic.init": "noise",
      "outer.schedule": "cosine",
      "augment.fraction": 0.5,
      "augment.flip": True,
      "augment.max_shift": 1,
      "augment.max_rotation": 10.0,
      "augment.channel_shift": 0.1,
    },
  ),
  Case("kip conv", "kip", {"kernel.family": "conv"}),
  Case("label_solve", "label_solve", {}),
  Case("coreset", "coreset", {"coreset.method": "herding"}),  # two steps of training, then choices
]


def make_config(case: Case) -> ConfigDict:
  """A config of the case on the fake data set."""
  config = groups.base(case.method, "fake")
  config.kernel = groups.kernel("fc", 1)
  config.update(groups.kip(ipc=2, num_steps=20, learning_rate=0.02, target_batch_size=32))
  if case.method == "coreset":
    config.coreset = coreset.get_config("fake").coreset
    config.coreset.update(dict(network="mlp", width=1, num_epochs=1, batch_size=32))
  config.update_from_flattened_dict(case.changes)
  return config


def make_distiller(case: Case, axis_name=None):
  """(distiller, data on the host, info)."""
  config = make_config(case)
  real = load_real_data(config.data)
  distiller = DISTILLERS[case.method](config, real.info, axis_name=axis_name)
  return distiller, make_data_split(real), real.info
