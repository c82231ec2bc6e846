"""A hundred DM distillations of random halves of digits in one program, against one run alone.

  python -m benchmarks.many_splits [--splits=N] [--steps=N] [--rounds=N] [--device=cpu|gpu|tpu]

`configs/dm.py:digits,ipc=1` with `member_fraction=0.5` and `shares_draws`: all splits share each
step's network, real batch and siamese draws, so the real set is embedded once, and the class means
of a split are its mask times the features. Both programs run on one device; their calls take turns.
After that, one of the splits is run alone with the same draws, and must give the same images to
rounding.
"""

import json
import pathlib

from absl import app, flags
import jax
import numpy as np

from benchmarks import harness
from configs import dm
from ddjax.data.load import load_real_data
from ddjax.stages.prepare import Job, prepare
from ddjax.training import parallel

_SPLITS = flags.DEFINE_integer("splits", 100, "Distillations at once.", lower_bound=2)
_STEPS = flags.DEFINE_integer("steps", 20, "Steps of a call.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds.", lower_bound=2)


def _job(num_splits: int) -> Job:
  config = dm.get_config("digits,ipc=1")
  config.num_devices = 1
  config.member_fraction = 0.5
  config.num_replicas = num_splits
  config.shares_draws = num_splits > 1
  return prepare(config, pathlib.Path(), load_real_data(config.data))


def _program(job: Job, num_steps: int):
  return parallel.make_program(job.distiller.step, job.layout, steps_per_call=num_steps)


def _call(job: Job, program, num_steps: int):
  """A call that goes some steps further."""
  numbers = parallel.device_numbers(job.layout)
  state = parallel.place_state(job.initial_state(), job.layout)

  def call():
    nonlocal state
    state, metrics = program(state, job.data, num_steps, numbers)
    jax.block_until_ready(metrics)

  return call


def _difference(many: Job, program, alone: Job, program_alone, num_steps: int) -> float:
  """Largest difference of one split's images among many and alone, over their largest change."""
  place = many.config.num_replicas // 2
  start = many.initial_state()
  rows = start.synthetic.images[place], many.data.mask[place]
  first = jax.tree.map(lambda leaf: np.asarray(leaf[place]), start.synthetic)
  single = alone.initial_state()
  opt_state = jax.tree.map(lambda leaf: np.asarray(leaf[place]), start.opt_state)
  single = single.replace(synthetic=first, opt_state=opt_state, rng=many.initial_state().rng)
  data = alone.data.replace(mask=np.asarray(rows[1]))
  begun = np.asarray(rows[0])
  numbers = parallel.device_numbers(many.layout)
  after, _ = program(parallel.place_state(start, many.layout), many.data, num_steps, numbers)
  alone_after, _ = program_alone(
    parallel.place_state(single, alone.layout),
    parallel.replicate(data, alone.layout),
    num_steps,
    numbers,
  )
  images = np.asarray(after.synthetic.images[place])
  others = np.asarray(alone_after.synthetic.images)
  return float(np.abs(images - others).max() / np.abs(images - begun).max())


def main(_) -> None:
  """Times and compares; the last line is JSON."""
  harness.use_device()
  num_splits, num_steps = _SPLITS.value, _STEPS.value
  many, alone = _job(num_splits), _job(1)
  programs = _program(many, num_steps), _program(alone, num_steps)
  difference = _difference(many, programs[0], alone, programs[1], num_steps)
  timing = harness.alternate(
    _call(many, programs[0], num_steps), _call(alone, programs[1], num_steps), _ROUNDS.value
  )
  numbers = timing._asdict() | {
    "num_splits": num_splits,
    "ratio_per_distillation": timing.ratio / num_splits,
    "difference_over_change": difference,
  }
  print(
    f"{num_steps} steps: {num_splits} splits together {timing.ours:.3f} s, one alone "
    f"{timing.theirs:.3f} s; a distillation among them takes "
    f"{numbers['ratio_per_distillation']:.3f} of one alone. Images after {num_steps} steps differ "
    f"by {difference:.1e} of their change."
  )
  print(json.dumps(numbers))


if __name__ == "__main__":
  app.run(main)
