"""The trainer against a bare jitted loop of the same step: what the loop costs.

  python -m benchmarks.trainer_overhead [--device=cpu|gpu|tpu]

KIP on random pixels. The trainer reads metrics, keeps time for stops, and saves one checkpoint
at the end; the bare loop calls one compiled step after the other and waits at the end.
"""

import tempfile

from absl import app
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from ddjax.config import groups
from ddjax.distillers.kip import make_kip
from ddjax.training import parallel, trainer
from ddjax.training.checkpoints import Checkpoints

CASES = {  # name: (image shape, train examples, target batch, steps)
  "digits": ((8, 8, 1), 1347, 1000, 500),
  "mnist": ((28, 28, 1), 60000, 5000, 100),
}


def _time(shape, num_train: int, batch: int, num_steps: int) -> harness.Timing:
  info, data = harness.random_split(num_train, shape)
  config = groups.base("kip", "random")
  config.kernel = groups.kernel("fc", 1)
  config.update(
    groups.kip(ipc=10, num_steps=num_steps, learning_rate=0.01, target_batch_size=batch)
  )
  layout = parallel.make_layout()
  distiller = make_kip(config, info, axis_name=layout.axis_name)
  bare = make_kip(config, info)
  start = trainer.initialise(distiller, data, jax.random.key(0), layout)
  step = jax.jit(bare.step, donate_argnums=0)
  data = parallel.replicate(data, layout)
  program = parallel.make_program(
    distiller.step, layout, steps_per_call=config.trainer.steps_per_call
  )

  def copy():
    return jax.tree.map(jnp.copy, start)

  def with_trainer():
    with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
      trainer.train(
        distiller,
        data,
        copy(),
        layout,
        trainer.Schedule(num_steps, config.trainer.steps_per_call, num_steps),
        trainer.Hooks(checkpoints),
        program=program,
      )

  def without():
    state = copy()
    for _ in range(num_steps):
      state, metrics = step(state, data, jnp.int32(0))
    np.asarray(metrics["loss"])

  return harness.alternate(with_trainer, without, num_rounds=9)


def main(_) -> None:
  """Times every case."""
  harness.use_device()
  cases = {name: _time(*case) for name, case in CASES.items()}
  harness.report(cases, "trainer", "bare jitted loop")


if __name__ == "__main__":
  app.run(main)
