"""One table of methods that every protocol test runs over; a new method adds a row."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from configs import coreset, dc, dm, dsa, idc
from ddjax.config import groups
from ddjax.data.load import load_real_data, make_data_split
from ddjax.registry import DISTILLERS


class Case(NamedTuple):
  """A method at toy size.

  Attributes:
    name: of the case.
    method: name in the registry.
    changes: {dotted field: value} of its config.
    loss_ratio: what the loss falls below in 40 steps, as a share of where it began; None where it
      is of several kinds.
    is_slow: whether it runs with the slow tests: its programs take long to compile.
  """

  name: str
  method: str
  changes: dict[str, Any]
  loss_ratio: float | None = 0.8
  is_slow: bool = False


# What compiles fast, and begins far from its goal.
_SMALL = {"network.name": "mlp", "augmentation": "crop_scale", "synthetic.init": "noise"}
_SMALL_IDC = {
  "network.name": "convnet(depth=1)",
  "augmentation": "crop",
  "synthetic.init": "noise",
  "outer.learning_rate": 0.1,
}

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
  Case("label_solve", "label_solve", {}, None),  # its loss is the fit to the blocks so far
  # Two steps of training, then choices.
  Case("coreset", "coreset", {"coreset.method": "herding"}, None),
  Case("dm", "dm", _SMALL | {"outer.learning_rate": 4.0}, 0.9),
  Case(
    "dm every option",
    "dm",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "synthetic.init": "kmeans",
      "outer.num_networks": 2,
      "classes_at_once": 2,
      "outer.real_batch_size": 8,
    },
    None,  # it begins where DM leads to
    is_slow=True,
  ),
  Case("dsa", "dsa", _SMALL | {"outer.outer_loop": 2, "outer.inner_loop": 1}, 0.9),
  Case(
    "dsa every option",
    "dsa",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "augmentation": "color_cutout_rotate",
      "synthetic.learn_labels": True,
      "classes_at_once": 1,
      "outer.outer_loop": 3,
      "outer.inner_loop": 2,
      "outer.network_batch_size": 5,
    },
    1.0,
    is_slow=True,
  ),
  Case("dc", "dc", {"network.name": "mlp"}, 0.9, is_slow=True),
  Case("idc", "idc", _SMALL_IDC, 0.8, is_slow=True),
  Case(
    "idc-i",
    "idc",
    _SMALL_IDC | {"synthetic.factor": 1, "synthetic.learn_labels": True},
    0.8,
    is_slow=True,
  ),
]
_CONFIGS = {"dc": dc, "dm": dm, "dsa": dsa, "idc": idc}


def make_config(case: Case) -> ConfigDict:
  """A config of the case on the fake data set."""
  if case.method in _CONFIGS:
    config = _CONFIGS[case.method].get_config("fake,ipc=2")
    config.update_from_flattened_dict(case.changes)
    return config
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
