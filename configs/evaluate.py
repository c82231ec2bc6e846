"""Evaluates a distilled set from disk with freshly trained networks.

  python -m ddjax.main --config=configs/evaluate.py:cifar10 --config.distilled=runs/mine
  python -m ddjax.main --config=configs/evaluate.py:digits,protocol=quick --config.distilled=set.npz

`--config.distilled` takes a run folder, a `distilled` folder, or an npz. Words behind the colon:
data set, `protocol=` (dc, mtt, idc, kip, frepo, quick), `seed=N`, `smoke` (narrow networks, a few
epochs). More architectures: `--config.accuracy_evaluation.networks="('convnet','resnet18')"`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.config import arguments, groups


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,protocol=dc`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", protocol="dc", seed=0), flags=("smoke",)
  )
  config = groups.evaluation("evaluate", args["dataset"])
  config.variant = "-".join([args["protocol"]] + ["smoke"] * args["smoke"])
  config.seed = args["seed"]
  config.distilled = placeholder(str)
  config.accuracy_evaluation.protocol = args["protocol"]
  if args["smoke"]:
    config.accuracy_evaluation.update(dict(width=8, num_epochs=5, num_seeds=2))
  return config
