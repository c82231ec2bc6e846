"""A step of DM and of DSA: ours against the plain PyTorch step, at published sizes.

  python -m benchmarks.matching_step [--case=dm|dsa] [--rounds=N] [--device=cpu|gpu|tpu]

ConvNet-3 of width 128, ten classes, 256 real 32x32x3 images of each, ipc 1, a fresh network and
siamese draws every step; images are random: time does not depend on content. PyTorch has processes
of its own, on the CPU one as it is installed and one where glibc keeps freed memory; all take
turns. Both sides multiply as they do unless told: on GPUs, JAX may round products to TF32, PyTorch
those of convolutions.
"""

import os

from absl import app, flags
import jax

from benchmarks import harness
from configs import dm, dsa
from ddjax import costs
from ddjax.fitting.protocols import DSA
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer

_CASE = flags.DEFINE_enum("case", None, ["dm", "dsa"], "Which case; both by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of each case.", lower_bound=2)
_IPC = flags.DEFINE_integer("ipc", 1, "Images per class.", lower_bound=1)

CONFIGS = {"dm": dm, "dsa": dsa}
NUM_CLASSES, NUM_TRAIN, REAL_BATCH = 10, 10000, 256
SHAPE = (32, 32, 3)


def _ours(case: str, ipc: int):
  """A call that goes one step further on one device, as the trainer makes it; and its cost."""
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

  alone = DISTILLERS[case](config, info, axis_name=None)
  return call, costs.count(alone.step, state, data, 0)


def _theirs(case: str, ipc: int, device: str, keeps_freed_memory: bool):
  """The same call of the PyTorch step, for a process of its own."""
  from benchmarks import torch_matching

  torch = torch_matching.torch
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.set_default_device(device)
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


def _time(case: str, ipc: int, num_rounds: int):
  """{case: Timing} against PyTorch as installed and, on CPUs, keeping freed memory; the cost."""
  ours, cost = _ours(case, ipc)
  with harness.torch_baselines(_theirs, case, ipc, harness.torch_device()) as baselines:
    seconds = harness.take_turns({"ours": ours, **baselines}, num_rounds)
  names = {case: "installed", f"{case} keeping memory": "keeping"}
  found = harness.compare_with(seconds, names)
  return {name: one for name, one in found.items() if name == case or one.theirs}, cost


def main(_) -> None:
  """Times the cases."""
  harness.use_device()
  cases, step_costs = {}, {}
  for name in CONFIGS:
    if _CASE.value in (None, name):
      timings, step_costs[name] = _time(name, _IPC.value, _ROUNDS.value)
      cases |= timings
  harness.report(cases, "ddjax", "PyTorch", step_costs)


if __name__ == "__main__":
  app.run(main)
