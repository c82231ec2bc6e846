"""Robust DM: sets that match the features of attacked images; our form of DM (Zhao, Bilen 2023).

  python -m ddjax.main --config=configs/robust_dm.py                       digits, ipc 1
  python -m ddjax.main --config=configs/robust_dm.py:mnist,ipc=10          any data set and ipc
  python -m ddjax.main --config=configs/robust_dm.py:mnist,ipc=1,epsilon=0.1,attack_steps=5

Words behind the colon: those of `configs/dm.py`, `epsilon=E` (radius of the adversary's l_inf ball,
in pixels from 0 to 1; 8/255 without), and `attack_steps=K` (its steps of signed gradient).
A step passes each real image 3 K times more through the network than one of DM.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config.read import load_file
from ddjax.config.robust import make_robust


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `mnist,ipc=10,epsilon=0.1`."""
  base = load_file(pathlib.Path(__file__).parent / "dm.py")
  return make_robust("robust_dm", base.get_config, arg)
