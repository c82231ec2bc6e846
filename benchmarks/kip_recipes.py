"""KIP recipes held against each other on a validation split of the train set.

  python -m benchmarks.kip_recipes --dataset=cifar10 --ipc=10 --workdir=runs/recipes

Every recipe distils with a tenth of the train set held out, is scored on that tenth, and never on
the test set. Prints a table, the best last, and one line of JSON; `configs/kip.py` holds what won.
Started again on the same folder it goes on where it was.
"""

import json
import pathlib
import time

from absl import app, flags, logging

from benchmarks import harness
from ddjax.api import get_config
from ddjax.stages.curve import VALIDATION_CURVE
from ddjax.tasks import distill
from ddjax.training.metrics import read_metrics, series

_DATASET = flags.DEFINE_string("dataset", "cifar10", "Data set.")
_IPC = flags.DEFINE_integer("ipc", 10, "Images per class.")
_STEPS = flags.DEFINE_integer("num_steps", 3000, "Steps of every recipe.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/recipes", "Where the runs lie.")
_ONLY = flags.DEFINE_list("only", [], "Names of the recipes to run; all by default.")


def _recipe(depth: int, learning_rate: float = 0.04, **changes) -> dict:
  """Flat fields of one recipe."""
  base = {
    "kernel.depth": depth,
    "outer.learning_rate": learning_rate,
    "outer.label_learning_rate": learning_rate,
    "augment.fraction": 0.0,
    "outer.schedule": "cosine",
  }
  return base | {name.replace("__", "."): value for name, value in changes.items()}


_SHIFT = dict(augment__fraction=0.5, augment__max_shift=2)
_FLIP_SHIFT = dict(augment__fraction=0.5, augment__flip=True, augment__max_shift=3)
_SMALL_BIAS = dict(kernel__bias_std=0.01, kernel__readout_bias_std=0.01)
_WHITENED = dict(data__preprocessing="zca_frepo", data__zca_regularisation=10.0)
RECIPES = {
  "digits on white": {  # MNIST and its like: no flips
    "fc1 lr.01": _recipe(1, 0.01),
    "fc1 shift lr.01": _recipe(1, 0.01, **_SHIFT),
    "fc2 shift lr.01": _recipe(2, 0.01, **_SHIFT),
    "fc2 shift": _recipe(2, **_SHIFT),
    "fc3 shift": _recipe(3, **_SHIFT),
  },
  "photographs": {
    "fc1": _recipe(1),
    "fc1 flip shift": _recipe(1, **_FLIP_SHIFT),
    "fc2 flip shift": _recipe(2, **_FLIP_SHIFT),
    "fc3 flip shift": _recipe(3, **_FLIP_SHIFT),
    "fc2 flip shift all": _recipe(2, **_FLIP_SHIFT | dict(augment__fraction=1.0)),
    "fc2 flip shift constant": _recipe(2, **_FLIP_SHIFT, outer__schedule="constant"),
    "fc2 flip shift lr.12": _recipe(2, 0.12, **_FLIP_SHIFT),
    "fc2 flip shift b.01": _recipe(2, **_FLIP_SHIFT, **_SMALL_BIAS),
    "fc2 flip shift zca": _recipe(2, **_FLIP_SHIFT, **_WHITENED),
  },
}


def _score(name: str, changes: dict) -> dict:
  """Validation accuracy and seconds of one recipe."""
  config = get_config(f"configs/kip.py:{_DATASET.value},ipc={_IPC.value}")
  num_steps = {"outer.num_steps": _STEPS.value, "data.validation_fraction": 0.1}
  config.update_from_flattened_dict(changes | num_steps)
  config.evaluators = ()
  config.num_replicas = 1
  folder = f"{_DATASET.value}-ipc{_IPC.value}-{_STEPS.value}-{name.replace(' ', '_')}"
  started = time.monotonic()
  result = distill.run(config, pathlib.Path(_WORKDIR.value) / folder)
  _, accuracies = series(read_metrics(result.workdir / "metrics.jsonl"), VALIDATION_CURVE)
  seconds = time.monotonic() - started
  return {"validation_accuracy": float(accuracies[-1]), "seconds": round(seconds)}


def main(_) -> None:
  """Runs the recipes of the data set's kind."""
  harness.use_device()
  logging.set_verbosity(logging.WARNING)
  kind = "digits on white" if "mnist" in _DATASET.value else "photographs"
  recipes = {n: c for n, c in RECIPES[kind].items() if not _ONLY.value or n in _ONLY.value}
  scores = {}
  for name, changes in recipes.items():
    scores[name] = _score(name, changes)
    print(f"{name:28}{scores[name]['validation_accuracy']:.4f}{scores[name]['seconds']:>8} s")
  scores = dict(sorted(scores.items(), key=lambda item: item[1]["validation_accuracy"]))
  case = f"{_DATASET.value} ipc {_IPC.value} steps {_STEPS.value}"
  print(json.dumps({case: scores}))


if __name__ == "__main__":
  app.run(main)
