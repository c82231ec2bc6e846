"""Evaluates a distilled set from disk, ours or another project's, with freshly trained networks.

  python -m ddjax.main --config=configs/evaluate.py:cifar10 --config.distilled=runs/mine
  python -m ddjax.main --config=configs/evaluate.py:digits,protocol=quick --config.distilled=set.npz
  python -m ddjax.main --config=configs/evaluate.py:digits,audit --config.distilled=runs/a,runs/b

`--config.distilled` takes a run folder, a `distilled` folder, an npz, a folder of PNGs by class or
of Hugging Face's `datasets`, or the result file of another project (see `ddjax.io.foreign`), for
which `--config.foreign.FIELD` says what the file does not; several paths with commas between stand
side by side in one report, where `PATH#preprocessing=published#decode_factor=2` says it of one of
them. Words behind the colon: data set, `protocol=` (dc, mtt, idc, kip, frepo, quick, or dc_released
and mtt_released: one epoch more and a later drop, as in the released loop), `seed=N`, `smoke`
(narrow networks, a few epochs), `audit` (privacy, robustness, fairness and features too, at a
budget for two cores), `full` (with `audit`: at the settings of the attacks' papers). More
architectures: `--config.accuracy_evaluation.networks="('convnet','resnet18')"`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.config import arguments, audit, foreign_group, groups

_AUDIT = ("accuracy", "privacy", "robustness", "fairness", "features")
# Epochs of networks on the full set; 5 elsewhere, which two cores do in half an hour.
_FULL_EPOCHS = {"digits": 50, "fake": 50}
_NETWORKS = {"digits": "convnet(depth=2)"}  # 8x8 pixels: a third block would see 2x2 of them


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,protocol=dc`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", protocol="dc", seed=0), flags=("smoke", "audit", "full")
  )
  config = groups.evaluation("evaluate", args["dataset"])
  if args["full"] and not args["audit"]:
    raise ValueError("`full` goes with `audit`: configs/evaluate.py:DATASET,audit,full")
  words = [word for word in ("audit", "full", "smoke") if args[word]]
  config.variant = "-".join([args["protocol"], *words])
  config.seed = args["seed"]
  config.distilled = placeholder(str)
  config.accuracy_evaluation.protocol = args["protocol"]
  config.foreign = foreign_group.foreign()
  if args["audit"]:
    config.evaluators = _AUDIT
    for name, group in audit.groups(args["full"]).items():
      config[name] = group
    config.accuracy_evaluation.update(
      dict(
        networks=(_NETWORKS.get(args["dataset"], "convnet"),),
        width=0 if args["full"] else 32,
        num_seeds=5 if args["full"] else 3,
        num_epochs=None if args["full"] else 300,
        full_set="train",
        full_epochs=50 if args["full"] else _FULL_EPOCHS.get(args["dataset"], 5),
        full_seeds=5 if args["full"] else 3,
      )
    )
  if args["smoke"]:
    config.accuracy_evaluation.update(dict(width=8, num_epochs=5, num_seeds=2))
  return config
