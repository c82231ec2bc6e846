"""Our closed-form kernels against neural-tangents: value and gradient of a block of pairs.

python -m benchmarks.kernels
"""

import jax
import jax.numpy as jnp

from benchmarks import harness
from ddjax.config import groups
from ddjax.kernels.make import make_kernel

CASES = {  # name: (family, depth, image shape, rows, columns)
  "fc1 32x32x3": ("fc", 1, (32, 32, 3), 5000, 100),
  "fc3 32x32x3": ("fc", 3, (32, 32, 3), 5000, 100),
  "conv2 32x32x3": ("conv", 2, (32, 32, 3), 100, 100),
  "convnet3 8x8x1": ("convnet", 3, (8, 8, 1), 10, 10),
  "myrtle5 32x32x3": ("myrtle", 5, (32, 32, 3), 4, 4),
}


def _call(engine: str, family: str, depth: int, shape, rows: int, columns: int):
  config = groups.kernel(family, depth)
  config.engine = engine
  kernel = make_kernel(config, shape)
  x1 = jax.random.normal(jax.random.key(0), (rows, *shape), jnp.float32)
  x2 = jax.random.normal(jax.random.key(1), (columns, *shape), jnp.float32)
  fn = jax.jit(jax.value_and_grad(lambda x2, x1: jnp.mean(kernel.kernel_fn(x1, x2) ** 2)))
  return lambda: jax.block_until_ready(fn(x2, x1))


def main() -> None:
  """Times every case."""
  cases = {
    name: harness.alternate(
      _call("closed_form", *case), _call("neural_tangents", *case), num_rounds=7
    )
    for name, case in CASES.items()
  }
  harness.report(cases, "closed form", "neural-tangents")


if __name__ == "__main__":
  main()
