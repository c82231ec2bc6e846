"""A study: methods x images per class x initialisation x seeds, judged alike, ending in one page.

  python -m ddjax.main --config=configs/study.py:smoke                 two methods, two minutes
  python -m ddjax.main --config=configs/study.py:digits --workdir=runs/study
  python -m ddjax.main --config=configs/study.py:cifar10 --dry_run     every cell and what it costs
  python -m ddjax.main --config=configs/study.py:digits --config.only=method=dm,ipc=1

The first word behind the colon is a preset: smoke, digits, mnist, cifar10, kernels, privacy.
Further words: `seeds=N`, `splits=N` (shadow runs of an audit of privacy), and of all but the last
two presets `methods=dm+frepo`, `ipc=1+5`, `data=NAME` (with the preset's networks). Start the same
command on the same `--workdir` as often as there are cores, GPUs or machines with that disk: each
start is a worker. `--config.launcher=slurm` queues them. Fields: `ddjax/config/study.py`.
Measured: docs/guides/study.md.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config import arguments
from ddjax.config.read import get_config as read_config
from ddjax.config.study import make_study
from ddjax.wording import look_up

_FOLDER = pathlib.Path(__file__).parent
_METHODS = ("kip", "dc", "dsa", "dm", "idc", "mtt", "random", "herding", "k_means")
# Fewer classes for KIP and DM, one image a class, real images: a claim on privacy needs them.
_NOT_OF_FEWER_CLASSES = (
  *(f"method={name},num_classes=5" for name in _METHODS if name not in ("kip", "dm")),
  "ipc=10,num_classes=5",
  "init=noise,num_classes=5",
)
_AUDIT = ("kernel", "accuracy", "privacy", "robustness", "fairness")
# Without the slowest three: a third of the time of an audit of the networks of one set.
_ATTACKS = ("fgsm_linf", "pgd_linf", "pgd_l2", "apgd_ce_linf", "apgd_t_linf", "deepfool")

# Arguments of `make_study`; `seeds` and `splits` where the argument names none; `fields` of the
# study's config. Networks on digits have two blocks, since the images have 8x8 pixels.
PRESETS = {
  "smoke": dict(
    methods=("kip", "dm", "random"),
    dataset="digits",
    ipc=(1,),
    init=("real",),
    seeds=2,
    words=",smoke",
    evaluators=("kernel", "accuracy", "fairness"),
    evaluation=dict(
      networks=("convnet(depth=2)",), width=16, num_epochs=100, full_epochs=5, num_seeds=2,
      full_seeds=2, num_bootstrap=200,
    ),
    fields=dict(subset_ipcs=(2, 5, 20), real_steps=(10, 100)),
  ),
  "digits": dict(
    methods=_METHODS,
    dataset="digits",
    ipc=(1, 10),
    init=("real", "noise"),
    seeds=3,
    evaluators=_AUDIT,
    evaluation=dict(
      networks=("convnet(depth=2)",), width=32, protocol="dc", num_epochs=300, full_epochs=50
    ),
    num_classes=(0, 5),
    fields=dict(
      preset_exclude=_NOT_OF_FEWER_CLASSES,
      first_seed_only=(),
      subset_ipcs=(2, 5, 20, 50),
      real_steps=(5, 10, 20, 50, 100, 200, 500),
    ),
    attacks=_ATTACKS,
    splits=16,
  ),
  "mnist": dict(  # narrow networks
    methods=_METHODS,
    dataset="mnist",
    ipc=(1, 10),
    init=("real", "noise"),
    seeds=3,
    evaluators=_AUDIT,
    evaluation=dict(
      networks=("convnet",), width=32, protocol="dc", num_epochs=300, full_epochs=5
    ),
    fields=dict(
      subset_ipcs=(2, 5, 20, 50, 100), real_steps=(10, 20, 50, 100, 200, 500, 1000)
    ),
    splits=16,
  ),
  "cifar10": dict(  # published settings, for GPUs; MTT, IDC and DC begin with real images there
    methods=_METHODS,
    dataset="cifar10",
    ipc=(1, 10, 50),
    init=("real", "noise"),
    seeds=3,
    evaluators=_AUDIT,
    evaluation=dict(networks=("convnet",), width=128, protocol="dc", full_epochs=50, num_seeds=5),
    is_full_audit=True,
    fields=dict(
      preset_exclude=("method=mtt,init=noise", "method=idc,init=noise", "method=dc,init=noise"),
      subset_ipcs=(2, 5, 20, 100, 200, 500),
      real_steps=(50, 100, 200, 500, 1000, 2000, 5000),
      pack_data=True,
      robustness=dict(num_test=1000),  # of 10000, each by the published number of steps
      estimate_for="h200",
    ),
    splits=16,
  ),
}  # fmt: skip


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `digits,seeds=1`."""
  args = arguments.parse_argument(
    arg, dict(dataset="smoke", seeds=0, splits=0, data="", methods="", ipc="")
  )
  name, seeds, splits = args["dataset"], args["seeds"], args["splits"]
  if name == "kernels":
    return read_config(f"{_FOLDER / 'kernel_ablation.py'}:digits,seeds={seeds or 1}")
  if name == "privacy":
    return read_config(f"{_FOLDER / 'privacy.py'}:digits,splits={splits or 64}")
  chosen = dict(look_up(PRESETS | dict(kernels=None, privacy=None), name, "preset"))
  fields, attacks = chosen.pop("fields"), chosen.pop("attacks", None)
  own_seeds, own_splits = chosen.pop("seeds"), chosen.pop("splits", 0)
  if args["methods"]:
    chosen["methods"] = tuple(args["methods"].split("+"))
    further = [method for method in chosen["methods"] if method not in _METHODS]
    if "num_classes" in chosen:
      own = tuple(f"method={method},num_classes=5" for method in further)
      fields = fields | dict(preset_exclude=(*fields["preset_exclude"], *own))
  if args["data"]:
    chosen["dataset"] = args["data"]
  if args["ipc"]:
    chosen["ipc"] = tuple(int(count) for count in args["ipc"].split("+"))
  config = make_study(name, folder=_FOLDER, seed=tuple(range(seeds or own_seeds)), **chosen)
  config.update(fields)
  if attacks:
    config.robustness.attacks = attacks
  if splits or own_splits:
    config.privacy.num_splits = splits or own_splits
  return config
