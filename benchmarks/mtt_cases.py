"""What the benchmarks of MTT measure: cases at published width, and experts in memory."""

import jax
from jax.flatten_util import ravel_pytree
import numpy as np

from configs import mtt
from ddjax.models.build import build

CASES = {"ipc1": (1, 50), "ipc10": (10, 10)}
"""{name: (images per class, student steps)}."""
NUM_CLASSES, SHAPE, WIDTH = 10, (32, 32, 3), 128


class RandomExperts:
  """Trajectories between random parameters of the benchmark's network."""

  num_experts, num_epochs = 100, 50

  def __init__(self):
    network = build("convnet", num_classes=NUM_CLASSES, width=WIDTH)
    image = np.zeros((1, *SHAPE), np.float32)
    keys = jax.random.split(jax.random.key(0))
    self._ends = [np.asarray(ravel_pytree(network.init(key, image)["params"])[0]) for key in keys]

  def read(self, expert: int, epoch: int) -> np.ndarray:
    del expert
    return self._ends[epoch % 2]


def make_config(case: str, unroll: str, policy: str = "", num_steps: int = 0):
  """The config of a case; `num_steps` student steps, 0 for those of the case."""
  ipc, own_steps = CASES[case]
  config = mtt.get_config(f"cifar10,ipc={ipc}")
  config.unroll, config.checkpoint_policy = unroll, policy
  config.outer.update(
    dict(student_steps=num_steps or own_steps, expert_epochs=1, max_start_epoch=10)
  )
  return config
