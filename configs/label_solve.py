"""Label Solve: real images, labels by least squares over the train set (Nguyen et al. 2021).

  python -m ddjax.main --config=configs/label_solve.py                      digits, ipc 10, FC-1
  python -m ddjax.main --config=configs/label_solve.py:cifar10,ipc=10,depth=3
  python -m ddjax.main --config=configs/label_solve.py:cifar10,ipc=10,family=conv,depth=2

Words behind the colon: data set, `ipc=N`, `seed=N`, `family=` and `depth=` of the kernel, `smoke`
(2000 train examples). `family=convnet,depth=3` is the published kernel; for kernels over pixels
sets in colour are whitened as published (regularised ZCA). One pass over the train set. Measured
figures: docs/reproduction.md.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, groups, tables
from ddjax.data.facts import FACTS
from ddjax.kernels.architectures import POOLED

_BLOCKS = {
  (None, None): dict(target_batch_size=5000),
  ("digits", None): dict(target_batch_size=1000, num_replicas=3),
  ("fake", None): dict(target_batch_size=32),
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,ipc=10,family=conv,depth=2`."""
  args = arguments.parse_argument(
    arg, dict(dataset="digits", ipc=10, seed=0, family="fc", depth=1), flags=("smoke",)
  )
  recipe = tables.settings_for(_BLOCKS, args["dataset"], args["ipc"])
  config = groups.base("label_solve", args["dataset"])
  variant = [args["family"] + str(args["depth"])] + ["smoke"] * args["smoke"]
  config.variant = "-".join(variant)
  config.seed = args["seed"]
  config.num_replicas = recipe.get("num_replicas", 1)
  config.synthetic = ConfigDict(dict(ipc=args["ipc"], init="real"))
  config.kernel = groups.kernel(args["family"], args["depth"])
  if args["family"] in ("conv", "convnet", "myrtle"):
    shape = FACTS[args["dataset"]].image_shape if args["dataset"] in FACTS else None
    if shape is not None and shape[-1] == 3:
      config.data.preprocessing = "zca_kip"
  if args["family"] in POOLED:  # a pair of images costs milliseconds
    config.num_random_subsets = 2
  config.ridge = 1e-6  # relative to the mean diagonal of K_ss
  config.outer = ConfigDict(
    dict(target_batch_size=recipe["target_batch_size"])  # train rows of one block, over all devices
  )
  if args["smoke"]:
    config.data.max_train_examples = 2000
  return config
