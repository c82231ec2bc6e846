"""Reads what PyTorch computed; `make_reference.py` says how."""

from pathlib import Path

import numpy as np


def load(name: str) -> dict:
  """The arrays of `name`.npz; "a/b" becomes ["a"]["b"]."""
  tree: dict = {}
  with np.load(Path(__file__).parent / f"{name}.npz", allow_pickle=False) as file:
    for path in file.files:
      *parents, leaf = path.split("/")
      node = tree
      for parent in parents:
        node = node.setdefault(parent, {})
      node[leaf] = file[path]
  return tree
