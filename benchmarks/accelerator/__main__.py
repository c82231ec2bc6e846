"""What to run on a borrowed accelerator; `bash launch/accelerator.sh` starts it.

  python -m benchmarks.accelerator [--minutes=9] [--out=DIR] [--only=check,speed,reproduce]
      [--accelerator=auto|cpu|cuda|tpu] [--at_once=N] [--runs=DIR]

`check`: every method two steps, every evaluator once, held against a CPU's numbers. `speed`: steps,
evaluation, kernels and convolutions, beside PyTorch and their floor. `reproduce`: rows of
docs/results/rows.toml that fit into what is left. The same command again does nothing twice. In DIR
lie `results.json`, `table.md` and `log.txt`, each of a few hundred kB at most; run folders lie
beside it, in DIR-runs.
"""

import json
from pathlib import Path
import sys
import time
from typing import Any, Callable

from absl import app, flags

from benchmarks.accelerator import dealing, processes, reproduce, speed, table
from benchmarks.accelerator.processes import Running
from benchmarks.accelerator.results import PARTS, Results, ResultsError, commit
from ddjax.files.atomic import OutputError

_MINUTES = flags.DEFINE_float("minutes", 9.0, "For everything.")
_OUT = flags.DEFINE_string("out", "accelerator-results", "Folder of the results.")
_RUNS = flags.DEFINE_string("runs", None, "Folder of run folders; by default beside --out.")
_ONLY = flags.DEFINE_list("only", list(PARTS), "Which parts.")
_WANTED = flags.DEFINE_enum(
  "accelerator", "auto", ["auto", "cpu", "cuda", "tpu"], "Refuse any other backend."
)
_AT_ONCE = flags.DEFINE_integer(
  "at_once", 0, "Runs side by side; 0: two on GPUs, else one.", lower_bound=0
)

_MOST_SECONDS = {"check": 150.0, "speed": 240.0}
_MOST_SHARE = {"check": 0.4, "speed": 0.6}  # of what is left
_SPARE_SECONDS = 8.0  # to write the table
_MOST_GRACE_SHARE = 0.2  # of the whole, where that is short
_MOST_LOG_BYTES = 4 << 20
_DEVICES = {"cpu": "cpu", "gpu": "gpu", "cuda": "gpu", "tpu": "tpu"}


def main(argv: list[str]) -> None:
  """Runs the parts; a problem with what was asked for is one sentence and exit code 1."""
  if len(argv) > 1:
    raise app.UsageError(f"Unexpected argument {argv[1]!r}.")
  try:
    with processes.stop_requests():
      failed = _run()
  except (ResultsError, OutputError) as error:
    sys.exit(f"Error: {error}")
  except KeyboardInterrupt:
    sys.exit("Interrupted; the same command goes on.")
  except processes.StoppedError as error:
    print(f"The session was {error}; the same command goes on.", file=sys.stderr)
    sys.exit(128 + error.number)
  if failed:
    sys.exit(f"Error: {'; '.join(failed)}")


def _run() -> list[str]:
  """Runs the parts; why some of them ended early, if any did."""
  started = time.monotonic()
  if not _MINUTES.value > 0:
    raise ResultsError(f"--minutes={_MINUTES.value:g} must be positive.")
  if not _ONLY.value:
    raise ResultsError(f"--only names nothing; it takes {', '.join(PARTS)}.")
  if unknown := [name for name in _ONLY.value if name not in PARTS]:
    raise ResultsError(f"--only={unknown[0]} is none of {', '.join(PARTS)}.")
  out = Path(_OUT.value)
  runs = Path(_RUNS.value or f"{out}-runs")
  rows = reproduce.read_rows()
  results = Results(out)
  total = 60 * _MINUTES.value
  processes.GRACE_SECONDS = min(processes.GRACE_SECONDS, _MOST_GRACE_SHARE * total)
  end = started + total - processes.GRACE_SECONDS - _SPARE_SECONDS
  log = str(out / "log.txt")
  _cut(Path(log))
  facts = _probe(log, end)
  device = _check_device(facts, _WANTED.value)
  name, problem = commit()
  if problem:
    print(f"The commit is not known: {problem}", flush=True)
  results.set_facts(facts | {"commit": name, "commit_problem": problem, "minutes": _MINUTES.value})
  print(f"On {facts['device']} ({facts['backend']}); missing: {facts['missing'] or 'nothing'}.")
  parts = {
    "check": lambda deadline: dealing.run(results, log, deadline, facts["backend"] == "tpu"),
    "speed": lambda deadline: speed.run(results, device, log, deadline),
    "reproduce": lambda deadline: reproduce.run(
      results, rows, runs, device, log, deadline, _AT_ONCE.value or (2 if device == "gpu" else 1)
    ),
  }
  try:
    failed = _run_parts(parts, end, results, out)
  finally:
    table.write(results, out)
    _cut(Path(log))
  print((out / table.NAME).read_text())
  return failed


def _run_parts(
  parts: dict[str, Callable[[float], None]], end: float, results: Results, out: Path
) -> list[str]:
  """Each with its share of the time; one that cannot go on does not stop the next."""
  failed = []
  wanted = [name for name in PARTS if name in _ONLY.value]
  for name in wanted:
    begun = time.monotonic()
    limit = left = end - begun  # the last part has all that is left
    if name != wanted[-1]:
      limit = min(left * _MOST_SHARE[name], _MOST_SECONDS[name])
    try:
      parts[name](begun + limit)
    except ResultsError as error:
      failed.append(f"{name}: {error}")
      print(f"{name} ends early: {error}", flush=True)
    print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    table.write(results, out)
  return failed


def _probe(log: str, deadline: float) -> dict[str, Any]:
  running = Running("benchmarks.accelerator.probe", [], log, deadline)
  ended = running.wait()
  if ended.code or not running.lines:
    raise ResultsError(f"JAX does not start here: {ended.last_line or 'out of time'}")
  return json.loads(running.lines[-1])


def _check_device(facts: dict, wanted: str) -> str:
  """The device that benchmarks are told.

  Raises:
    ResultsError: where another accelerator was asked for than JAX computes on.
  """
  found = _DEVICES.get(facts["backend"], "gpu")
  half = facts["gpus"] and found == "cpu"
  if half:
    print(
      f"WARNING: the driver lists {facts['gpus'][0]}, but JAX computes on the CPU: its CUDA build "
      "is not installed or does not fit the driver.",
      flush=True,
    )
  if wanted != "auto" and _DEVICES[wanted] != found:
    why = " though the driver lists a GPU" if half and wanted == "cuda" else ""
    raise ResultsError(f"--accelerator={wanted}, but JAX computes on {facts['backend']!r}{why}.")
  return found


def _cut(path: Path) -> None:
  """Keeps the end of a log."""
  if path.exists() and path.stat().st_size > _MOST_LOG_BYTES:
    path.write_bytes(path.read_bytes()[-_MOST_LOG_BYTES:])


if __name__ == "__main__":
  app.run(main)
