"""KIP over a list of kernels, each set tested with its own kernel and with every other: a study.

  python -m ddjax.main --config=configs/kernel_ablation.py                 digits, ipc 1
  python -m ddjax.main --config=configs/kernel_ablation.py:mnist,ipc=10,pooled

Words behind the colon: data set, `ipc=N`, `seeds=N`, `pooled` (ConvNet and Myrtle kernels too:
days on a CPU, so what is above `max_cell_minutes` is left out as too dear), `smoke`. The variants
are architecture x depth x NTK/NNGP x ridge; edit `config.variants` and `config.axes.variant` for
others.
Everything else is as in configs/study.py. Measured: docs/reproduction.md.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config import arguments, groups
from ddjax.config.study import make_study


def _variants(has_pooled: bool) -> dict[str, dict]:
  """{name: fields of a config of KIP}."""
  kernels = {}
  for family, depth in (("fc", 1), ("fc", 2), ("fc", 3), ("conv", 1), ("conv", 2)):
    for kind in ("ntk", "nngp"):
      kernels[f"{family}{depth}-{kind}"] = (family, depth, kind, 1e-6)
  kernels["fc1-ntk-ridge1e-3"] = ("fc", 1, "ntk", 1e-3)
  kernels["rbf"] = ("rbf", 1, "nngp", 1e-6)
  if has_pooled:
    for family, depth in (("convnet", 3), ("myrtle", 5)):
      kernels[f"{family}{depth}-ntk"] = (family, depth, "ntk", 1e-6)
  return {
    name: dict(kernel=groups.kernel(family, depth, kind).to_dict(), ridge=ridge)
    for name, (family, depth, kind, ridge) in kernels.items()
  }


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `mnist,ipc=10`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", ipc=1, seeds=1), flags=("pooled", "smoke")
  )
  config = make_study(
    "kernels",
    folder=pathlib.Path(__file__).parent,
    methods=("kip",),
    dataset=args["dataset"],
    ipc=(args["ipc"],),
    seed=tuple(range(args["seeds"])),
    evaluators=("kernel",),
  )
  words = [args["dataset"], *[word for word in ("pooled", "smoke") if args[word]]]
  config.variant = "-".join(["kernels", *words, f"ipc{args['ipc']}"])
  variants = _variants(args["pooled"])
  config.variants, config.axes.variant = ConfigDict(variants), tuple(variants)
  config.full_set, config.transfer, config.max_cell_minutes = False, True, 10.0
  is_small = args["dataset"] in ("digits", "fake")
  for plan in config.plans.values():
    if plan.method == "kip":
      batch = {"digits": 1000, "fake": 32}.get(args["dataset"], 5000)
      steps = 20 if args["smoke"] else 200 if is_small else 500
      plan.update(
        groups.kip(
          ipc=args["ipc"], num_steps=steps, learning_rate=0.04, target_batch_size=batch
        ).to_dict()
      )
  return config
