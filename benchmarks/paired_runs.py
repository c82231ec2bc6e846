"""Two finished runs of several seeds held against each other: figures of their reports, paired.

  python -m benchmarks.paired_runs RUN_A RUN_B --figures=accuracy/mlp,fairness/deo_max

A figure is EVALUATOR/KEY with values by network in the reports. Runs with `num_replicas` seeds are
paired by seed: each seed's value is the mean over its networks, the interval that of Student over
seeds. The last line is JSON.
"""

import json
import pathlib

from absl import app, flags
import numpy as np

from ddjax.statistics import over_seeds

_FIGURES = flags.DEFINE_list("figures", ["fairness/deo_max", "fairness/deo_mean"], "EVALUATOR/KEY.")


def by_seed(report: dict, config: dict, figure: str) -> dict[int, float]:
  """{seed: mean over its networks} of a figure.

  Args:
    report: the content of `report.json`.
    config: of the run, plain.
    figure: EVALUATOR/KEY.
  Raises:
    ValueError: for a figure without values by network, or networks that the seeds do not divide.
  """
  evaluator, _, key = figure.partition("/")
  values = report["reports"].get(evaluator, {}).get("per_model", {}).get(key)
  if values is None:
    raise ValueError(f"{figure} has no values by network in the report of {config['method']}.")
  first, count = config["seed"], config["num_replicas"]
  if len(values) % count:
    raise ValueError(f"{figure} has {len(values)} values, which {count} seeds do not divide.")
  means = np.reshape(values, (count, -1)).mean(axis=1)
  return {first + number: float(mean) for number, mean in enumerate(means)}


def main(argv: list[str]) -> None:
  """Reads both and prints."""
  if len(argv) != 3:
    raise app.UsageError("Two run folders are needed.")
  runs = []
  for folder in map(pathlib.Path, argv[1:]):
    config = json.loads((folder / "config.json").read_text())["config"]
    runs.append((json.loads((folder / "report.json").read_text()), config))
  found = {}
  for figure in _FIGURES.value:
    a, b = (by_seed(report, config, figure) for report, config in runs)
    rows = {
      argv[1]: over_seeds.mean(list(a.values())),
      argv[2]: over_seeds.mean(list(b.values())),
      "first - second": over_seeds.difference(a, b),
    }
    for name, one in rows.items():
      print(f"{figure:32}{name:24}{one.value:8.3f}  [{one.low}, {one.high}]")
    found[figure] = {name: [one.value, one.low, one.high] for name, one in rows.items()}
  print(json.dumps(found))


if __name__ == "__main__":
  app.run(main)
