"""Expert trajectories for MTT: networks trained on the real set, every epoch kept.

  python -m ddjax.main --config=configs/experts.py                     digits, what MTT's row needs
  python -m ddjax.main --config=configs/experts.py:cifar10,experts=100,epochs=50   as published
  python -m ddjax.main --config=configs/experts.py:cifar10,width=32,experts=2,epochs=3

Words behind the colon: data set, `experts=N`, `epochs=N` (0: as many as the row of `configs/mtt.py`
for `ipc=N` needs), `width=N`, `seed=N` (of the experts), `smoke` (a cut train set). A buffer that
exists is extended, by epochs and by experts; `configs/mtt.py` finds it where data, network and
training agree. 100 experts of 50 epochs of CIFAR-10 at width 128 take 6.5 GB of disk.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config import arguments, matching, tables
from ddjax.config.read import load_file

_ARGUMENTS = matching.ARGUMENTS | dict(experts=0, epochs=0)


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `cifar10,experts=10,epochs=3`."""
  args = arguments.parse_argument(arg, _ARGUMENTS, flags=("smoke",))
  recipes = load_file(pathlib.Path(__file__).parent / "mtt.py").RECIPES
  recipe = tables.settings_for(recipes, args["dataset"], args["ipc"])
  return matching.make_experts_config(args, recipe)
