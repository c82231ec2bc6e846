"""DP-DM: distilled sets by matching distributions, private for every real example.

  python -m ddjax.main --config=configs/dp_dm.py                       digits, ipc 1, epsilon 10
  python -m ddjax.main --config=configs/dp_dm.py:mnist,ipc=1,epsilon=1 any data set and epsilon
  python -m ddjax.main --config=configs/dp_dm.py:digits,ipc=1,smoke    a few steps, to try things

Words behind the colon: data set, `ipc=N`, `epsilon=E`, `seed=N`, `steps=N` (updates of the images),
`width=N` (of the network that is matched, and of the evaluation's), `smoke` (a few steps, short
evaluation). Delta is 1e-5; `--config.guarantee.delta` changes it. Before you publish a set, give
its noise a secret seed, `--config.guarantee.noise_seed=N`; the card of an exported set says why.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, matching, tables
from ddjax.config.guarantee import make_private

# Momentum and augmentation are DM's, lengths ours. Features of random networks with instance norm
# have nearly the same norm whatever the image, about sqrt(d) / 2 (measured on digits and on noise),
# so a clip norm of 1 keeps their directions. The loss is then smaller by the square of that norm:
# the rates are about as many times DM's.
_RECIPES = {
  (None, None): dict(
    num_steps=500, learning_rate=500.0, real_batch_size=256, width=128, clip_norm=1.0
  ),
  ("digits", None): dict(
    num_steps=100, learning_rate=20.0, real_batch_size=64, width=32, network="convnet(depth=2)"
  ),
  ("fake", None): dict(num_steps=20, learning_rate=1.0, real_batch_size=8, width=4),
  ("mnist", None): dict(learning_rate=125.0, width=32),
}


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `mnist,ipc=1,epsilon=10`."""
  args = arguments.parse_argument(arg, matching.ARGUMENTS | dict(epsilon=10.0), flags=("smoke",))
  recipe = tables.settings_for(_RECIPES, args["dataset"], args["ipc"])
  clip_norm = recipe.pop("clip_norm")
  config = matching.make_config("dp_dm", args, recipe, outer={})
  return make_private(config, epsilon=args["epsilon"], clip_norm=clip_norm)
