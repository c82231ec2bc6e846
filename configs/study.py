"""A study: methods x images per class x initialisation x seeds, judged alike, ending in one page.

  python -m ddjax.main --config=configs/study.py:smoke                 two methods, two minutes
  python -m ddjax.main --config=configs/study.py:digits --workdir=runs/study
  python -m ddjax.main --config=configs/study.py:cifar10 --dry_run     every cell and what it costs
  python -m ddjax.main --config=configs/study.py:digits --config.only=method=dm,ipc=1

The first word behind the colon is a preset: smoke, digits, mnist, cifar10, kernels, privacy.
Further words: `seeds=N`, `splits=N` (shadow runs of an audit of privacy). Start the same command on
the same `--workdir` as often as there are cores, GPUs or machines with that disk: each start is a
worker. `--config.launcher=slurm` queues them. Fields: `ddjax/config/study.py`. Measured:
docs/study.md.
"""

import pathlib

from ml_collections import ConfigDict

from configs import kernel_ablation, privacy
from ddjax.config import arguments
from ddjax.config.study import make_study
from ddjax.wording import look_up

_FOLDER = pathlib.Path(__file__).parent
_METHODS = ("kip", "dc", "dsa", "dm", "idc", "mtt", "random", "herding", "k_means")
_AUDIT = ("kernel", "accuracy", "privacy", "robustness", "fairness")
# Without the slowest three: a third of the time of an audit of the networks of one set.
_ATTACKS = ("fgsm_linf", "pgd_linf", "pgd_l2", "apgd_ce_linf", "apgd_t_linf", "deepfool")


def _smoke(args: dict) -> ConfigDict:
  """Two methods on digits, a few steps each."""
  config = make_study(
    "smoke",
    folder=_FOLDER,
    methods=("kip", "dm", "random"),
    dataset="digits",
    ipc=(1,),
    init=("real",),
    seed=tuple(range(args["seeds"] or 2)),
    words=",smoke",
    evaluators=("kernel", "accuracy", "fairness"),
    evaluation=dict(
      networks=("convnet(depth=2)",), width=16, num_epochs=100, full_epochs=5, num_seeds=2,
      full_seeds=2, num_bootstrap=200,
    ),
  )  # fmt: skip
  config.subset_ipcs, config.real_steps = (2, 5, 20), (10, 100)
  return config


def _digits(args: dict) -> ConfigDict:
  """All methods and axes on digits; the networks have two blocks, since images have 8x8 pixels."""
  config = make_study(
    "digits",
    folder=_FOLDER,
    methods=_METHODS,
    dataset="digits",
    ipc=(1, 10),
    init=("real", "noise"),
    seed=tuple(range(args["seeds"] or 3)),
    evaluators=_AUDIT,
    evaluation=dict(
      networks=("convnet(depth=2)",), width=32, protocol="dc", num_epochs=300, full_epochs=50
    ),
  )
  config.exclude = ("method=dc,ipc=10,init=noise",)  # a quarter of an hour each
  config.subset_ipcs = (2, 5, 20, 50)
  config.real_steps = (5, 10, 20, 50, 100, 200, 500)
  config.robustness.attacks = _ATTACKS
  config.privacy.num_splits = args["splits"] or 16
  return config


def _mnist(args: dict) -> ConfigDict:
  """All methods on MNIST, narrow networks: a day or two of two cores, an hour of a GPU."""
  config = make_study(
    "mnist",
    folder=_FOLDER,
    methods=_METHODS,
    dataset="mnist",
    ipc=(1, 10),
    init=("real", "noise"),
    seed=tuple(range(args["seeds"] or 3)),
    evaluators=_AUDIT,
    evaluation=dict(networks=("convnet",), width=32, protocol="dc", num_epochs=300, full_epochs=5),
  )
  config.subset_ipcs = (2, 5, 20, 50, 100)
  config.real_steps = (10, 20, 50, 100, 200, 500, 1000)
  config.privacy.num_splits = args["splits"] or 16
  return config


def _cifar10(args: dict) -> ConfigDict:
  """The published settings on CIFAR-10, for GPUs; `--dry_run` says how many hours it takes."""
  config = make_study(
    "cifar10",
    folder=_FOLDER,
    methods=_METHODS,
    dataset="cifar10",
    ipc=(1, 10, 50),
    init=("real", "noise"),
    seed=tuple(range(args["seeds"] or 3)),
    evaluators=_AUDIT,
    evaluation=dict(networks=("convnet",), width=128, protocol="dc", full_epochs=50, num_seeds=5),
    is_full_audit=True,
  )
  config.exclude = ("method=mtt,init=noise", "method=idc,init=noise", "method=dc,init=noise")
  config.subset_ipcs = (2, 5, 20, 100, 200, 500)
  config.real_steps = (50, 100, 200, 500, 1000, 2000, 5000)
  config.pack_data = True
  config.privacy.num_splits = args["splits"] or 16
  return config


def _kernels(args: dict) -> ConfigDict:
  return kernel_ablation.get_config("digits,seeds=" + str(args["seeds"] or 1))


def _privacy(args: dict) -> ConfigDict:
  return privacy.get_config(f"digits,splits={args['splits'] or 64}")


PRESETS = {
  "smoke": _smoke,
  "digits": _digits,
  "mnist": _mnist,
  "cifar10": _cifar10,
  "kernels": _kernels,
  "privacy": _privacy,
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `digits,seeds=1`."""
  args = arguments.parse_argument(arg, dict(dataset="smoke", seeds=0, splits=0))
  return look_up(PRESETS, args["dataset"], "preset")(args)
