"""Our closed-form kernels against neural-tangents: a block of pairs, value alone and with gradient.

  python -m benchmarks.kernels [--case=NAME] [--rounds=N] [--device=cpu|gpu|tpu]

Seconds are of a block; the table's last columns are microseconds a pair, ours and theirs.
"""

from absl import app, flags
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


_CASE = flags.DEFINE_enum("case", None, list(CASES), "Which case; all by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds of each case.", lower_bound=2)


def _call(
  engine: str, with_gradient: bool, family: str, depth: int, shape, rows: int, columns: int
):
  config = groups.kernel(family, depth)
  config.engine = engine
  kernel = make_kernel(config, shape)
  x1 = jax.random.normal(jax.random.key(0), (rows, *shape), jnp.float32)
  x2 = jax.random.normal(jax.random.key(1), (columns, *shape), jnp.float32)

  def total(x2, x1):
    return jnp.mean(kernel.kernel_fn(x1, x2) ** 2)

  fn = jax.jit(jax.value_and_grad(total) if with_gradient else total)
  return lambda: jax.block_until_ready(fn(x2, x1))


def main(_) -> None:
  """Times every case."""
  harness.use_device()
  cases = {}
  for name, case in CASES.items():
    if _CASE.value not in (None, name):
      continue
    for with_gradient in (False, True):
      calls = (_call(engine, with_gradient, *case) for engine in ("closed_form", "neural_tangents"))
      timing = harness.alternate(*calls, num_rounds=_ROUNDS.value)
      label = name + (", gradient" if with_gradient else "")
      cases[label] = timing
      pairs = case[-2] * case[-1]
      each = (1e6 * seconds / pairs for seconds in (timing.ours, timing.theirs))
      print(f"{label:36}{next(each):12.3f}{next(each):12.3f} us a pair")
  harness.report(cases, "closed form", "neural-tangents")


if __name__ == "__main__":
  app.run(main)
