"""One KIP step against its own two matrix products: support x targets, and back.

  python -m benchmarks.kip_step

The step is the whole of it, at 100 support images, 5000 targets, 3072 values: drawing and
standardising the batch, the NTK, the solve, the gradient and Adam. The products are the ones that
no kernel of inner products can do without: K = X_t X_s' and the gradient G' X_t.
"""

import jax
import jax.numpy as jnp

from benchmarks import harness
from ddjax.config import groups
from ddjax.distillers.kip import make_kip

SHAPE = (32, 32, 3)
NUM_TARGETS = 5000


def _step(depth: int):
  """A call of one compiled step."""
  info, data = harness.random_split(50000, SHAPE)
  config = groups.base("kip", "cifar10")
  config.kernel = groups.kernel("fc", depth)
  config.update(
    groups.kip(ipc=10, num_steps=100, learning_rate=0.04, target_batch_size=NUM_TARGETS)
  )
  distiller = make_kip(config, info)
  state = jax.jit(distiller.init)(jax.random.key(0), data)
  step = jax.jit(distiller.step)
  return lambda: jax.block_until_ready(step(state, data, jnp.int32(0)))


@jax.jit
def _products(support, targets):
  with jax.default_matmul_precision("highest"):
    kernel = targets @ support.T
    return kernel.T @ targets, kernel


def main() -> None:
  """Times FC-1, FC-2 and FC-3."""
  size = SHAPE[0] * SHAPE[1] * SHAPE[2]
  support = jax.random.normal(jax.random.key(1), (100, size), jnp.float32)
  targets = jax.random.normal(jax.random.key(2), (NUM_TARGETS, size), jnp.float32)
  cases = {}
  for depth in (1, 2, 3):
    cases[f"fc{depth}"] = harness.alternate(
      _step(depth), lambda: jax.block_until_ready(_products(support, targets))
    )
  harness.report(cases, "KIP step", "matrix products")


if __name__ == "__main__":
  main()
