"""Tables of the runs on an H200, from `docs/results/h200-*.json` and `rows.toml`."""

import functools
import json
import pathlib
import tomllib
from typing import Any

from docs.tools import tables

FOLDER = pathlib.Path(__file__).parents[1] / "results"
_DAYS = ("2026-11-26", "2026-11-27")
_NAMES = {"cifar10": "CIFAR-10", "digits": "digits", "mnist": "MNIST"}
_FIRST_DAY = {"dm-cifar10-ipc10": "dm10", "mtt-cifar10-ipc1": "mtt1"}
"""Rows of `rows.toml` whose figures stand in the file of the first day, by their name there."""
_REMARKS = {"mtt-cifar10-ipc1": ", 10 of 100 experts"}
"""What a run of the first day had less of than the row, for its first column."""
_STAGES = ("data", "experts", "running curve", "distill", "evaluate kernel", "evaluate accuracy")


@functools.cache
def day(date: str) -> dict[str, Any]:
  """The file of a day."""
  return json.loads((FOLDER / f"h200-{date}.json").read_text())


@functools.cache
def rows() -> tuple[dict[str, Any], ...]:
  """The rows of published tables that are to be run, of `rows.toml`."""
  return tuple(tomllib.loads((FOLDER / "rows.toml").read_text())["row"])


def value(run: dict[str, Any], evaluator: str, key: str) -> dict[str, float] | None:
  """A figure of a run with its interval; None where the run has none."""
  scalars = run["scalars"].get(evaluator, {})
  if key not in scalars:
    return None
  low, high = (run.get("intervals") or run["interval"])[evaluator][key]
  return {"value": scalars[key], "low": low, "high": high}


def run_of(name: str) -> tuple[dict[str, Any], str] | None:
  """The run of a row and its day; None where it was not run."""
  if name in day(_DAYS[1])["reproduce"]:
    return day(_DAYS[1])["reproduce"][name], _DAYS[1]
  if name in _FIRST_DAY:
    return day(_DAYS[0])["runs"][_FIRST_DAY[name]], _DAYS[0]
  return None


def published() -> tables.Table:
  """Every row of `rows.toml`, with what came out or that it was not run."""
  made = []
  for row in rows():
    found = run_of(row["name"])
    evaluator, key = row["figure"]
    start = [row["method"] + _REMARKS.get(row["name"], ""), _NAMES[row["data"]], row["ipc"]]
    steps = row.get("steps")
    if found is None:
      made.append([*start, "not run", None, row.get("published"), steps, None, None, None])
      continue
    run, date = found
    seconds = run.get("stage_seconds") or run["seconds"]
    whole = run["seconds"] if "stage_seconds" in run else sum(seconds.values())
    made.append([
      *start,
      value(run, evaluator, key),
      value(run, evaluator, f"gain_over_random_{key}"),
      row.get("published"),
      f"{run.get('num_steps', steps)} of {steps}",
      f"{seconds['distill']:.0f} s",
      f"{whole:.0f} s",
      date,
    ])  # fmt: skip
  columns = {
    "method": "text", "data": "text", "ipc": "count", "test accuracy": "number",
    "gain over random": "signed", "published": "number", "steps": "text",
    "distillation": "text", "whole run": "text", "date": "text",
  }  # fmt: skip
  return tables.make(columns, made)


def kernel() -> tables.Table:
  """Kernel regression on the sets of the first day."""
  labels = {"dsa1": "DSA, ipc 1", "dm10": "DM, ipc 10", "mtt1": "MTT, ipc 1"}
  keys = ("test_accuracy", "random_subset_accuracy", "gain_over_random_test_accuracy",
          "gain_over_initial_test_accuracy")  # fmt: skip
  made = [
    [label, run["num_steps"], *(value(run, "kernel", key) for key in keys)]
    for name, label in labels.items()
    for run in [day(_DAYS[0])["runs"][name]]
  ]
  columns = {"set": "text", "steps": "count", "kernel accuracy": "number", "random": "number",
             "gain over random": "signed", "gain over step 0": "signed"}  # fmt: skip
  return tables.make(columns, made)


def stages() -> tables.Table:
  """Seconds of the stages of each run."""
  made = []
  for date, runs in ((_DAYS[0], day(_DAYS[0])["runs"]), (_DAYS[1], day(_DAYS[1])["reproduce"])):
    for name, run in runs.items():
      seconds = run.get("stage_seconds") or run["seconds"]
      compiled = run.get("compilation")
      spent = "not recorded"
      if compiled:
        spent = f"{compiled['seconds']:.1f}, {compiled['tracing_seconds']:.1f}"
      made.append([name, date, *(seconds.get(stage) for stage in _STAGES), spent])
  columns = {"run": "text", "date": "text"} | dict.fromkeys(
    ("data", "experts", "running curve", "distillation", "kernel", "accuracy"), "seconds"
  )
  return tables.make(columns | {"of these in the compiler, tracing": "text"}, made)


def _ratio(case: dict[str, float]) -> str:
  """A ratio of times with its quartiles, two digits each."""
  middle, low, high = (tables.figure(case[name], 2) for name in ("ratio", "low", "high"))
  return f"{middle} [{low}, {high}]"


def steps() -> tables.Table:
  """A step beside plain PyTorch on the same GPU."""
  made = []
  for name, case in day(_DAYS[0])["speed"].items():
    if not name.startswith("kip_step"):
      label = name.replace("_", " ")
      made.append([label, case["ours"], case["theirs"], _ratio(case), _DAYS[0]])
  for name, row in day(_DAYS[1])["speed"].items():
    for case in row["cases"].values():
      if isinstance(case, dict):
        made.append([name, case["ours"], case["theirs"], _ratio(case), _DAYS[1]])
  columns = {"case": "text", "ours": "milliseconds", "PyTorch": "milliseconds", "ratio": "text"}
  return tables.make(columns | {"date": "text"}, made)


def kip_steps() -> tables.Table:
  """Ten steps of KIP beside their twenty matrix products."""
  made = [
    [name.removeprefix("kip_step "), case["ours"], case["theirs"], _ratio(case)]
    for name, case in day(_DAYS[0])["speed"].items()
    if name.startswith("kip_step")
  ]
  columns = {"kernel": "text", "ours": "milliseconds", "products": "milliseconds"}
  return tables.make(columns | {"ratio": "text"}, made)


def peaks() -> tables.Table:
  """What the GPU reaches."""
  cases = day(_DAYS[1])["speed"]["peaks"]["cases"]
  labels = {
    "flops_default": "products as JAX multiplies by default, TFLOP/s",
    "flops_highest": "products in float32 at highest precision, TFLOP/s",
    "flops_bfloat16": "products in bfloat16, TFLOP/s",
    "bytes": "copies, GB/s",
  }
  made = [
    [label, f"{cases[name] / (1e9 if name == 'bytes' else 1e12):.0f}"]
    for name, label in labels.items()
  ]
  return tables.make({"what": "text", "measured": "text"}, made)


def kernels() -> tables.Table:
  """Microseconds a pair of images, value and value with gradient, by engine."""

  def pair(times):
    return ", ".join("not run" if time is None else f"{time:g}" for time in times)

  made = [
    [name, pair(times[0]), pair(times[1])]
    for name, times in day(_DAYS[0])["kernels_microseconds_per_pair"].items()
    if name != "note"
  ]
  return tables.make({"kernel": "text", "closed form": "text", "neural-tangents": "text"}, made)


def check() -> tables.Table:
  """Seconds of the rows of the check."""
  made = [
    [name, row["seconds"], row["compile_seconds"]] for name, row in day(_DAYS[1])["check"].items()
  ]
  columns = {"row": "text", "seconds": "seconds", "of these compiling": "seconds"}
  return tables.make(columns, made)


TABLES = {
  "published": published,
  "kernel": kernel,
  "stages": stages,
  "steps": steps,
  "kip_steps": kip_steps,
  "peaks": peaks,
  "kernels": kernels,
  "check": check,
}
