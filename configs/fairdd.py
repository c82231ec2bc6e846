"""FairDD: sets that serve groups alike, each of which is matched by itself (Zhou et al. 2025).

  python -m ddjax.main --config=configs/fairdd.py                    coloured digits, ipc 1, by DM
  python -m ddjax.main --config=configs/fairdd.py:mnist,ipc=10       coloured MNIST, bias .9
  python -m ddjax.main --config=configs/fairdd.py:mnist,ipc=1,base=dc,bias=0.5
  python -m ddjax.main --config=configs/fairdd.py:npz,ipc=10 --config.data.path=FILE.npz
    a file whose array `groups` says of which group each image is (docs/audit/fairness.md)

Words behind the colon: data set, `base=METHOD` (dm, dc, dsa or idc, whose other words follow: see
its config), `bias=P` (share of grey images that are in the colour of their class; a colour is a
group; 0 for images that stay grey). Without `bias=` MNIST and Fashion-MNIST take .9, digits .5.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config import arguments
from ddjax.config.read import load_file
from ddjax.distillers.fairdd import BASES
from ddjax.wording import look_up

# Ours. Of digits, with 135 train images a class, a larger share would leave some class without
# images in some colour.
_BIASES = {"mnist": 0.9, "fashion_mnist": 0.9, "digits": 0.5, "fake": 0.5}


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `mnist,ipc=10,base=dm,bias=0.9`."""
  own, rest = arguments.split_words(arg, ("base", "bias"))
  args = arguments.parse_argument(own, dict(dataset="", base="dm", bias=-1.0))
  look_up(BASES, args["base"], "base method")
  config = load_file(pathlib.Path(__file__).parent / f"{args['base']}.py").get_config(rest)
  bias = _BIASES.get(config.data.name, 0.0) if args["bias"] == -1 else args["bias"]
  if bias:
    config.data.colour_bias = bias
    config.data.preprocessing = "standardise"  # published constants are of grey images
  config.method = "fairdd"
  words = [args["base"], f"bias{bias:g}" if bias else "", config.variant]
  config.variant = "-".join(filter(None, words))
  config.fair = fair(args["base"])
  config.evaluators = ("accuracy", "fairness")
  config.curve.models = "none"  # it would cost as much as the distillation
  return config


def fair(base: str) -> ConfigDict:
  """What FairDD adds to the config of its base."""
  return ConfigDict(
    dict(
      base=base,  # dm, dc, dsa or idc
      divides_rate=True,  # whether learning rates are those of the base over the number of groups
      allow_missing=False,  # whether some class may have no train example of some group
    )
  )
