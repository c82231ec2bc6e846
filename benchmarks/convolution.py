"""The forms of a convolution against each other, over the three layers of ConvNet-3, width 128.

  python -m benchmarks.convolution [--case=NAME] [--batch=N] [--rounds=N] [--device=cpu|gpu|tpu]

A run of a layer is its value and both gradients; "vmap 5" is five networks with images of their
own, "scan" a compiled loop in which every iteration takes what the last one gave, and "grad of
grad" the gradient, with respect to the images, of the squared norm of the kernel's gradient, as in
gradient matching. Milliseconds are medians of one iteration, for all five networks where there are
five. All forms take turns; "over best" is the median, over the rounds, of what `conv` takes divided
by what the fastest other form takes. On CPUs `conv` is `conv_ordered`; elsewhere it is "primitive".

A form that at first took over a second, and over five times the fastest, is timed that once and
marked "*". In loops, XLA's own convolution is not run at batch 100 ("-"): it was up to a hundred
times slower there.
"""

import json
import statistics
import time
from typing import NamedTuple

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import harness
from ddjax.models.convolution import conv, conv_ordered, conv_patches, conv_primitive
from ddjax.types import Array


class Case(NamedTuple):
  """How a layer is run: vmapped networks (0: one, without an axis), in a loop, order."""

  num_networks: int = 0
  in_loop: bool = False
  is_second_order: bool = False


CASES = {
  "single": Case(),
  "vmap 5": Case(5),
  "scan": Case(in_loop=True),
  "scan of vmap 5": Case(5, in_loop=True),
  "grad of grad": Case(is_second_order=True),
}
WIDTH = 128
LAYERS = {"first": (32, 3), "second": (16, WIDTH), "third": (8, WIDTH)}  # name: (side, channels)
BATCHES = (10, 100)
NUM_ITERATIONS = 3
CHOSEN = "conv"
_TOO_SLOW = 5.0
_SECONDS_TO_SPARE = 1.0
_RATE = 1e-6  # of the updates that tie iterations together

_CASE = flags.DEFINE_enum("case", None, list(CASES), "Which case; all by default.")
_BATCH = flags.DEFINE_integer("batch", 0, "Images a network; 0 for both.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Rounds of each case.", lower_bound=2)


def conv_shifted(x: Array, kernel: Array, padding: int) -> Array:
  """`conv` as a sum of one matrix product for each place of the window."""
  size = kernel.shape[0]
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
  places = [(i, j) for i in range(size) for j in range(size)]
  return sum(x[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in places)


FORMS = {
  "primitive": conv_primitive,
  "patches": conv_patches,
  "shifted": conv_shifted,
  "ordered": conv_ordered,
  CHOSEN: conv,
}


def _first_order(form, carry):
  """A layer forward and back: (x, kernel, cotangent) -> those of the next iteration."""
  x, kernel, cotangent = carry
  y, pull_back = jax.vjp(lambda x, kernel: form(x, kernel, 1), x, kernel)
  x_gradient, kernel_gradient = pull_back(cotangent)
  return x + _RATE * x_gradient, kernel + _RATE * kernel_gradient, y


def _second_order(form, carry):
  """Gradient of the squared norm of the gradient of mean(y ** 2) / 2 with respect to the kernel."""
  x, kernel, cotangent = carry

  def squared_norm(x):
    gradient = jax.grad(lambda kernel: jnp.mean(form(x, kernel, 1) ** 2) / 2)(kernel)
    return jnp.sum(gradient**2)

  return x + _RATE * jax.grad(squared_norm)(x), kernel, cotangent


def _start(case: Case, batch: int, side: int, channels: int) -> tuple[Array, Array, Array]:
  """Random (x, kernel, cotangent), with a leading axis of networks where there are several."""
  leading = (case.num_networks,) if case.num_networks else ()
  shapes = (batch, side, side, channels), (3, 3, channels, WIDTH), (batch, side, side, WIDTH)
  x, kernel, cotangent = (
    jax.random.normal(rng, (*leading, *shape), jnp.float32)
    for rng, shape in zip(jax.random.split(jax.random.key(0), 3), shapes, strict=True)
  )
  return x, kernel / (9 * channels) ** 0.5, cotangent


def _compile(form, case: Case, start):
  """A call of the compiled layer that waits for its result."""
  order = _second_order if case.is_second_order else _first_order

  def step(carry):
    return order(form, carry)

  if case.num_networks:
    step = jax.vmap(step)

  def loop(carry, count):
    return jax.lax.fori_loop(0, count, lambda _, carry: step(carry), carry)

  # The count is an argument, as in the trainings: the compiler cannot unroll the loop.
  args = (start, np.int32(NUM_ITERATIONS)) if case.in_loop else (start,)
  compiled = jax.jit(loop if case.in_loop else step).lower(*args).compile()
  return lambda: jax.block_until_ready(compiled(*args))


def _time(case: Case, batch: int, num_rounds: int) -> dict[tuple[str, str], list[float]]:
  """Milliseconds an iteration of every (form, layer), by round; one round of what is too slow."""
  starts = {name: _start(case, batch, *sizes) for name, sizes in LAYERS.items()}
  names = [name for name in FORMS if _is_run(name, case, batch)]
  runs = {
    (name, layer): _compile(FORMS[name], case, start)
    for layer, start in starts.items()
    for name in names
  }
  once = {key: [_seconds(run)] for key, run in runs.items()}
  total = {name: sum(once[name, layer][0] for layer in LAYERS) for name in names}
  limit = max(_SECONDS_TO_SPARE, _TOO_SLOW * min(total.values()))
  fast = {key: run for key, run in runs.items() if key[0] == CHOSEN or total[key[0]] <= limit}
  seconds = once | harness.take_turns(fast, num_rounds)
  scale = 1e3 / (NUM_ITERATIONS if case.in_loop else 1)
  return {key: [scale * value for value in row] for key, row in seconds.items()}


def _is_run(form: str, case: Case, batch: int) -> bool:
  """On CPUs XLA's convolution is left out where it is slow, and `ordered` is what `conv` takes."""
  if harness.DEVICE.value != "cpu":
    return True
  return form != "ordered" and (form != "primitive" or not case.in_loop or batch <= 10)


def _seconds(run) -> float:
  started = time.perf_counter()
  run()
  return time.perf_counter() - started


def _report_row(label: str, by_form: dict[str, list[float]]) -> dict[str, float]:
  """Prints a row of the table; {form: milliseconds}, with the ratio and its quartiles."""
  full = len(by_form[CHOSEN])
  others = [name for name in by_form if name != CHOSEN and len(by_form[name]) == full]
  medians = {name: statistics.median(row) for name, row in by_form.items()}
  best = min(others, key=medians.get)
  timing = harness.compare(by_form[CHOSEN], by_form[best])
  cells = [
    f"{medians[name]:>11.2f}{' ' if len(by_form[name]) == full else '*'}" if name in medians
    else f"{'-':>11} "
    for name in FORMS
  ]  # fmt: skip
  print(f"{label:32}{''.join(cells)}{timing.ratio:>10.2f}  {timing.low:.2f} to {timing.high:.2f}")
  numbers = medians | {"over_best": timing.ratio, "low": timing.low, "high": timing.high}
  return {name: round(value, 4) for name, value in numbers.items()}


def main(_) -> None:
  """Times the cases; the last line is the JSON of the sums over the layers."""
  harness.use_device()
  heads = "".join(f"{name:>11} " for name in FORMS)
  print(f"{'ms an iteration':32}{heads}{'over best':>10}  quartiles")
  sums = {}
  for batch in [_BATCH.value] if _BATCH.value else BATCHES:
    for name, case in CASES.items():
      if _CASE.value not in (None, name):
        continue
      seconds = _time(case, batch, _ROUNDS.value)
      forms = dict.fromkeys(form for form, _ in seconds)
      for layer in LAYERS:
        _report_row(f"  {layer} layer", {form: seconds[form, layer] for form in forms})
      by_round = {form: zip(*(seconds[form, layer] for layer in LAYERS)) for form in forms}
      label = f"{name}, batch {batch}"
      sums[label] = _report_row(
        label, {form: list(map(sum, row)) for form, row in by_round.items()}
      )
  print(json.dumps(sums))


if __name__ == "__main__":
  app.run(main)
