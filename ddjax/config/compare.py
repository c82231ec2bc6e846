"""Which fields of a config alter what a distillation computes, and which may change on a resume."""

import hashlib
import json
from typing import Any, Mapping

from ml_collections import ConfigDict

WORKER_FIELDS = (
  "only", "max_minutes", "max_cell_minutes", "max_attempts", "retry_failed", "any_code", "launcher",
  "slurm", "watch", "patience_seconds", "estimate_for",
)  # fmt: skip
"""Of a study: what one worker is asked, and others need not be."""

# Everything else alters the trajectory. A length does only where a schedule depends on it.
_FREE_FIELDS = (
  *WORKER_FIELDS,
  "variant",
  "num_devices",
  "memory_budget_gb",
  "evaluators",
  "evaluate_initial",
  "curve",
  "classes_at_once",  # the same numbers to rounding, as is the next one
  "checkpoint_policy",
  "choose_by",
  "num_random_subsets",
  "coreset_baselines",
  "kernel_evaluation",
  "accuracy_evaluation",
  "privacy",
  "robustness",
  "fairness",
  "features",
  "trainer",
  "synthetic.init_from",  # what it holds is compared through the data's fingerprint
  "experts.path",
  "experts.num_epochs",  # more than a run needs change nothing
  "experts.at_once",
  "experts.epochs_per_chunk",
  "data.path",  # what the data hold is compared by fingerprint
  "data.data_dir",
  "data.download",
)


_SECRET = "guarantee.noise_seed"
"""Of a private set: it is not shown."""


def plain(config: ConfigDict) -> dict[str, Any]:
  """The config as JSON types: nested dicts, lists, numbers, strings and None."""
  return json.loads(config.to_json_best_effort())


def published(config: Mapping[str, Any]) -> dict[str, Any]:
  """A plain config without the seed of a private set's noise, which is a secret."""
  if "guarantee" not in config:
    return dict(config)
  return {**config, "guarantee": {**config["guarantee"], "noise_seed": None}}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Nested dicts as {"outer.num_steps": 300}."""
  flat: dict[str, Any] = {}
  for name, value in config.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = value
  return flat


def trajectory_fields(config: Mapping[str, Any]) -> dict[str, Any]:
  """The flat fields, of a plain config, that alter what a distillation computes."""
  flat = flatten(config)
  free: list[str] = [*_FREE_FIELDS]
  is_constant = flat.get("outer.schedule", "constant") == "constant"
  if is_constant and "guarantee.epsilon" not in flat:  # noise is found for the whole length
    free.append("outer.num_steps")
  if flat.get("task") == "experts":  # a buffer is extended; what it is of, it knows itself
    free += ["experts.num_experts", "outer", "synthetic"]
  return {
    name: value
    for name, value in flat.items()
    if not any(name == field or name.startswith(field + ".") for field in free)
  }


def differing_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Sentences "field: old -> new" for every field that alters the trajectory and differs.

  A field that one of the configs does not know counts as None, which is how new options are off.
  """
  old_fields, new_fields = trajectory_fields(old), trajectory_fields(new)

  def change(name: str) -> str:
    if name == _SECRET:
      return "another one"
    return f"{old_fields.get(name)!r} -> {new_fields.get(name)!r}"

  return [
    f"{name}: {change(name)}"
    for name in sorted(old_fields.keys() | new_fields.keys())
    if old_fields.get(name) != new_fields.get(name)
  ]


def short_hash(fields: Any) -> str:
  """Six hexadecimal digits of the fields' content."""
  return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:6]
