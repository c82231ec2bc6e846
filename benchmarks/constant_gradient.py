"""How far the constant-memory gradient of MTT is from the full one, by the number of student steps.

  python -m benchmarks.constant_gradient [--ipc=N] [--device=cpu|gpu|tpu]

Digits, ConvNet-2 of width 32, real images, augmentation, and experts as in `configs/mtt.py:digits`,
which are trained first where they are missing. Each row is of five pieces of trajectories: relative
error of the gradient of the images, the cosine between the two, and the ratio of the gradients of
the learning rate, each as median. The last line is JSON.
"""

import json
import pathlib

from absl import app, flags
import jax
import numpy as np

from benchmarks import harness
from configs import mtt
from ddjax.data.load import load_real_data, make_data_split
from ddjax.fitting.host import Watch
from ddjax.registry import DISTILLERS
from ddjax.stages import experts
from ddjax.stages.prepare import prepare
from ddjax.training import trainer

_IPC = flags.DEFINE_integer("ipc", 10, "Images per class.", lower_bound=1)
_STEPS = (1, 2, 4, 15, 50)
_NUM_PIECES = 5


def _gradients(unroll: str, ipc: int, num_steps: int) -> list[tuple[np.ndarray, float]]:
  """Gradients, but for a common factor, of the images and of log alpha, for every piece."""
  config = mtt.get_config(f"digits,ipc={ipc}")
  config.unroll, config.num_devices = unroll, 1
  config.outer.student_steps = num_steps
  config.experts.num_epochs = 25  # of all rows alike
  job = prepare(config, pathlib.Path(), load_real_data(config.data))
  job = experts.attach(job, Watch())
  distiller, data = DISTILLERS["mtt"](config, job.real.info), make_data_split(job.real)
  state = jax.jit(distiller.init)(jax.random.key(0), data)
  step, found = jax.jit(distiller.step), []
  for piece in range(_NUM_PIECES):
    seeds = trainer.seeds_of(state)
    span = trainer.Span(piece, 1, 1)
    batch = trainer.host_batches(distiller, job.host_data, seeds, span, job.layout)
    after, metrics = step(state, data, jax.tree.map(lambda leaf: leaf[0, 0], batch))
    moved = np.asarray(after.synthetic.images - state.synthetic.images)  # -rate times the gradient
    found.append((moved, np.log(metrics["learning_rate"] / config.outer.student_learning_rate)))
  return found


def main(_) -> None:
  """Prints the table."""
  harness.use_device()
  rows = {}
  print(f"{'steps':>6}{'error':>10}{'cosine':>10}{'of the rate':>14}")
  for num_steps in _STEPS:
    figures = []
    pairs = (_gradients(form, _IPC.value, num_steps) for form in ("constant", "checkpoint"))
    for (own, own_rate), (full, full_rate) in zip(*pairs):
      error = np.linalg.norm(own - full) / np.linalg.norm(full)
      cosine = np.vdot(own, full) / np.linalg.norm(own) / np.linalg.norm(full)
      figures.append([error, cosine, own_rate / full_rate])
    rows[num_steps] = np.median(figures, axis=0).tolist()
    print(
      f"{num_steps:>6}{rows[num_steps][0]:>10.3f}{rows[num_steps][1]:>10.4f}{rows[num_steps][2]:>14.3f}"
    )
  print(json.dumps({"ipc": _IPC.value, "rows": rows}))


if __name__ == "__main__":
  app.run(main)
