"""A step of any method at published sizes, as the trainer makes it; without flags, to be shared."""

from typing import Callable

import jax
from ml_collections import ConfigDict

from benchmarks import harness
from ddjax import costs
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer

NUM_CLASSES, NUM_TRAIN = 10, 10000
SHAPE = (32, 32, 3)


def make_call(name: str, config: ConfigDict) -> tuple[Callable[[], object], costs.Cost]:
  """A call that goes one step further on one device and waits for it; and the cost of a step.

  Args:
    name: of a method in the registry.
    config: of the method, for ten classes of 32x32x3 images; their content is random.
  """
  info, data = harness.random_split(NUM_TRAIN, SHAPE, NUM_CLASSES)
  layout = parallel.make_layout(1)
  distiller = DISTILLERS[name](config, info, axis_name=layout.axis_name)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  state, data = parallel.place_state(state, layout), parallel.replicate(data, layout)
  per_call = config.trainer.steps_per_call
  program = parallel.make_program(distiller.step, layout, steps_per_call=per_call)
  numbers = parallel.device_numbers(layout)

  def call():
    nonlocal state
    state, metrics = program(state, data, 1, numbers)
    jax.block_until_ready(metrics)

  alone = DISTILLERS[name](config, info, axis_name=None)
  return call, costs.count(alone.step, state, data, 0)
