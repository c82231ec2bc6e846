"""A step of MTT: ours against the plain PyTorch unroll, at published width.

  python -m benchmarks.mtt_step [--case=ipc1|ipc10] [--rounds=N] [--unroll=NAME] [--policy=NAME]
      [--device=cpu|gpu|tpu]

ConvNet-3 of width 128, ten classes of 32x32x3 images, all of them in every student step, one
segment; `ipc1` takes 50 student steps, `ipc10` 10 (the published 30 would need some 10 GB in
PyTorch). Siamese draws: ours with parameters for each image, PyTorch's one for all, which costs it
less. Parameters and images are random: time does not depend on content. PyTorch has processes of
its own, one as it is installed and one where glibc keeps freed memory; all take turns.
"""

import os

from absl import app, flags
import jax

from benchmarks import harness
from benchmarks.mtt_cases import CASES, NUM_CLASSES, SHAPE, WIDTH, RandomExperts, make_config
from ddjax import costs
from ddjax.fitting.protocols import DSA
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer

_CASE = flags.DEFINE_enum("case", None, list(CASES), "Which case; both by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each case.", lower_bound=2)
_UNROLL = flags.DEFINE_enum("unroll", "checkpoint", ["checkpoint", "plain", "constant"], "Ours.")
_POLICY = flags.DEFINE_string("policy", "", "Ours, of `checkpoint`; empty as the config chooses.")


def make_call(config):
  """A call that goes one step of ours further, on one device, as the trainer makes it."""
  info, data = harness.random_split(1000, SHAPE, NUM_CLASSES)
  layout = parallel.make_layout(1)
  distiller = DISTILLERS["mtt"](config, info, axis_name=layout.axis_name)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  seeds, experts = trainer.seeds_of(state), (RandomExperts(),)
  state, data = parallel.place_state(state, layout), parallel.replicate(data, layout)
  program = parallel.make_program(distiller.step, layout, steps_per_call=1, is_host_fed=True)
  step = 0

  def call():
    nonlocal state, step
    batch = trainer.host_batches(distiller, experts, seeds, trainer.Span(step, 1, 1), layout)
    state, metrics = program(state, data, 1, batch)
    jax.block_until_ready(metrics)
    step += 1

  return call


def step_cost(config) -> costs.Cost:
  """What a step of ours computes, counted."""
  info, data = harness.random_split(1000, SHAPE, NUM_CLASSES)
  layout = parallel.make_layout(1)
  distiller = DISTILLERS["mtt"](config, info, axis_name=None)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  batch = distiller.batch_at(RandomExperts(), trainer.seeds_of(state)[0], 0)
  return costs.count(distiller.step, state, data, batch)


def _theirs(case: str, device: str, keeps_freed_memory: bool):
  """The same call of the PyTorch step, for a process of its own."""
  from benchmarks import torch_matching

  torch = torch_matching.torch
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.set_default_device(device)
  if keeps_freed_memory:
    torch_matching.torch_training.keep_freed_memory()
  ipc, num_steps = CASES[case]
  network = torch_matching.TorchConvNet(NUM_CLASSES, WIDTH)
  ends = [
    [value.detach() for value in torch_matching.TorchConvNet(NUM_CLASSES, WIDTH).parameters()]
    for _ in range(2)
  ]
  images = torch.randn(NUM_CLASSES * ipc, SHAPE[2], *SHAPE[:2], requires_grad=True)
  labels = torch.arange(NUM_CLASSES).repeat_interleave(ipc)
  rate = torch.tensor(0.01, requires_grad=True)
  of_images = torch.optim.SGD([images], lr=100.0, momentum=0.5)
  of_rate = torch.optim.SGD([rate], lr=1e-7, momentum=0.5)

  def call():
    draws = [torch_matching.random_draw(DSA) for _ in range(num_steps)]
    loss = torch_matching.trajectory_loss(network, *ends, images, labels, rate, draws)
    of_images.zero_grad()
    of_rate.zero_grad()
    loss.backward()
    of_images.step()
    of_rate.step()
    images[0, 0, 0, 0].item()  # waits for the device

  return call


def main(_) -> None:
  """Times the cases."""
  harness.use_device()
  timings, step_costs = {}, {}
  for case in CASES:
    if _CASE.value not in (None, case):
      continue
    config = make_config(case, _UNROLL.value, _POLICY.value)
    ours, step_costs[case] = make_call(config), step_cost(config)
    with harness.torch_baselines(_theirs, case, harness.torch_device()) as baselines:
      seconds = harness.take_turns({"ours": ours, **baselines}, _ROUNDS.value)
    names = {case: "installed", f"{case} keeping memory": "keeping"}
    found = harness.compare_with(seconds, names)
    timings |= {name: one for name, one in found.items() if name == case or one.theirs}
  harness.report(timings, "ddjax", "PyTorch", step_costs)


if __name__ == "__main__":
  app.run(main)
