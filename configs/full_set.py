"""Networks trained on the full train set: the upper bound, kept in the cache for later runs.

  python -m ddjax.main --config=configs/full_set.py:digits,epochs=100
  python -m ddjax.main --config=configs/full_set.py:fashion_mnist,epochs=3

Words behind the colon: data set, `epochs=N` (0: as many as the protocol, a day for CIFAR-10 on two
cores), `protocol=` (as in configs/evaluate.py), `seed=N`, `smoke` (one epoch of a narrow network).
An evaluation with the same protocol, width and `accuracy_evaluation.full_epochs` finds
these networks in the cache and reports `full_*` and `relative_*`.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, groups


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `fashion_mnist,epochs=3`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", epochs=0, protocol="dc", seed=0), flags=("smoke",)
  )
  config = groups.evaluation("full_set", args["dataset"])
  config.variant = "-".join([args["protocol"]] + ["smoke"] * args["smoke"])
  config.seed = args["seed"]
  config.accuracy_evaluation.protocol = args["protocol"]
  config.accuracy_evaluation.full_epochs = args["epochs"] or None
  if args["smoke"]:
    config.accuracy_evaluation.update(dict(width=8, full_epochs=1))
  return config
