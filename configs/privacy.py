"""Membership inference over the study's factors: ipc, initialisation, number of classes.

  python -m ddjax.main --config=configs/privacy.py            digits: DM and KIP, 64 splits a cell
  python -m ddjax.main --config=configs/privacy.py:digits,splits=16
  python -m ddjax.main --config=configs/privacy.py --config.factors.num_classes="(5,2)"

Words behind the colon: data set, `splits=N` (shadow runs of a cell), `steps=N` (of DM, at most),
`seed=N`, `smoke`. Cells: methods x ipc 1 and 10 x init real and noise, and ipc 1, init real with
fewer classes. Measured: docs/reproduction.md.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.api import get_config as read_config
from ddjax.config import arguments, audit, groups

_METHODS = ("dm", "kip")
_IPCS = (1, 10)


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `digits,splits=16`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", splits=64, steps=300, seed=0), flags=("smoke",)
  )
  config = groups.evaluation("privacy_study", args["dataset"])
  config.variant = "-".join([f"splits{args['splits']}"] + ["smoke"] * args["smoke"])
  config.seed = args["seed"]
  words = ",smoke" if args["smoke"] else ""
  folder = pathlib.Path(__file__).parent
  plans = {}
  for method in _METHODS:
    for ipc in _IPCS[:1] if args["smoke"] else _IPCS:
      plan = read_config(f"{folder / method}.py:{args['dataset']},ipc={ipc}{words}")
      plan.seed = args["seed"]
      plan.outer.num_steps = min(plan.outer.num_steps, args["steps"])
      plans[f"{method}-ipc{ipc}"] = plan
  config.distillations = ConfigDict({name: plan.to_dict() for name, plan in plans.items()})
  config.data = next(iter(plans.values())).data.copy_and_resolve_references()
  config.factors = ConfigDict(dict(init=("real", "noise"), num_classes=(5,)))
  config.claims = ("lira", "lira_offline", "loss")  # attacks whose AUC is compared between cells
  config.privacy = audit.privacy()
  config.privacy.num_splits = args["splits"]
  # The distillations here are all of `steps`, with as many experts as the method has.
  config.privacy.max_steps = audit.privacy(is_full=True).max_steps
  config.privacy.max_experts = 0
  evaluation = plans[f"dm-ipc{_IPCS[0]}"].accuracy_evaluation
  config.accuracy_evaluation = evaluation.copy_and_resolve_references()
  config.accuracy_evaluation.num_epochs = 20 if args["smoke"] else 300  # of the protocol's 1000
  if args["smoke"]:
    config.privacy.update(dict(num_splits=8, full_epochs=2, num_bootstrap=20))
  return config
