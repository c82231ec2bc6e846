"""One table of methods that every protocol test runs over; a new method adds a row."""

import functools
from typing import Any, NamedTuple

import jax
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict
import numpy as np
import optax

from configs import (
  coreset,
  datm,
  dc,
  dm,
  dp_dm,
  dp_kip,
  dsa,
  fairdd,
  frepo,
  idc,
  mtt,
  ncfm,
  robust_dm,
  robust_kip,
)  # fmt: skip
from ddjax.config import groups
from ddjax.data.load import load_real_data, make_data_split
from ddjax.models.build import build
from ddjax.registry import DISTILLERS
from ddjax.training import parallel, trainer


class Case(NamedTuple):
  """A method at toy size.

  Attributes:
    name: of the case.
    method: name in the registry.
    changes: {dotted field: value} of its config.
    loss_ratio: what the loss falls below in 40 steps, as a share of where it began; None where it
      is of several kinds.
    is_slow: whether it runs with the slow tests: its programs take long to compile.
  """

  name: str
  method: str
  changes: dict[str, Any]
  loss_ratio: float | None = 0.8
  is_slow: bool = False


# What compiles fast, and begins far from its goal.
_SMALL = {"network.name": "mlp", "augmentation": "crop_scale", "synthetic.init": "noise"}
_SMALL_IDC = {
  "network.name": "convnet(depth=1)",
  "augmentation": "crop",
  "synthetic.init": "noise",
  "outer.learning_rate": 0.1,
}
_SMALL_FREPO = {
  # A bias before a norm has a gradient of rounding alone, to whose sign Adam gives a full step.
  "network.name": "convnet(depth=1,norm=none)",
  "network.width": 8,  # fewer features than prototypes would be a singular kernel
  "synthetic.init": "noise",
  "pool.online_steps": 2,
  "outer.learning_rate": 0.03,
}

CASES = [
  Case("kip", "kip", {}),
  Case(
    "kip every option",
    "kip",
    {
      "kernel.engine": "closed_form",
      "synthetic.learn_labels": True,
      "synthetic.init": "noise",
      "outer.schedule": "cosine",
      "augment.fraction": 0.5,
      "augment.flip": True,
      "augment.max_shift": 1,
      "augment.max_rotation": 10.0,
      "augment.channel_shift": 0.1,
    },
  ),
  # From noise: among real images its system is so ill-conditioned that it magnifies rounding.
  Case("kip conv", "kip", {"kernel.family": "conv", "synthetic.init": "noise"}),
  # Its loss is the fit to the blocks so far.
  Case("label_solve", "label_solve", {"kernel.engine": "closed_form"}, None),
  # Two steps of training, then choices.
  Case("coreset", "coreset", {"coreset.method": "herding"}, None),
  Case("dm", "dm", _SMALL | {"outer.learning_rate": 4.0}, 0.9),
  Case(
    "dm every option",
    "dm",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "synthetic.init": "kmeans",
      "outer.num_networks": 2,
      "classes_at_once": 2,
      "outer.real_batch_size": 8,
    },
    None,  # it begins where DM leads to
    is_slow=True,
  ),
  # A little noise, so that the loss falls; its own loss is against noised means.
  Case(
    "dp_dm",
    "dp_dm",
    _SMALL | {"outer.learning_rate": 4.0, "guarantee.epsilon": 1000.0, "guarantee.clip_norm": 3.0},
    0.9,
  ),
  # Its metrics have no loss, which would be of real examples without noise.
  Case("dp_kip", "dp_kip", {}, None),
  Case(
    "dp_kip every option",
    "dp_kip",
    {
      "synthetic.learn_labels": True,
      "outer.schedule": "cosine",
      "outer.target_batch_size": 64,
      "augment.fraction": 0.5,
      "augment.max_shift": 1,
      "memory_budget_gb": 1e-3,
      "guarantee.noise_seed": 2**63 + 5,
    },
    None,
    is_slow=True,
  ),
  Case("dsa", "dsa", _SMALL | {"outer.outer_loop": 2, "outer.inner_loop": 1}, 0.9),
  Case(
    "dsa every option",
    "dsa",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "augmentation": "color_cutout_rotate",
      "synthetic.learn_labels": True,
      "classes_at_once": 1,
      "outer.outer_loop": 3,
      "outer.inner_loop": 2,
      "outer.network_batch_size": 5,
    },
    1.0,
    is_slow=True,
  ),
  Case("dc", "dc", {"network.name": "mlp"}, 0.9, is_slow=True),
  Case("idc", "idc", _SMALL_IDC, 0.8, is_slow=True),
  Case(
    "idc-i",
    "idc",
    _SMALL_IDC | {"synthetic.factor": 1, "synthetic.learn_labels": True},
    0.8,
    is_slow=True,
  ),
  Case(
    "mtt",
    "mtt",
    {
      "network.name": "mlp",
      "augmentation": "crop",
      "outer.student_learning_rate": 0.1,
      "outer.learning_rate": 20.0,
      "outer.num_segments": 4,
    },
    0.95,
  ),
  Case(
    "mtt every option",
    "mtt",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "augmentation": "color_crop",
      "unroll": "constant",
      "synthetic.learn_labels": True,
      "outer.num_segments": 4,
      "outer.student_batch_size": 3,
      "outer.growth_steps": 3,
      "outer.image_ema_decay": 0.5,
    },
    None,  # random experts have nothing to teach
    is_slow=True,
  ),
  # Before its experts give labels: those of one-hot, as in every test of a distiller alone.
  Case(
    "datm",
    "datm",
    {
      "network.name": "mlp",
      "augmentation": "crop",
      "outer.student_learning_rate": 0.1,
      "outer.learning_rate": 20.0,
      "outer.num_segments": 4,
      "outer.loss_threshold": 1.5,
    },
    0.95,
  ),
  # Colours are groups, of which a batch has up to four.
  Case("fairdd", "fairdd", _SMALL | {"outer.learning_rate": 16.0}, 0.9),
  Case(
    "fairdd of gradients",
    "fairdd",
    _SMALL | {"fair.base": "dsa", "outer.real_batch_size": 8},
    None,
    is_slow=True,
  ),
  Case("robust_kip", "robust_kip", {"synthetic.init": "noise", "robust.epsilon": 0.1}),
  Case(
    "robust_kip every option",
    "robust_kip",
    {
      "data.preprocessing": "zca_frepo",
      "synthetic.init": "noise",
      "augment.fraction": 0.5,
      "augment.flip": True,
      "augment.max_shift": 1,
      "augment.max_rotation": 10.0,
      "augment.channel_shift": 0.1,
      "robust.num_steps": 3,
      "robust.relative_step": 0.5,
    },
    0.9,  # of so few examples whitening magnifies what the adversary does
    is_slow=True,
  ),
  Case("robust_dm", "robust_dm", _SMALL | {"outer.learning_rate": 4.0, "robust.num_steps": 3}, 0.9),
  Case(
    "robust_dm every option",
    "robust_dm",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "data.preprocessing": "zca_kornia",
      "outer.learning_rate": 0.01,
      "outer.num_networks": 2,
      "classes_at_once": 2,
      "outer.real_batch_size": 8,
      "robust.num_steps": 3,
    },
    None,  # it begins where DM leads to
    is_slow=True,
  ),
  Case("ncfm", "ncfm", _SMALL | {"synthetic.factor": 1}, 0.9),
  Case(
    "ncfm every option",
    "ncfm",
    {
      "network.name": "convnet(depth=1,norm=batch)",
      "augmentation": "color_crop_cutout",
      "outer.amplitude_weight": 0.25,
      "outer.patience": 1,
      "outer.calibration_weight": 25.0,
    },
    None,  # grids of real images are close already
    is_slow=True,
  ),
  # Networks begin anew after three updates, so they do within the steps of most tests.
  Case("frepo", "frepo", _SMALL_FREPO),
  Case(
    "frepo every option",
    "frepo",
    _SMALL_FREPO
    | {
      "network.name": "frepo_convnet(depth=2,norm=batch)",
      "synthetic.learn_labels": False,
      "synthetic.use_flips": True,
      "pool.batch_size": 3,
      "outer.schedule": "constant",
      "outer.learning_rate": 0.01,
    },
    is_slow=True,
  ),
]
_CONFIGS = {
  "datm": datm, "dc": dc, "dm": dm, "dp_dm": dp_dm, "dp_kip": dp_kip, "dsa": dsa,
  "fairdd": fairdd, "frepo": frepo, "idc": idc, "mtt": mtt, "ncfm": ncfm, "robust_dm": robust_dm,
  "robust_kip": robust_kip,
}  # fmt: skip


def make_config(case: Case) -> ConfigDict:
  """A config of the case on the fake data set."""
  if case.method in _CONFIGS:
    base = case.changes.get("fair.base")
    words = f",base={base}" if base else ""
    config = _CONFIGS[case.method].get_config(f"fake,ipc=2{words}")
    config.update_from_flattened_dict(case.changes)
    return config
  config = groups.base(case.method, "fake")
  config.kernel = groups.kernel("fc", 1)
  config.update(groups.kip(ipc=2, num_steps=20, learning_rate=0.02, target_batch_size=32))
  if case.method == "coreset":
    config.coreset = coreset.get_config("fake").coreset
    config.coreset.update(dict(network="mlp", width=1, num_epochs=1, batch_size=32))
  config.update_from_flattened_dict(case.changes)
  return config


def make_distiller(case: Case, axis_name=None):
  """(distiller, data on the host, info)."""
  config = make_config(case)
  real = load_real_data(config.data)
  distiller = DISTILLERS[case.method](config, real.info, axis_name=axis_name)
  data = make_data_split(real, with_pixels=distiller.needs_pixels)
  return distiller, data, real.info


def initial_state(distiller, data):
  """The state at step 0, of key 0."""
  return jax.jit(distiller.init)(jax.random.key(0), data)


def initial_variables(network, rng, shape):
  """Variables of a network for images of this shape, compiled as one program."""
  return jax.jit(network.init)(rng, np.zeros((1, *shape), np.float32))


class Experts:
  """Trajectories of the case's network, in memory: gradient descent on the whole real set."""

  num_experts, num_epochs = 2, 3

  def __init__(self, case: Case):
    config = make_config(case)
    network = config.network.name, config.network.width
    self._paths = [_descend(*network, expert, self.num_epochs) for expert in range(2)]

  def read(self, expert: int, epoch: int) -> np.ndarray:
    return self._paths[expert][epoch]


@functools.cache
def _descend(name: str, width: int, expert: int, num_epochs: int) -> list[np.ndarray]:
  """Parameters f32[p] of an expert, three steps of gradient descent an epoch."""
  config = make_config(Case("", "mtt", {}))
  real = load_real_data(config.data)
  data = make_data_split(real)
  images = (data.images - data.mean) / data.std
  network = build(name, num_classes=real.info.num_classes, width=width)
  variables = initial_variables(network, jax.random.key(expert), real.info.image_shape)
  flat, unravel = ravel_pytree(variables["params"])

  @jax.jit
  def epoch(flat):
    def loss(flat):
      logits, _ = network.apply(
        variables | {"params": unravel(flat)}, images, is_training=True, mutable=["batch_stats"]
      )
      return optax.softmax_cross_entropy_with_integer_labels(logits, data.labels).mean()

    for _ in range(3):
      flat = flat - 0.1 * jax.grad(loss)(flat)
    return flat

  path = [flat]
  for _ in range(num_epochs):
    path.append(epoch(path[-1]))
  return [np.asarray(flat) for flat in path]


def make_shards(case: Case, distiller, state, step: int, count: int, length: int, layout):
  """What a program gets as `shard` for `count` steps: device numbers, or host batches."""
  if distiller.batch_at is None:
    return parallel.device_numbers(layout)
  seeds = trainer.seeds_of(state)
  span = trainer.Span(step, count, length)
  return trainer.host_batches(distiller, (Experts(case),), seeds, span, layout)
