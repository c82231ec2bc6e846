"""The `dc` evaluation of five ConvNet-3 networks: ours against a plain PyTorch loop.

  python -m benchmarks.evaluate [--case=ipc1|ipc10] [--rounds=N] [--device=cpu|gpu|tpu]
      [--convolution=ordered|primitive]

Width 128, ten classes, random 32x32x3 images: time does not depend on content. A figure is seconds
per network and epoch of trainings that have begun, so what a fit costs once (compilation, initial
values) is on neither side. PyTorch has processes of its own, one as it is installed and one where
glibc keeps freed memory; all take turns. Before that, a second fit must compile nothing.
"""

import contextlib
import os

from absl import app, flags
import jax
import numpy as np

from benchmarks import harness
from ddjax import backend, costs
from ddjax.fitting import host, protocols, recipes, train
from ddjax.training import parallel

_CASE = flags.DEFINE_enum("case", None, ["ipc1", "ipc10"], "Which case; both by default.")
_CONVOLUTION = flags.DEFINE_enum(
  "convolution", None, ["ordered", "primitive"], "Ours; by default that of the backend."
)
_ROUNDS = flags.DEFINE_integer("rounds", 12, "Rounds of each case.", lower_bound=2)

CASES = {"ipc1": (10, 25), "ipc10": (100, 2)}  # name: (examples, epochs a round)
NUM_NETWORKS = 5
NUM_CLASSES = 10
WIDTH = 128
SHAPE = (32, 32, 3)


def _program(num_examples: int, num_epochs: int) -> host.Program:
  """The program that evaluates sets, on one device; its length is that of a round."""
  protocol = protocols.find_protocol("dc")._replace(num_epochs=num_epochs)
  recipe = recipes.Recipe("convnet", WIDTH, protocol, NUM_CLASSES, SHAPE)
  loss = protocols.find_loss("one_hot", protocol)
  return recipes.compile_recipe(recipe, loss, num_examples, tuple(jax.local_devices()[:1]))


def _source(num_examples: int, seed: int) -> train.Source:
  """A set of random images, equally many of each class."""
  images = np.random.default_rng(seed).normal(size=(1, num_examples, *SHAPE))
  labels = np.eye(NUM_CLASSES, dtype=np.float32)[np.arange(num_examples) % NUM_CLASSES]
  return train.as_source(images.astype(np.float32), labels[None])


def _rows() -> train.Rows:
  """Five networks on the one set of a source."""
  seeds = np.stack([np.zeros(NUM_NETWORKS), np.arange(NUM_NETWORKS)], axis=1).astype(np.uint32)
  rates = np.full(NUM_NETWORKS, protocols.find_protocol("dc").learning_rate, np.float32)
  return train.Rows(seeds, np.zeros(NUM_NETWORKS, np.int32), rates)


@contextlib.contextmanager
def _compilations():
  """A list that grows by one with every compilation inside."""
  events = []

  def listen(name, seconds, **_):
    if "backend_compile" in name:
      events.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield events
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def _check_second_fit(program: host.Program, num_examples: int) -> None:
  """Fits two sets; raises RuntimeError if the second of them compiles anything."""
  counts = []
  for seed in range(2):
    with _compilations() as events:
      host.fit_networks(
        program, jax.random.key(seed), _rows(), _source(num_examples, seed), key="", label=""
      )
    counts.append(len(events))
  print(f"n = {num_examples}: the first fit compiles {counts[0]} programs, the second {counts[1]}.")
  if not counts[0] or counts[1]:
    raise RuntimeError(f"Fits compiled {counts} programs; some and then none were expected.")


def _ours(program: host.Program, num_examples: int, num_epochs: int):
  """A call that takes every network `num_epochs` further."""
  training = program.training
  groups = np.array_split(
    np.arange(NUM_NETWORKS), -(-NUM_NETWORKS // min(NUM_NETWORKS, training.networks_at_once))
  )
  rows = [jax.tree.map(lambda leaf, group=group: leaf[group][None], _rows()) for group in groups]
  shared = jax.random.key(0), _source(num_examples, 0)
  rng, source = parallel.copy_to(shared, program.devices)
  states = [program.init(rng, own, source) for own in rows]
  count = np.int32(num_epochs * training.steps_per_epoch)

  def call():
    for number, own in enumerate(rows):
      states[number], loss = program.advance(states[number], rng, own, source, count)
      np.asarray(loss)

  return call


def _theirs(num_examples: int, num_epochs: int, device: str, keeps_freed_memory: bool):
  """The same call of the PyTorch loop, for a process of its own."""
  from benchmarks import torch_training

  torch = torch_training.torch
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.set_default_device(device)
  if keeps_freed_memory:
    torch_training.keep_freed_memory()
  images = torch.randn(num_examples, SHAPE[2], *SHAPE[:2])
  labels = torch.arange(num_examples) % NUM_CLASSES
  networks = [torch_training.TorchConvNet(NUM_CLASSES, WIDTH) for _ in range(NUM_NETWORKS)]
  optimizers = [torch_training.make_optimizer(network) for network in networks]

  def call():
    for network, optimizer in zip(networks, optimizers):
      torch_training.train_epochs(network, optimizer, images, labels, num_epochs)
    next(networks[-1].parameters()).reshape(-1)[0].item()  # waits for the device

  return call


def _epoch_cost(program: host.Program, num_examples: int) -> costs.Cost:
  """What a network and epoch computes, counted."""
  training, row = program.training, jax.tree.map(lambda leaf: leaf[:1], _rows())
  args = jax.random.key(0), row, _source(num_examples, 0)
  state = jax.eval_shape(training.init, *args)
  steps = training.steps_per_epoch
  return costs.count(training.advance, state, *args, np.int32(steps), loop_steps=steps)


def _time(name: str, num_examples: int, num_epochs: int, num_rounds: int):
  """{case: Timing} against PyTorch as installed and keeping freed memory; the cost of an epoch."""
  program = _program(num_examples, num_epochs)
  _check_second_fit(program, num_examples)
  ours = _ours(program, num_examples, num_epochs)
  device = harness.torch_device()
  with harness.torch_baselines(_theirs, num_examples, num_epochs, device) as baselines:
    seconds = harness.take_turns({"ours": ours, **baselines}, num_rounds)
  each = {kind: np.array(row) / (NUM_NETWORKS * num_epochs) for kind, row in seconds.items()}
  found = harness.compare_with(each, {name: "installed", f"{name} keeping memory": "keeping"})
  found = {case: one for case, one in found.items() if case == name or one.theirs}
  return found, _epoch_cost(program, num_examples)


def main(_) -> None:
  """Checks and times the cases."""
  harness.use_device()
  cases, epoch_costs = {}, {}
  form = {"convolution": _CONVOLUTION.value} if _CONVOLUTION.value else {}
  with backend.changed_traits(**form):
    for name, (num_examples, num_epochs) in CASES.items():
      if _CASE.value in (None, name):
        found, epoch_costs[name] = _time(name, num_examples, num_epochs, _ROUNDS.value)
        cases |= found
  harness.report(cases, "ddjax", "PyTorch", epoch_costs)


if __name__ == "__main__":
  app.run(main)
