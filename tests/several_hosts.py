"""One host of several, for `several_hosts_test.py`: runs small distillations one after another.

python tests/several_hosts.py FOLDER NAME...    with DDJAX_COORDINATOR and so on in the environment
"""

import pathlib
import sys

from ddjax.api import get_config
from ddjax.config.compare import flatten
from ddjax.tasks import distill
from ddjax.training import hosts

_COMMON = {
  "evaluators": ("kernel",),
  "kernel.engine": "closed_form",
  "outer.num_steps": 6,
  "outer.schedule": "constant",
  "curve.steps": (0, 6),
  "trainer.checkpoint_every_steps": 3,
  "trainer.steps_per_call": 2,
  "trainer.log_every_steps": 1,
  "trainer.tensorboard": False,
  "accuracy_evaluation.networks": ("mlp",),
  "accuracy_evaluation.num_epochs": 4,
  "accuracy_evaluation.num_seeds": 2,
  "accuracy_evaluation.full_set": "none",
  "accuracy_evaluation.use_robust_scores": False,
  "num_random_subsets": 2,
}
_NETWORK = {"network.width": 4, "curve.models": "none"}
RUNS = {
  "kip": ("kip.py:fake,ipc=2", {}),
  "dm": (
    "dm.py:fake,ipc=2",
    _NETWORK
    | {
      "network.name": "mlp",
      "evaluators": ("accuracy", "kernel", "fairness"),
    },
  ),
  "dsa": ("dsa.py:fake,ipc=2", _NETWORK | {"network.name": "mlp", "evaluators": ()}),
  "idc": ("idc.py:fake,ipc=2", _NETWORK | {"network.name": "convnet(depth=1)"}),
  "mtt": (
    "mtt.py:fake,ipc=2",
    {"network.name": "mlp", "outer.num_segments": 4, "curve.models": "none", "evaluators": ()},
  ),
  "datm": (
    "datm.py:fake,ipc=2",
    {"network.name": "mlp", "outer.num_segments": 4, "curve.models": "none"},
  ),
  "ncfm": (
    "ncfm.py:fake,ipc=2",
    {"network.name": "mlp", "curve.models": "none"},
  ),
  "frepo": (
    "frepo.py:fake,ipc=2",
    {"network.name": "convnet(depth=1,norm=none)", "network.width": 8, "curve.models": "none"},
  ),
  "coreset": ("coreset.py:fake,ipc=2", {"evaluators": (), "coreset.features": "pixels"}),
}
"""{name: (config, fields)}: each family of methods; four devices divide the batches.

The first host evaluates alone, whatever the method: KIP and DM show that.
"""


def run(name: str, folder: pathlib.Path, **fields) -> None:
  """Runs, or goes on, in FOLDER/NAME."""
  argument, own = RUNS[name]
  config = get_config(f"configs/{argument}")
  known = flatten(config.to_dict())
  shared = {name: value for name, value in _COMMON.items() if name in known}
  asked = {field.replace("__", "."): value for field, value in fields.items()}
  config.update_from_flattened_dict(shared | own | asked)  # of its own it must have all
  distill.run(config, folder / name)


def main() -> None:
  """Runs what the command line names."""
  hosts.join(hosts.find_place())
  for name in sys.argv[2:]:
    run(name, pathlib.Path(sys.argv[1]))
  hosts.leave(0)


if __name__ == "__main__":
  main()
