"""Memory of a step of MTT against the number of student steps, for every form of the gradient.

  python -m benchmarks.mtt_memory [--case=ipc1|ipc10] [--figure=PATH] [--device=cpu|gpu|tpu]

ConvNet-3, ten classes of 32x32x3 images, all of them in every student step. What is given is the
compiler's own figure for the temporary memory of the compiled step, MiB; with `--figure` it is
drawn too. The last line is JSON.
"""

import json
import pathlib

from absl import app, flags
import jax

from benchmarks import harness
from benchmarks.mtt_cases import SHAPE, RandomExperts, make_config
from ddjax.plots import figures
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer

_CASE = flags.DEFINE_enum("case", "ipc1", ["ipc1", "ipc10"], "Images per class.")
_FIGURE = flags.DEFINE_string("figure", None, "Where to draw the figure, a PNG.")
_STEPS = (5, 10, 20, 40)
_FORMS = {
  "plain": ("plain", ""),
  "checkpoint, convolutions kept": ("checkpoint", "convolutions"),
  "checkpoint": ("checkpoint", "nothing_saveable"),
  "constant": ("constant", "nothing_saveable"),
}
"""{row of the table: (unroll, checkpoint_policy)}."""


def temporary_bytes(case: str, form: str, num_steps: int) -> int:
  """Temporary memory of one compiled step."""
  config = make_config(case, *_FORMS[form], num_steps)
  info, data = harness.random_split(1000, SHAPE)
  layout = parallel.make_layout(1)
  distiller = DISTILLERS["mtt"](config, info)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  batch = trainer.host_batches(
    distiller, (RandomExperts(),), trainer.seeds_of(state), trainer.Span(0, 1, 1), layout
  )
  shard = jax.tree.map(lambda leaf: leaf[0, 0], batch)
  compiled = jax.jit(distiller.step).lower(state, data, shard).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def _draw(rows: dict[str, list[float]], path: str) -> None:
  """The table as lines, both axes logarithmic."""
  figure = figures.new_figure(4.8, 3.4)
  axes = figure.subplots()
  for place, (name, values) in enumerate(rows.items()):
    colour, dashes = figures.SERIES[place]
    axes.loglog(
      _STEPS, values, color=colour, linestyle=dashes, marker="o", markersize=3, label=name
    )
  axes.set_xlabel("student steps", fontsize=9)
  axes.set_ylabel("temporary memory, MiB", fontsize=9)
  axes.set_xticks(_STEPS, [str(steps) for steps in _STEPS])
  axes.minorticks_off()
  figures.tidy(axes)
  axes.legend(fontsize=8, frameon=False)
  figures.save_figure(figure, pathlib.Path(path))


def main(_) -> None:
  """Prints the table, and draws it where asked."""
  harness.use_device()
  print(f"{'MiB':32}" + "".join(f"{f'N = {steps}':>10}" for steps in _STEPS))
  rows = {}
  for form in _FORMS:
    rows[form] = [temporary_bytes(_CASE.value, form, steps) / 2**20 for steps in _STEPS]
    print(f"{form:32}" + "".join(f"{value:>10.0f}" for value in rows[form]), flush=True)
  if _FIGURE.value:
    _draw(rows, _FIGURE.value)
  print(json.dumps({"steps": _STEPS, "mib": rows}))


if __name__ == "__main__":
  app.run(main)
