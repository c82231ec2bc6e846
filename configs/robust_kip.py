"""Robust KIP: sets on which kernel regression withstands attacks (Tsilivis et al. 2022).

  python -m ddjax.main --config=configs/robust_kip.py                       digits, ipc 10
  python -m ddjax.main --config=configs/robust_kip.py:mnist,ipc=1           any data set and ipc
  python -m ddjax.main --config=configs/robust_kip.py:mnist,ipc=1,epsilon=0.1,attack_steps=10

Words behind the colon: those of `configs/kip.py`, `epsilon=E` (radius of the adversary's l_inf
ball, in pixels from 0 to 1; 8/255 without), and `attack_steps=K` (its steps of signed gradient).
A step costs about K times one of KIP besides.
"""

import pathlib

from ml_collections import ConfigDict

from ddjax.config.read import load_file
from ddjax.config.robust import make_robust


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, such as `mnist,ipc=1,epsilon=0.1`."""
  base = load_file(pathlib.Path(__file__).parent / "kip.py")
  config = make_robust("robust_kip", base.get_config, arg)
  config.synthetic.learn_labels = True  # as published: images and labels learn
  return config
