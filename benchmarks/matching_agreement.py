"""Loss curves of DM, DSA, DC and IDC beside those of plain PyTorch steps, on CIFAR-10.

  python -m benchmarks.matching_agreement [--case=dm|dsa|dc|idc] [--steps=N] [--ipc=N] [--width=N]

Both sides begin with the same images; at every step PyTorch gets our network's weights, our real
batch and our siamese draws, and moves its own images by its own optimiser. What is compared is the
loss of every step and, after the last, the images. The gradient of the first step is held against
the same in PyTorch's float64 too: how far rounding carries either side. Published settings; the
data come through TFDS.
"""

import functools
import itertools
import json
import sys

from absl import app, flags
import jax
import numpy as np

from benchmarks import harness
from configs import dc, dm, dsa, idc
from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data, make_data_split
from ddjax.distillers.class_batches import draw_class_batches, draw_siamese
from ddjax.models.build import build
from ddjax.registry import DISTILLERS

try:
  from benchmarks import torch_matching
except ImportError as error:
  sys.exit(f"Error: {error}")

_CASE = flags.DEFINE_enum("case", None, ["dm", "dsa", "dc", "idc"], "Which; all by default.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps; 50 of DM and IDC, 20 of DSA and DC.")
_IPC = flags.DEFINE_integer("ipc", 1, "Images per class.", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 128, "Of the networks.", lower_bound=1)

CONFIGS = {"dm": dm, "dsa": dsa, "dc": dc, "idc": idc}
NUM_STEPS = {"dm": 50, "dsa": 20, "dc": 20, "idc": 50}


def _torch_draws(draws: siamese.Draws, augmentation: siamese.Augmentation) -> list:
  """One draw for each class, as PyTorch applies it."""
  values = {name: np.asarray(leaf) for name, leaf in vars(draws).items()}
  made = []
  for label in range(len(values["angle"])):
    own = {name: value[label] for name, value in values.items()}
    if augmentation.mode == "idc":  # these three, where only one may be drawn
      ops = tuple(name for name in ("color", "crop", "cutout") if name in augmentation.ops)
    else:
      ops = (augmentation.ops[int(own["drawn"])],) if augmentation.ops else ()
    made.append(torch_matching.TorchDraw(ops, own))
  return made


class _Theirs:
  """The PyTorch side of a method: its images, its optimiser, its loss."""

  def __init__(self, case, config, images, data, max_value, dtype="float32"):
    torch = torch_matching.torch
    self._case, self._config, self._dtype = case, config, getattr(torch, dtype)
    self._mean, self._std = (
      self._to_torch(np.asarray(x)[None, None] / max_value) for x in (data.mean, data.std)
    )
    learned = images.reshape(data.class_index.shape[0], -1, *images.shape[1:])
    self.images = self._to_torch(learned).requires_grad_()
    outer = config.outer
    self._optimizer = torch.optim.SGD(
      [self.images], lr=outer.learning_rate, momentum=outer.momentum
    )
    self._network = torch_matching.TorchConvNet(10, config.network.width).to(self._dtype)

  def _to_torch(self, images):
    return torch_matching.to_torch(images).to(self._dtype)

  def gradient(self) -> np.ndarray:
    """Of the images in the last step, f[k n h w c]."""
    return np.moveaxis(self.images.grad.numpy(), -3, -1)

  def step(self, params, real, draws, is_first: bool) -> float:
    """One update; the loss before it."""
    torch = torch_matching.torch
    torch_matching.load_parameters(self._network, params)
    batches = list(self._to_torch(real))
    images = self.images
    if self._case == "idc":
      if is_first:
        with torch.no_grad():
          images.clamp_(0, 1)
      seen = (images - self._mean) / self._std
      factor = self._config.synthetic.factor
      seen = torch.stack([torch_matching.decode(one, factor) for one in seen])
      loss = torch_matching.gradient_loss(
        self._network, batches, seen, draws, torch_matching.squared, only_convolutions=True
      )
    elif self._case == "dm":
      self._network.requires_grad_(False)
      loss = torch_matching.dm_loss(self._network, batches, images, draws)
    else:
      loss = torch_matching.gradient_loss(
        self._network, batches, images, draws, torch_matching.row_cosine
      )
    self._optimizer.zero_grad()
    loss.backward()
    self._optimizer.step()
    return float(loss)


def _draws_of_step(case, config, info, network, state, after, data):
  """(parameters, batch, siamese draws) of the step that led from one state to the next."""
  rng = jax.random.fold_in(state.rng, state.step)
  augmentation = siamese.parse(config.augmentation, "idc" if case == "idc" else "single")
  example = np.zeros((1, *info.image_shape), np.float32)
  if case == "dm":
    network_rng, batch_rng, augment_rng = jax.random.split(rng, 3)
    variables = network.init(jax.random.split(network_rng)[0], example)
  else:
    fresh_rng, _, batch_rng, augment_rng, _ = jax.random.split(rng, 5)
    if case == "idc":
      variables = jax.tree.map(lambda leaf: leaf[0], after.extra.variables)
    elif after.extra is not None:
      variables = after.extra
    else:
      variables = network.init(fresh_rng, example)
  batch = draw_class_batches(batch_rng, data, config.outer.real_batch_size)
  draws = draw_siamese(augment_rng, augmentation, info.num_classes, info.image_shape)
  return variables["params"], batch, _torch_draws(draws, augmentation)


def _compare(case: str, num_steps: int, ipc: int, width: int) -> dict[str, object]:
  """Runs both sides; losses, and the largest relative differences."""
  config = CONFIGS[case].get_config(f"cifar10,ipc={ipc},width={width}")
  real = load_real_data(config.data)
  data = jax.device_put(make_data_split(real))
  distiller = DISTILLERS[case](config, real.info)
  network = build(config.network.name, num_classes=real.info.num_classes, width=width)
  state = jax.jit(distiller.init)(jax.random.key(0), data)
  start = np.asarray(state.synthetic.images)
  theirs = _Theirs(case, config, start, data, real.max_value)
  step = jax.jit(distiller.step)
  draws_of_step = functools.partial(_draws_of_step, case, config, real.info, network)
  losses = []
  for number in range(num_steps):
    after, metrics = step(state, data, 0)
    params, batch, draws = draws_of_step(state, after, data)
    seen = np.asarray(standardise(data.images[batch.index], data))
    is_first = case == "idc" and number % config.outer.inner_loop == 0
    losses.append((float(metrics["loss"]), theirs.step(params, seen, draws, is_first)))
    state = after
    if number == 0:
      exact = _Theirs(case, config, start, data, real.max_value, "float64")
      exact.step(params, seen, draws, is_first)
      moved = np.asarray(after.synthetic.images) - start
      rounding = _of_first_gradient(-moved / config.outer.learning_rate, theirs, exact)
    print(f"{case} step {number + 1}: ours {losses[-1][0]:.6g}, PyTorch {losses[-1][1]:.6g}")
  own, other = np.array(losses).T
  moved = np.asarray(state.synthetic.images).reshape(theirs.images.shape[0], ipc, *start.shape[1:])
  moved_there = np.moveaxis(theirs.images.detach().numpy(), -3, -1)
  change = np.linalg.norm(moved - start.reshape(moved.shape))
  return {
    "num_steps": num_steps,
    "first_loss": float(own[0]),
    "last_loss": float(own[-1]),
    "largest_relative_difference_of_loss": float(np.max(np.abs(own - other) / other)),
    "difference_of_images_over_change": float(np.linalg.norm(moved - moved_there) / change),
    "relative_difference_of_first_gradient": rounding,
  }


def _of_first_gradient(ours: np.ndarray, theirs: _Theirs, exact: _Theirs) -> dict[str, float]:
  """How far the gradients f[k n h w c] in float32 lie from each other, and from float64's."""
  gradients = {"ours": ours, "PyTorch": theirs.gradient(), "float64": exact.gradient()}
  size = np.linalg.norm(gradients["float64"])
  return {
    f"{a} from {b}": float(
      np.linalg.norm(gradients[a].reshape(-1) - gradients[b].reshape(-1)) / size
    )
    for a, b in itertools.combinations(gradients, 2)
  }


def main(_) -> None:
  """Compares the methods; the last line is JSON."""
  harness.use_device()
  results = {}
  for case in CONFIGS:
    if _CASE.value in (None, case):
      num_steps = _STEPS.value or NUM_STEPS[case]
      results[case] = _compare(case, num_steps, _IPC.value, _WIDTH.value)
      print(case, results[case])
  print(json.dumps(results))


if __name__ == "__main__":
  app.run(main)
