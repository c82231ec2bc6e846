"""Membership inference over the study's factors: ipc, initialisation, number of classes: a study.

  python -m ddjax.main --config=configs/privacy.py            digits: DM and KIP, 64 splits a cell
  python -m ddjax.main --config=configs/privacy.py:digits,splits=16
  python -m ddjax.main --config=configs/privacy.py --config.axes.num_classes="(0,5,2)"

Words behind the colon: data set, `splits=N` (shadow runs of a cell), `steps=N` (of DM, at most),
`seed=N`, `smoke`. Cells: methods x ipc 1 and 10 x init real and noise, and ipc 1, init real with
fewer classes. Everything else is as in configs/study.py. Measured: docs/reproduction.md.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config import arguments, audit
from ddjax.config.study import make_study

_IPCS = (1, 10)


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `digits,splits=16`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", splits=64, steps=300, seed=0), flags=("smoke",)
  )
  config = make_study(
    "privacy",
    folder=pathlib.Path(__file__).parent,
    methods=("dm", "kip"),
    dataset=args["dataset"],
    ipc=_IPCS[:1] if args["smoke"] else _IPCS,
    init=("real", "noise"),
    num_classes=(0, 5),
    seed=(args["seed"],),
    words=",smoke" if args["smoke"] else "",
    evaluators=("privacy",),
  )
  words = [args["dataset"], f"splits{args['splits']}", *["smoke"] * args["smoke"]]
  config.variant = "-".join(["privacy", *words, f"seed{args['seed']}"])
  config.full_set = False
  config.preset_exclude = ("ipc=10,num_classes=5", "init=noise,num_classes=5")
  for plan in config.plans.values():
    if "outer" in plan:
      plan.outer.num_steps = min(plan.outer.num_steps, args["steps"])
  evaluation = config.plans[f"dm-{args['dataset']}-ipc{_IPCS[0]}"].accuracy_evaluation
  config.accuracy_evaluation = ConfigDict(evaluation.to_dict())
  config.accuracy_evaluation.num_epochs = 20 if args["smoke"] else 300  # of the protocol's 1000
  # The distillations here are all of `steps`, with as many experts as the method has.
  config.privacy.max_steps = audit.privacy(is_full=True).max_steps
  config.privacy.max_experts, config.privacy.num_splits = 0, args["splits"]
  if args["smoke"]:
    config.privacy.update(dict(num_splits=8, full_epochs=2, num_bootstrap=20))
  return config
