"""Learning rates of DC, DSA, DM and IDC held against each other on a validation split.

  python -m benchmarks.matching_recipes --method=dsa --dataset=digits --ipc=1 --rates=0.1,0.01,0.001

Every rate distils with a fifth of the train set held out and is scored on that fifth, never on the
test set, by five networks of the running curve. Prints a table, the best last, and one line of
JSON; `configs/` holds what won. Started again on the same folder it goes on where it was.
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

_METHOD = flags.DEFINE_enum("method", "dsa", ["dc", "dm", "dsa", "idc"], "Method.")
_DATASET = flags.DEFINE_string("dataset", "digits", "Data set.")
_IPC = flags.DEFINE_integer("ipc", 1, "Images per class.")
_STEPS = flags.DEFINE_integer("num_steps", 200, "Steps of every rate.")
_RATES = flags.DEFINE_list("rates", ["0.1", "0.01", "0.001"], "Learning rates of the images.")
_WORDS = flags.DEFINE_string("words", "", "More of the config's argument, such as factor=1.")
_NETWORK = flags.DEFINE_string("network", None, "Of both; default the config's.")
_INIT = flags.DEFINE_string("init", None, "How images begin; default the config's.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/recipes", "Where the runs lie.")


def _score(rate: float) -> dict[str, float]:
  """Validation accuracy at the start and at the end, and seconds, of one rate."""
  words = ",".join(filter(None, [_DATASET.value, f"ipc={_IPC.value}", _WORDS.value]))
  config = get_config(f"configs/{_METHOD.value}.py:{words}")
  config.update_from_flattened_dict(
    {
      "outer.num_steps": _STEPS.value,
      "outer.learning_rate": rate,
      "data.validation_fraction": 0.2,
      "curve.steps": (0, _STEPS.value),
      "curve.num_networks": 5,
      "curve.num_test": 1,  # of the test set nothing is asked
      "evaluators": (),
    }
  )
  if _NETWORK.value:
    config.network.name = _NETWORK.value
    config.accuracy_evaluation.networks = (_NETWORK.value,)
  if _INIT.value:
    config.synthetic.init = _INIT.value
  parts = _METHOD.value, words, config.network.name, config.synthetic.init, _STEPS.value, rate
  folder = "-".join(map(str, parts))
  started = time.monotonic()
  result = distill.run(config, pathlib.Path(_WORKDIR.value) / folder)
  _, accuracies = series(read_metrics(result.workdir / "metrics.jsonl"), VALIDATION_CURVE)
  seconds = round(time.monotonic() - started)
  return {"start": float(accuracies[0]), "end": float(accuracies[-1]), "seconds": seconds}


def main(_) -> None:
  """Runs the rates."""
  harness.use_device()
  logging.set_verbosity(logging.WARNING)
  scores = {}
  for rate in map(float, _RATES.value):
    scores[rate] = one = _score(rate)
    print(f"{rate:<10g}{one['start']:.3f} -> {one['end']:.3f}{one['seconds']:>8} s", flush=True)
  scores = dict(sorted(scores.items(), key=lambda item: item[1]["end"]))
  words = _METHOD.value, _DATASET.value, f"ipc {_IPC.value} steps {_STEPS.value}", _WORDS.value
  print(json.dumps({" ".join(filter(None, (*words, _NETWORK.value, _INIT.value))): scores}))


if __name__ == "__main__":
  app.run(main)
