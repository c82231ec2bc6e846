"""One KIP step against its own two matrix products: support x targets, and back.

  python -m benchmarks.kip_step [--rounds=N] [--device=cpu|gpu|tpu]

The step is the whole of it, at 100 support images, 5000 targets, 3072 values: drawing and
standardising the batch, the NTK, the solve, the gradient and Adam. The products are the ones that
no kernel of inner products can do without: K = X_t X_s' and the gradient G' X_t.
"""

import itertools

from absl import app, flags
import jax
import jax.numpy as jnp

from benchmarks import harness
from ddjax.config import groups
from ddjax.distillers.kip import make_kip
from ddjax.training import parallel, trainer

SHAPE = (32, 32, 3)
NUM_TARGETS = 5000
NUM_STEPS = 10

_ROUNDS = flags.DEFINE_integer("rounds", 15, "Rounds of each case.", lower_bound=2)


def _steps(depth: int, engine: str):
  """A call of ten compiled steps, as the trainer makes it."""
  info, data = harness.random_split(50000, SHAPE)
  config = groups.base("kip", "cifar10")
  config.kernel = groups.kernel("fc", depth)
  config.kernel.engine = engine
  config.update(
    groups.kip(ipc=10, num_steps=100, learning_rate=0.04, target_batch_size=NUM_TARGETS)
  )
  layout = parallel.make_layout(1)
  distiller = make_kip(config, info, axis_name=layout.axis_name)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  data = parallel.replicate(data, layout)
  state = parallel.place_state(state, layout)
  program = parallel.make_program(distiller.step, layout, steps_per_call=NUM_STEPS)
  shard = parallel.device_numbers(layout)

  def call():
    nonlocal state
    state, _ = program(state, data, NUM_STEPS, shard)
    jax.block_until_ready(state.synthetic)

  return call


@jax.jit
def _products(support, targets):
  """Ten times the two products, each on what the last one gave."""

  def both(_, support):
    with jax.default_matmul_precision("highest"):
      return (targets @ support.T).T @ targets / targets.size

  return jax.lax.fori_loop(0, NUM_STEPS, both, support)


def main(_) -> None:
  """Times FC-1, FC-2 and FC-3 under both kernel engines."""
  harness.use_device()
  size = SHAPE[0] * SHAPE[1] * SHAPE[2]
  support = jax.random.normal(jax.random.key(1), (100, size), jnp.float32)
  targets = jax.random.normal(jax.random.key(2), (NUM_TARGETS, size), jnp.float32)
  cases = {}
  for depth, engine in itertools.product((1, 2, 3), ("neural_tangents", "closed_form")):
    name = f"fc{depth}" + (" closed form" if engine == "closed_form" else "")
    cases[name] = harness.alternate(
      _steps(depth, engine),
      lambda: jax.block_until_ready(_products(support, targets)),
      _ROUNDS.value,
    )
  harness.report(cases, "10 KIP steps", "20 matrix products")


if __name__ == "__main__":
  app.run(main)
