"""Does everything run here, and does it give the CPU's numbers?

  python -m benchmarks.accelerator.check [--rows=NAME,NAME] [--make_reference]

For each row it prints `begin NAME` and one line of JSON. Every method takes two steps on digits,
from config to report, and every evaluator looks once at a set of DM. Figures are held against
`reference.json`, which a CPU made (`--make_reference`), within `TOLERANCES`. Products are float32
in both, at highest precision: GPUs would take TF32 and TPUs bfloat16 by default, which runs do
outside kernels and solves.
"""

import json
from pathlib import Path
import tempfile
import time
import traceback
from typing import Any, Iterable, Mapping

from absl import app, flags, logging
import jax
import numpy as np

from benchmarks.accelerator.dealing import LATE
import ddjax
from ddjax import compilation, registry
from ddjax.config import audit
from ddjax.registry import EVALUATORS
from ddjax.stages.evaluate import MissingPackageError
from ddjax.tasks import distill
from ddjax.training import trainer

REFERENCE = Path(__file__).with_name("reference.json")
TOLERANCES = {"loss": 0.01, "change": 0.02, "norm": 0.01, "accuracy": 0.1}
"""Of the losses of both steps, of how far the images moved, and of the size of what is published:
relative. Of accuracies, AUCs and other shares: absolute, as training magnifies rounding."""
_NUM_STEPS = 2
_NETWORK = "convnet(depth=1)"  # a second block is compiled and tuned again, and shows nothing new

_ONLY = flags.DEFINE_list("rows", [], "These rows; all by default.")
_LIST = flags.DEFINE_bool("list", False, "Print the names of the rows and stop.")
_MAKE = flags.DEFINE_bool("make_reference", False, "Write the reference instead; on a CPU.")


def _method_config(name: str):
  """Two steps of a method, no evaluation."""
  word = "method=herding,ipc=1" if name == "coreset" else "ipc=1"
  config = ddjax.get_config(f"configs/{name}.py:digits,{word},smoke").unlock()
  config.evaluators = ()
  config.evaluate_initial = False
  config.curve.models = "none"
  if "num_steps" in config.get("outer", {}):
    config.outer.num_steps = _NUM_STEPS
  if "network" in config:
    config.network.update(dict(name=_NETWORK, width=16))
  return config


def _evaluator_config(name: str):
  """A set of two steps of DM, looked at by one evaluator at the least settings."""
  config = _method_config("dm")
  config.evaluators = (name,)
  config.num_random_subsets = 2
  config.accuracy_evaluation.update(
    dict(networks=(_NETWORK,), width=8, num_epochs=60, num_seeds=2, full_set="none")
  )
  for group, fields in audit.groups().items():
    config[group] = fields
  config.robustness.update(dict(num_test=20, num_networks=1))
  config.robustness.pgd.update(dict(num_steps=5, num_restarts=1))
  config.robustness.apgd.update(dict(num_steps=5, num_targets=2))
  config.robustness.square.num_queries = 20
  config.robustness.deepfool.num_steps = 10
  config.robustness.carlini_wagner.update(dict(num_searches=1, num_steps=10))
  config.privacy.update(dict(num_splits=4, num_epochs=20, full_epochs=2, num_bootstrap=20))
  config.privacy.update(dict(max_targets=200, max_examples=1000))
  return config


def rows() -> dict[str, Any]:
  """{name of a row: its config}: grows with the registries."""
  methods = {f"method {name}": (_method_config, name) for name in registry.DISTILLERS}
  return methods | {f"evaluator {name}": (_evaluator_config, name) for name in EVALUATORS}


def _figures(folder: Path, report: dict[str, Any]) -> dict[str, float]:
  """What a run gave: losses by step, how far images moved, sizes of images and labels, shares."""
  distilled = ddjax.load(str(folder))
  figures = {
    "norm images": float(np.linalg.norm(distilled.images)),
    "norm labels": float(np.linalg.norm(distilled.labels)),
  }
  for line in (folder / "metrics.jsonl").read_text().splitlines():
    record = json.loads(line)
    for name, key in (("train/loss", "loss"), ("train/image_change", "change")):
      if name in record and np.isscalar(record[name]):
        figures[f"{key} {record['step']}"] = record[name]
  for one in report["reports"].values():
    for key, value in one["scalars"].items():
      if isinstance(value, float) and 0 <= value <= 1 and "gain" not in key:
        figures[f"accuracy {one['kind']} {key}"] = value
  return figures


def _differences(found: dict[str, float], expected: dict[str, float]) -> list[str]:
  """In words, every figure that is missing or outside its tolerance."""
  wrong = [f"{name} is missing" for name in expected if name not in found]
  for name, value in expected.items():
    if name not in found:
      continue
    tolerance = TOLERANCES[name.split()[0]]
    limit = tolerance * abs(value) if not name.startswith("accuracy") else tolerance
    if not abs(found[name] - value) <= limit + 1e-9:
      wrong.append(f"{name} is {found[name]:.6g}, not {value:.6g} within {limit:.2g}")
  return wrong


def run_row(name: str, expected: dict[str, float] | None) -> dict[str, Any]:
  """Runs a row; its figures, seconds, and what is wrong with it, if anything."""
  make, argument = rows()[name]
  started = time.monotonic()
  try:
    with tempfile.TemporaryDirectory() as folder, compilation.counted() as compiled:
      result = distill.run(make(argument), Path(folder))
      figures = _figures(Path(folder), result.report)
  except trainer.PreemptedError:
    return {"ok": False, "problem": LATE, "done": False}
  except MissingPackageError as error:
    return {"ok": False, "problem": f"left out: {error.package} is not installed", "done": False}
  except Exception as error:  # one that fails does not stop the others
    logging.debug("%s", traceback.format_exc())
    where = traceback.extract_tb(error.__traceback__)[-1]
    problem = f"{type(error).__name__}: {error}".splitlines()[0]
    problem += f" ({Path(where.filename).name}:{where.lineno})"
    return {"ok": False, "problem": problem, "seconds": time.monotonic() - started, "done": False}
  wrong = _differences(figures, expected) if expected is not None else ["there is no reference"]
  return {
    "ok": not wrong,
    "problem": "; ".join(wrong[:3]),
    "figures": figures,
    "seconds": time.monotonic() - started,
    "compile_seconds": compiled.seconds,
    "done": not wrong,
  }


def run_rows(names: Iterable[str], reference: Mapping[str, dict[str, float]]) -> dict[str, Any]:
  """Runs rows one after another and prints each; {name: figures} of those that gave some.

  Once a stop was asked for, no further row begins.
  """
  made = {}
  for name in names:
    print(f"begin {name}", flush=True)
    row = run_row(name, reference.get(name))
    print(json.dumps({"name": name, **row}), flush=True)
    if row["problem"] == LATE:
      break
    if row.get("figures"):
      made[name] = row["figures"]
  return made


def main(_) -> None:
  """Runs the rows.

  Raises:
    UsageError: for a row that there is not.
  """
  if unknown := set(_ONLY.value) - set(rows()):
    raise app.UsageError(f"--rows={min(unknown)} is no row; --list names them.")
  if _LIST.value:
    print(json.dumps(list(rows())))
    return
  logging.set_verbosity(logging.ERROR)
  jax.config.update("jax_default_matmul_precision", "highest")
  compilation.use_cache()
  reference = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {}
  names = _ONLY.value or list(rows())  # in the order asked for
  made = run_rows(names, {name: {} for name in names} if _MAKE.value else reference)
  if _MAKE.value:
    REFERENCE.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
  app.run(main)
