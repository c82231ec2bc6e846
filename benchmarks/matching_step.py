"""A step of DM and of DSA: ours against the plain PyTorch step, at published sizes.

  python -m benchmarks.matching_step [--case=dm|dsa] [--rounds=N] [--device=cpu|gpu]

ConvNet-3 of width 128, ten classes, 256 real 32x32x3 images of each, ipc 1, a fresh network and
siamese draws every step; images are random: time does not depend on content. PyTorch has processes
of its own, on the CPU one as it is installed and one where glibc keeps freed memory; all take
turns. Both sides multiply as they do unless told: on GPUs, JAX may round products to TF32, PyTorch
those of convolutions.
"""

import contextlib
import os

from absl import app, flags
import jax

from benchmarks import harness, torch_matching
from configs import dm, dsa
from ddjax.evaluators.protocols import DSA
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer

_CASE = flags.DEFINE_enum("case", None, ["dm", "dsa"], "Which case; both by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of each case.", lower_bound=2)
_DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Of both sides.")
_IPC = flags.DEFINE_integer("ipc", 1, "Images per class.", lower_bound=1)

CONFIGS = {"dm": dm, "dsa": dsa}
NUM_CLASSES, NUM_TRAIN, REAL_BATCH = 10, 10000, 256
SHAPE = (32, 32, 3)


def _ours(case: str, ipc: int):
  """A call that goes one step further, on one device, as the trainer makes it."""
  config = CONFIGS[case].get_config(f"cifar10,ipc={ipc}")
  info, data = harness.random_split(NUM_TRAIN, SHAPE, NUM_CLASSES)
  layout = parallel.make_layout(1)
  distiller = DISTILLERS[case](config, info, axis_name=layout.axis_name)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  state, data = parallel.place_state(state, layout), parallel.replicate(data, layout)
  per_call = config.trainer.steps_per_call
  program = parallel.make_program(distiller.step, layout, steps_per_call=per_call)
  numbers = parallel.device_numbers(layout)

  def call():
    nonlocal state
    state, metrics = program(state, data, 1, numbers)
    jax.block_until_ready(metrics)

  return call


def _theirs(case: str, ipc: int, device: str, keeps_freed_memory: bool):
  """The same call of the PyTorch step, for a process of its own."""
  torch = torch_matching.torch
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.set_default_device("cuda" if device == "gpu" else "cpu")
  if keeps_freed_memory:
    torch_matching.torch_training.keep_freed_memory()
  real = torch.randn(NUM_CLASSES, NUM_TRAIN // NUM_CLASSES, SHAPE[2], *SHAPE[:2])
  synthetic = torch.randn(NUM_CLASSES, ipc, SHAPE[2], *SHAPE[:2], requires_grad=True)
  optimizer = torch.optim.SGD([synthetic], lr=1.0 if case == "dm" else 0.1, momentum=0.5)

  def call():
    network = torch_matching.TorchConvNet(NUM_CLASSES, 128)
    batches = [rows[torch.randperm(len(rows))[:REAL_BATCH]] for rows in real]
    draws = [torch_matching.random_draw(DSA) for _ in range(NUM_CLASSES)]
    if case == "dm":
      network.requires_grad_(False)
      loss = torch_matching.dm_loss(network, batches, synthetic, draws)
    else:
      distance = torch_matching.row_cosine
      loss = torch_matching.gradient_loss(network, batches, synthetic, draws, distance)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    synthetic[0, 0, 0, 0, 0].item()  # waits for the device

  return call


def _time(case: str, ipc: int, device: str, num_rounds: int) -> dict[str, harness.Timing]:
  """Ours against PyTorch as installed and, on the CPU, against PyTorch that keeps freed memory."""
  names = {case: False} | ({f"{case} keeping memory": True} if device == "cpu" else {})
  runs = {"ours": _ours(case, ipc)}
  with contextlib.ExitStack() as processes:
    for name, keeps_freed_memory in names.items():
      theirs = harness.other_process(_theirs, case, ipc, device, keeps_freed_memory)
      runs[name] = processes.enter_context(theirs)
    seconds = harness.take_turns(runs, num_rounds)
  return {name: harness.compare(seconds["ours"], seconds[name]) for name in names}


def main(_) -> None:
  """Times the cases."""
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch has the same device
  jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[_DEVICE.value])
  cases = {}
  for name in CONFIGS:
    if _CASE.value in (None, name):
      cases |= _time(name, _IPC.value, _DEVICE.value, _ROUNDS.value)
  harness.report(cases, "ddjax", "PyTorch")


if __name__ == "__main__":
  app.run(main)
