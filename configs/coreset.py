"""Coresets: real examples chosen by herding, greedy k-centre, k-means, or at random.

  python -m ddjax.main --config=configs/coreset.py:cifar10,method=herding,ipc=10
  python -m ddjax.main --config=configs/coreset.py:digits,method=k_center,ipc=1

Words behind the colon: data set, `method=` (random, herding, k_center, k_means), `ipc=N`, `seed=N`,
`smoke` (one pass over 2000 train examples, short evaluation). Evaluated by the `dc` protocol on
five ConvNets of width 128 beside five random subsets: docs/reproduction.md has time and figures.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, groups


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,method=herding,ipc=10`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", method="herding", ipc=10, seed=0), flags=("smoke",)
  )
  config = groups.base("coreset", args["dataset"])
  config.variant = "-".join([args["method"]] + ["smoke"] * args["smoke"])
  config.seed = args["seed"]
  config.synthetic = ConfigDict(dict(ipc=args["ipc"]))
  config.coreset = groups.coreset(args["method"], args["dataset"])
  config.evaluators = ("accuracy",)
  config.curve.models = "none"
  config.evaluate_initial = False  # a random subset, which is there anyway
  evaluation = config.accuracy_evaluation
  evaluation.networks, evaluation.width, evaluation.protocol = ("convnet",), 128, "dc"
  if args["smoke"]:
    config.data.max_train_examples = 2000
    config.coreset.num_epochs = 1
    evaluation.width, evaluation.num_epochs = 16, 20
  return config
