"""Arrays for tests, drawn by NumPy: what needs no compiling costs no time."""

import jax
import numpy as np


def draw(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def draw_variables(network, x):
  """Variables as `network.init` shapes them, with scales, shifts and statistics drawn as well."""
  rng = np.random.default_rng(1)

  def of(path, leaf):
    name = path[-1].key
    if name == "kernel":
      return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
    return rng.normal(name in ("scale", "var"), 0.1, leaf.shape).astype(np.float32)

  shapes = jax.eval_shape(network.init, jax.random.key(0), x)
  return jax.tree.map_with_path(of, shapes)
