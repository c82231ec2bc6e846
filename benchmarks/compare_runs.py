"""Two finished runs held against each other: the difference of their accuracies, with its interval.

  python -m benchmarks.compare_runs RUN_A RUN_B [--num_seeds=N] [--device=cpu|gpu|tpu]

Each run's set trains networks by its own evaluation (protocol, learned rate); both are tested on
the same examples, which the bootstrap draws together. What the interval runs over is examples and
networks; each method is there with one distillation. The last line is JSON.
"""

import json
import pathlib

from absl import app, flags
from ml_collections import ConfigDict
import numpy as np

from benchmarks import harness
from ddjax.data.facts import get_facts
from ddjax.data.load import load_real_data
from ddjax.evaluators.accuracy import correctness
from ddjax.fitting.fit import make_fit
from ddjax.io.distilled import load_distilled
from ddjax.random_streams import stream
from ddjax.stages.prepare import data_fingerprint
from ddjax.statistics import intervals
from ddjax.types import DistilledSet

_NUM_SEEDS = flags.DEFINE_integer("num_seeds", 5, "Networks of each set.", lower_bound=2)
_NUM_BOOTSTRAP = 5000


def _correct(folder: str):
  """(method, hash of the data, bool[m T]) of the networks of a run."""
  config = ConfigDict(json.loads((pathlib.Path(folder) / "config.json").read_text())["config"])
  config.accuracy_evaluation.num_seeds = _NUM_SEEDS.value
  real = load_real_data(config.data)
  use_flip = get_facts(real.info.name).use_flip
  fit = make_fit(config.accuracy_evaluation, real.info, real.preprocessing, use_flip=use_flip)
  saved = load_distilled(folder)
  names = ("label_kind", "learning_rate", "decode_factor")
  info = {name: saved.info[name] for name in names}
  batch = DistilledSet(saved.images[None], saved.labels[None], info)
  models = fit({"distilled": batch}, stream(config.seed, "fit networks"))["distilled"]
  (rows,) = correctness({"distilled": next(iter(models.values()))}, real).values()
  return config.method, data_fingerprint(real), rows


def main(argv: list[str]) -> None:
  """Fits, tests and compares."""
  if len(argv) != 3:
    raise app.UsageError("Two run folders are needed.")
  harness.use_device()
  (a, dataset, of_a), (b, other_dataset, of_b) = (_correct(folder) for folder in argv[1:])
  if dataset != other_dataset:
    raise app.UsageError("The runs are not of the same data.")
  a, b = (a, b) if a != b else (f"{a} (first)", f"{b} (second)")
  correct = {a: of_a, b: of_b}
  group = {name: np.zeros(len(rows), int) for name, rows in correct.items()}
  resampling = intervals.Resampling(_NUM_BOOTSTRAP, seed=0)
  found = intervals.bootstrap_accuracies(correct, group, [(a, b)], resampling)
  rows = {a: found[a], b: found[b], f"{a} - {b}": found[a, b]}
  for name, one in rows.items():
    print(f"{name:24}{one.mean:8.3f}  [{one.low:.3f}, {one.high:.3f}]")
  print(json.dumps({name: [one.mean, one.low, one.high] for name, one in rows.items()}))


if __name__ == "__main__":
  app.run(main)
