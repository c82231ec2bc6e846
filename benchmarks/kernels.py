"""Our kernels against neural-tangents: a block of pairs, value alone and with gradient.

  python -m benchmarks.kernels [--case=NAME] [--rounds=N] [--device=cpu|gpu|tpu]

Engines take turns in one process. Columns are microseconds a pair, then how many times as long
neural-tangents takes: the median of the rounds' own ratios. With pooling each engine has a block of
its own size; ours includes what it computes once an image.
"""

from absl import app, flags
import jax
import jax.numpy as jnp

from benchmarks import harness
from ddjax.kernels import make
from ddjax.kernels.architectures import hidden_layers

_BLOCK = ("conv", "relu", "pool")
_LARGE = (32, 32, 3)
_WHOLE = {"closed_form": (2, 2), "neural_tangents": (2, 2)}
CASES = {  # name: (layers, image shape, rows and columns of each engine)
  "fc1 32x32x3": (
    hidden_layers("fc", 1, _LARGE),
    _LARGE,
    {"closed_form": (5000, 100), "neural_tangents": (5000, 100)},
  ),
  "fc3 32x32x3": (
    hidden_layers("fc", 3, _LARGE),
    _LARGE,
    {"closed_form": (5000, 100), "neural_tangents": (5000, 100)},
  ),
  "conv2 32x32x3": (
    hidden_layers("conv", 2, _LARGE),
    _LARGE,
    {"closed_form": (100, 100), "neural_tangents": (100, 100)},
  ),
  "convnet3 8x8x1": (
    hidden_layers("convnet", 3, (8, 8, 1)),
    (8, 8, 1),
    {"pooled": (10, 10), "closed_form": (10, 10), "neural_tangents": (10, 10)},
  ),
  "blocks3 32x32x3": (_BLOCK * 3 + ("flatten",), _LARGE, {"pooled": (20, 10)} | _WHOLE),
  "convnet3 32x32x3": (hidden_layers("convnet", 3, _LARGE), _LARGE, {"pooled": (20, 10)} | _WHOLE),
  "myrtle5 32x32x3": (hidden_layers("myrtle", 5, _LARGE), _LARGE, {"pooled": (20, 10)} | _WHOLE),
}
_STDS = (2**0.5, 0.1, 2**0.5, 0.1)


_CASE = flags.DEFINE_enum("case", None, list(CASES), "Which case; all by default.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds of each case.", lower_bound=2)


def _call(engine: str, with_gradient: bool, layers, shape, rows: int, columns: int):
  kernel_fn = make.ENGINES[engine](layers, "ntk", *_STDS)
  x1 = jax.random.normal(jax.random.key(0), (rows, *shape), jnp.float32)
  x2 = jax.random.normal(jax.random.key(1), (columns, *shape), jnp.float32)

  def total(x2, x1):
    with jax.default_matmul_precision("highest"):
      return jnp.mean(kernel_fn(x1, x2) ** 2)

  fn = jax.jit(jax.value_and_grad(total) if with_gradient else total)
  return lambda: jax.block_until_ready(fn(x2, x1))


def main(_) -> None:
  """Times every case."""
  harness.use_device()
  for name, (layers, shape, blocks) in CASES.items():
    if _CASE.value not in (None, name):
      continue
    for with_gradient in (False, True):
      runs = {
        engine: _call(engine, with_gradient, layers, shape, *block)
        for engine, block in blocks.items()
      }
      seconds = harness.take_turns(runs, _ROUNDS.value)
      each = {  # of a pair, by round
        engine: [second / (blocks[engine][0] * blocks[engine][1]) for second in found]
        for engine, found in seconds.items()
      }
      label = name + (", gradient" if with_gradient else "")
      for engine, found in each.items():
        timing = harness.compare(found, each["neural_tangents"])
        print(
          f"{label:28}{engine:16}{1e6 * timing.ours:12.2f} us a pair"
          f"{1 / timing.ratio:10.2f} times as fast as neural-tangents",
          flush=True,
        )


if __name__ == "__main__":
  app.run(main)
