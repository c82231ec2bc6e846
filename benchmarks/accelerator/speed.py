"""How fast the steps are: the other benchmarks in turn, beside PyTorch and their floor."""

import json
import time
from typing import Any, NamedTuple

from benchmarks.accelerator.processes import Running
from benchmarks.accelerator.results import Results


class Case(NamedTuple):
  """A benchmark: its module, its arguments, and the rounds on an accelerator."""

  module: str
  arguments: tuple[str, ...] = ()
  rounds: int = 5


CASES = {
  "step dm ipc1": Case("matching_step", ("--case=dm",)),
  "step dsa ipc1": Case("matching_step", ("--case=dsa",)),
  "step dc ipc1": Case("matching_step", ("--case=dc",)),
  "step mtt ipc1": Case("mtt_step", ("--case=ipc1",), 3),
  "evaluate ipc10": Case("evaluate", ("--case=ipc10",), 3),
  "evaluate ipc10, ordered": Case("evaluate", ("--case=ipc10", "--convolution=ordered"), 3),
  "step kip": Case("kip_step"),
  "convolution vmap 5, batch 100": Case("convolution", ("--case=vmap 5", "--batch=100"), 3),
  "convolution vmap 5, batch 10": Case("convolution", ("--case=vmap 5", "--batch=10"), 3),
  "step dm ipc10": Case("matching_step", ("--case=dm", "--ipc=10")),
  "step mtt ipc10": Case("mtt_step", ("--case=ipc10",), 3),
  "step dm ipc1, bfloat16": Case("matching_step", ("--case=dm", "--precision=bfloat16"), 3),
  "step dsa ipc1, bfloat16": Case("matching_step", ("--case=dsa", "--precision=bfloat16"), 3),
  "step idc ipc1": Case("other_steps", ("--case=idc",), 3),
  "step label_solve ipc10": Case("other_steps", ("--case=label_solve",), 3),
  "step coreset, training": Case("other_steps", ("--case=coreset, training",), 3),
  "step coreset, choice": Case("other_steps", ("--case=coreset, choice",), 3),
  "evaluate ipc1": Case("evaluate", ("--case=ipc1",)),
  "experts together": Case("experts_together", ("--dataset=cifar10", "--width=128"), 2),
  "kernels fc": Case("kernels", ("--case=fc1 32x32x3",), 3),
  "kernels pooled": Case("kernels", ("--case=myrtle5 32x32x3",), 3),
}
"""By worth: what comes last is what a short session leaves out."""
_HIGHEST = ("step kip", "step label_solve ipc10", "kernels fc", "kernels pooled")
"""What computes in float32 at highest precision."""
_LEAST_SECONDS = 10.0
_MOST_SECONDS = 60.0  # of one case


def run(results: Results, device: str, log: str, deadline: float) -> None:
  """Measures peaks, then every case that is not there yet, until the deadline."""
  if not results.is_done("speed", "peaks"):
    _peaks(results, log, deadline)
  for name, case in CASES.items():
    if results.is_done("speed", name):
      continue
    if deadline - time.monotonic() < _LEAST_SECONDS:
      results.add_reason("speed", name, "no time left")
      continue
    rounds = case.rounds if device != "cpu" else 2
    arguments = [*case.arguments, f"--rounds={rounds}", f"--device={device}"]
    end = min(deadline, time.monotonic() + _MOST_SECONDS)  # so that none takes the others' time
    running = Running(f"benchmarks.{case.module}", arguments, log, end)
    ended = running.wait()
    results.add("speed", name, _row(running.lines, ended) | {"arguments": arguments})


def _peaks(results: Results, log: str, deadline: float) -> None:
  running = Running("benchmarks.accelerator.probe", ["--speed"], log, deadline)
  ended = running.wait()
  row = {"ok": ended.code == 0, "problem": "" if ended.code == 0 else ended.last_line}
  if row["ok"]:
    row["cases"] = json.loads(running.lines[-1])
  results.add("speed", "peaks", row | {"done": row["ok"], "seconds": ended.seconds})


def _row(lines: list[str], ended) -> dict[str, Any]:
  """A benchmark's last line is its JSON; what it says of a missing baseline comes along."""
  remarks = [line for line in lines if "baseline" in line and not line.startswith(("{", "case "))]
  row = {"seconds": ended.seconds, "remarks": remarks}
  try:
    cases = json.loads(lines[-1]) if ended.code == 0 else None
  except (ValueError, IndexError):
    cases = None
  if cases is None:
    problem = "stopped: out of time" if ended.is_late else ended.last_line or "no result"
    return row | {"ok": False, "problem": problem, "done": False}
  return row | {"ok": True, "problem": "", "cases": cases, "done": True}


def floor_seconds(name: str, case: dict[str, Any], peaks: dict[str, float]) -> float | None:
  """The least that the operations and the bytes of a case take at the measured peaks."""
  if not peaks or not case.get("flops"):
    return None
  precision = "highest" if name in _HIGHEST else "bfloat16" if "bfloat16" in name else "default"
  flops = peaks[f"flops_{precision}"]
  return max(case["flops"] / flops, case["bytes"] / peaks["bytes"])
