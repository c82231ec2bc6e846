"""DM: distilled sets by matching distributions (Zhao, Bilen 2023).

  python -m ddjax.main --config=configs/dm.py                       digits, ipc 1
  python -m ddjax.main --config=configs/dm.py:cifar10,ipc=10        the published settings
  python -m ddjax.main --config=configs/dm.py:cifar10,ipc=1,steps=500  as far as two cores come
  python -m ddjax.main --config=configs/dm.py:mnist,ipc=1,width=128 the published width

Words behind the colon: data set, `ipc=N`, `seed=N`, `steps=N` (updates of the images), `width=N`
(of the network that is matched, and of the evaluation's), `smoke` (a few steps, short evaluation).
Published: CIFAR-10 .260 / .489 / .630 at ipc 1 / 10 / 50, by the protocol `dc`.
Measured figures and times: docs/reproduction.md.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, matching, tables

# Steps, rates and batches are those of the paper's released code. The rows of digits and MNIST are
# shortened and narrowed by us, for two cores; for digits the network has two blocks, since a third
# would normalise over 2x2 pixels.
_RECIPES = {
  (None, None): dict(num_steps=20000, learning_rate=1.0, real_batch_size=256, width=128),
  ("digits", None): dict(num_steps=500, width=32, network="convnet(depth=2)"),
  ("fake", None): dict(num_steps=20, real_batch_size=16, width=4),
  ("mnist", None): dict(num_steps=500, width=32),
  ("mnist", 1): dict(),
  ("mnist", 10): dict(num_steps=600, width=16),
  ("mnist", 50): dict(),
}
_RATE_FROM_IPC_100 = 10.0


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,ipc=10`."""
  args = arguments.parse_argument(arg, matching.ARGUMENTS, flags=("smoke",))
  recipe = tables.settings_for(_RECIPES, args["dataset"], args["ipc"])
  if args["ipc"] >= 100:
    recipe["learning_rate"] = _RATE_FROM_IPC_100
  outer = dict(num_networks=1)  # fresh ones a step; their losses are averaged
  return matching.make_config("dm", args, recipe, outer=outer)
