"""Eight experts trained together against eight one after another, one epoch each.

  python -m benchmarks.experts_together [--dataset=digits|mnist|cifar10] [--width=N] [--rounds=N]
      [--device=cpu|gpu|tpu]

`together` vmaps all eight on a device (the form for GPUs), `chosen` takes as many at once as
`ddjax.fitting.train` would on this backend; both over eight calls of one expert each. Images are
random, in the shapes and numbers of the data set (CIFAR-10 and MNIST cut to 5120): time does not
depend on content.
"""

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from configs import mtt
from ddjax.fitting import train
from ddjax.models.build import build
from ddjax.stages.experts import protocol_of

SHAPES = {
  "digits": (1347, (8, 8, 1)), "mnist": (5120, (28, 28, 1)), "cifar10": (5120, (32, 32, 3))
}  # fmt: skip
NUM_EXPERTS, NUM_CLASSES = 8, 10

_DATASET = flags.DEFINE_enum("dataset", "digits", list(SHAPES), "Whose shapes.")
_WIDTH = flags.DEFINE_integer("width", 32, "Of the ConvNet.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each case.", lower_bound=2)


def _make_calls(dataset: str, width: int):
  """{form: a call that trains eight experts for an epoch}, and how many are chosen at once."""
  num_examples, shape = SHAPES[dataset]
  config = mtt.get_config(dataset)
  network = build(config.network.name, num_classes=NUM_CLASSES, width=width)
  rng = np.random.default_rng(0)
  images = rng.standard_normal((1, num_examples, *shape), np.float32)
  labels = np.eye(NUM_CLASSES, dtype=np.float32)[rng.integers(0, NUM_CLASSES, (1, num_examples))]
  source, key = train.as_source(images, labels), jax.random.key(0)
  training = train.make_training(
    network, protocol_of(config), loss="cross_entropy", num_examples=num_examples, image_shape=shape
  )
  chosen = training.networks_at_once

  @jax.jit
  def epoch(rows):
    state = training.init(key, rows, source)
    return training.advance(state, key, rows, source, training.steps_per_epoch)[1]

  def call_of(at_once):
    groups = [np.arange(i, min(i + at_once, NUM_EXPERTS)) for i in range(0, NUM_EXPERTS, at_once)]
    rows = [
      train.Rows(
        jnp.asarray(np.stack([numbers, 0 * numbers], axis=-1), jnp.uint32),
        jnp.zeros(len(numbers), jnp.int32),
        jnp.full(len(numbers), 0.01, jnp.float32),
      )
      for numbers in groups
    ]
    return lambda: [jax.block_until_ready(epoch(part)) for part in rows]

  return {"together": call_of(NUM_EXPERTS), "chosen": call_of(chosen), "apart": call_of(1)}, chosen


def main(_) -> None:
  """Times the forms."""
  harness.use_device()
  calls, chosen = _make_calls(_DATASET.value, _WIDTH.value)
  seconds = harness.take_turns(calls, _ROUNDS.value)
  timings = {
    name: harness.compare(seconds[name], seconds["apart"]) for name in ("together", "chosen")
  }
  print(f"{jax.devices()[0].device_kind}; chosen: {chosen} at once")
  harness.report(timings, "ours", "one after another")


if __name__ == "__main__":
  app.run(main)
