"""Memory of a step: all classes at once against one class after another, at ipc 50.

  python -m benchmarks.matching_memory [--case=dm|dsa|idc] [--ipc=N] [--run] [--device=cpu|gpu|tpu]

Published sizes: ConvNet-3 of width 128, ten classes of 32x32x3 images. What is compared is the
compiler's own figure for the temporary memory of the compiled step; with --run, also the peak of a
process that makes one step, less what it held before (DM only: the others need tens of GB at once).
"""

import json
import multiprocessing
import pathlib
import sys

from absl import app, flags
import jax
import jax.numpy as jnp

from benchmarks import harness
from configs import dm, dsa, idc
from ddjax.registry import DISTILLERS

_CASE = flags.DEFINE_enum("case", None, ["dm", "dsa", "idc"], "Which; all by default.")
_IPC = flags.DEFINE_integer("ipc", 50, "Images per class.", lower_bound=1)
_RUN = flags.DEFINE_bool("run", False, "Whether DM also makes a step, in processes of its own.")

CONFIGS = {"dm": dm, "dsa": dsa, "idc": idc}
NUM_CLASSES, NUM_TRAIN = 10, 3000


def _compile(case: str, ipc: int, classes_at_once: int):
  """(compiled step, its arguments)."""
  config = CONFIGS[case].get_config(f"cifar10,ipc={ipc}")
  config.classes_at_once = classes_at_once
  if case == "dsa":
    config.outer.outer_loop = 1  # what trains the network between two updates is the same in both
  info, data = harness.random_split(NUM_TRAIN, (32, 32, 3), NUM_CLASSES)
  distiller = DISTILLERS[case](config, info)
  state = jax.jit(distiller.init)(jax.random.key(0), data)
  args = state, data, jnp.int32(0)
  return jax.jit(distiller.step).lower(*args).compile(), args


def _temporary_bytes(case: str, ipc: int, classes_at_once: int) -> int:
  return _compile(case, ipc, classes_at_once)[0].memory_analysis().temp_size_in_bytes


def _peak_of_step(pipe, case: str, ipc: int, classes_at_once: int) -> None:
  """Sends by how many bytes a step raises the peak of this process."""
  jax.config.update("jax_platforms", "cpu")
  compiled, args = _compile(case, ipc, classes_at_once)
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, here
  before = _memory("VmRSS")
  jax.block_until_ready(compiled(*args))
  pipe.send(_memory("VmHWM") - before)


def _memory(field: str) -> int:
  """Bytes of this process, by a field of Linux's status file."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _measured(case: str, ipc: int, classes_at_once: int) -> int:
  context = multiprocessing.get_context("spawn")
  pipe, other_end = context.Pipe()
  process = context.Process(target=_peak_of_step, args=(other_end, case, ipc, classes_at_once))
  process.start()
  result = pipe.recv()
  process.join()
  return result


def main(_) -> None:
  """Prints a table in MiB; the last line is JSON."""
  if harness.use_device() != "cpu" and _RUN.value:
    sys.exit("Error: --run reads the memory of a process, so it goes with --device=cpu only.")
  rows = {}
  print(f"{'MiB':24}{'all at once':>14}{'one by one':>14}{'share':>8}")
  for case in CONFIGS:
    if _CASE.value not in (None, case):
      continue
    measures = {case: _temporary_bytes}
    if _RUN.value and case == "dm":
      measures[f"{case}, one step made"] = _measured
    for name, measure in measures.items():
      together, apart = (measure(case, _IPC.value, n) for n in (NUM_CLASSES, 1))
      rows[name] = {"together": together, "apart": apart, "share": apart / together}
      print(f"{name:24}{together / 2**20:>14.0f}{apart / 2**20:>14.0f}{apart / together:>8.3f}")
  print(json.dumps(rows))


if __name__ == "__main__":
  app.run(main)
