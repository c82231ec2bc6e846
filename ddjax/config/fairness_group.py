"""The group of config fields of the fairness evaluator."""

from ml_collections import ConfigDict


def fairness() -> ConfigDict:
  """How unequally classes are served, and groups where the data have them."""
  return ConfigDict(dict(num_bootstrap=2000))
