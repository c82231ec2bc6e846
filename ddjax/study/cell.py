"""A cell of a study: one run, and its name."""

import re
from typing import Any, Mapping, NamedTuple

from ml_collections import ConfigDict

from ddjax.config.study import CORESETS

AXES = ("method", "dataset", "ipc", "init", "num_classes", "variant", "seed")
FULL_SET = "full set"
_OF_NO_METHOD = ("full", "experts", *CORESETS)
"""Cells that come once for every kind of preprocessing, which their names then hold."""


class Cell(NamedTuple):
  """One run of a study.

  Attributes:
    name: of its folder under `cells/`, such as "dm-digits-ipc1-noise-seed0".
    role: what the study's tables do with it: method, baseline, curve (random subsets of further
      sizes), full, steps (networks trained on the full set for so many steps), transfer (all sets
      under one kernel), experts, data.
    task: of `ddjax.tasks.registry.RUNS`.
    factors: {axis: value}, of `AXES`, "preprocessing" and further dotted fields; None where one
      does not apply.
    config: of the run.
    needs: names of cells that must be done before.
    sets: names of cells whose sets it evaluates, those that are done by then.
  """

  name: str
  role: str
  task: str
  factors: Mapping[str, Any]
  config: ConfigDict
  needs: tuple[str, ...] = ()
  sets: tuple[str, ...] = ()

  @property
  def estimated_config(self) -> ConfigDict:
    """The config whose cost is that of the cell: what it needs is there by then."""
    config = self.config.copy_and_resolve_references().unlock()
    if self.needs and "accuracy_evaluation" in config:
      config.accuracy_evaluation.full_set = "cached"
    return config

  @property
  def cost_key(self) -> str:
    """Equal for cells that cost the same: those that differ in the seed alone."""
    evaluators = tuple(self.config.get("evaluators", ()))
    return repr([self.task, {**self.factors, "seed": None}, evaluators])


def name_of(factors: Mapping[str, Any]) -> str:
  """Of a cell's folder: the factors that apply, the seed last."""
  parts = [str(factors["method"]), str(factors["dataset"])]
  parts += [] if factors["ipc"] is None else [f"ipc{factors['ipc']}"]
  parts += [] if factors["init"] is None else [str(factors["init"])]
  parts += [] if factors["num_classes"] is None else [f"{factors['num_classes']}classes"]
  parts += [] if factors["variant"] is None else [str(factors["variant"])]
  is_own = factors["method"] in _OF_NO_METHOD or str(factors["method"]).startswith("steps")
  parts += [factors["preprocessing"]] if factors["preprocessing"] and is_own else []
  parts += [
    f"{name}={value}"
    for name, value in factors.items()
    if name not in (*AXES, "preprocessing") and value is not None
  ]
  parts += [] if factors["seed"] is None else [f"seed{factors['seed']}"]
  return re.sub(r"[^\w.=+-]+", "_", "-".join(parts))
