"""A step of DM, DSA and DC: ours against the plain PyTorch step, at published sizes.

  python -m benchmarks.matching_step [--case=dm|dsa|dc] [--ipc=N] [--precision=bfloat16]
      [--rounds=N] [--device=cpu|gpu|tpu]

ConvNet-3 of width 128, ten classes, 256 real 32x32x3 images of each, ipc 1, a fresh network and
siamese draws every step (none in DC); images are random: time does not depend on content. PyTorch
has processes of its own, on the CPU one as it is installed and one where glibc keeps freed memory;
all take turns. Both sides multiply as they do unless told: on GPUs, JAX may round products to TF32,
PyTorch those of convolutions.
"""

import os

from absl import app, flags

from benchmarks import harness, one_step
from benchmarks.one_step import NUM_CLASSES, NUM_TRAIN, SHAPE
from configs import dc, dm, dsa
from ddjax.fitting.protocols import DSA

_CASE = flags.DEFINE_enum("case", None, ["dm", "dsa", "dc"], "Which case; all by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of each case.", lower_bound=2)
_PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of our side.")
_IPC = flags.DEFINE_integer("ipc", 1, "Images per class.", lower_bound=1)

CONFIGS = {"dm": dm, "dsa": dsa, "dc": dc}
REAL_BATCH = 256


def _ours(case: str, ipc: int):
  """A call that goes one step further; and its cost."""
  config = CONFIGS[case].get_config(f"cifar10,ipc={ipc}")
  config.precision = _PRECISION.value
  return one_step.make_call(case, config)


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
    if case == "dc":
      draws = [torch_matching.TorchDraw((), {})] * NUM_CLASSES
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
