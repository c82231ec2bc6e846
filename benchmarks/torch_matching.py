"""Steps of DM, DSA and IDC as plain PyTorch: what ours are timed against, and held against.

Written as the released codes go about it: class after class, each with one large real batch, one
graph for all classes and one backward pass. Weights, real images and siamese draws can be handed
over, so that a step here and one of ours compute the same numbers.
"""

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from benchmarks import torch_training
from benchmarks.torch_training import TorchConvNet, torch

import torch.nn.functional as F  # isort: skip  after the message of torch_training, if it is missing


class TorchDraw(NamedTuple):
  """One siamese draw as Python numbers, shared by a batch.

  Attributes:
    ops: the operations to apply, in order.
    values: {name: value} as in `ddjax.augment.siamese.Draws`.
  """

  ops: tuple[str, ...]
  values: Mapping[str, Any]


def load_parameters(network: TorchConvNet, params: Mapping[str, Any]) -> None:
  """Gives a network our parameters: kernels [s s c o], readout rows in the order h, w, c."""
  convs = [layer for layer in network.features if isinstance(layer, torch.nn.Conv2d)]
  norms = [layer for layer in network.features if isinstance(layer, torch.nn.GroupNorm)]
  with torch.no_grad():
    for block, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
      kernel = np.asarray(params[f"conv_{block}"]["kernel"])
      conv.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
      conv.bias.copy_(torch.from_numpy(np.array(params[f"conv_{block}"]["bias"])))
      norm.weight.copy_(torch.from_numpy(np.array(params[f"norm_{block}"]["scale"])))
      norm.bias.copy_(torch.from_numpy(np.array(params[f"norm_{block}"]["bias"])))
    rows = np.asarray(params["readout"]["kernel"])
    width = convs[-1].out_channels
    side = round((rows.shape[0] / width) ** 0.5)
    rows = rows.reshape(side, side, width, -1).transpose(3, 2, 0, 1).reshape(rows.shape[1], -1)
    network.readout.weight.copy_(torch.from_numpy(rows.copy()))
    network.readout.bias.copy_(torch.from_numpy(np.array(params["readout"]["bias"])))


def to_torch(images: np.ndarray) -> torch.Tensor:
  """f32[... h w c] -> f32[... c h w]."""
  return torch.from_numpy(np.moveaxis(np.asarray(images, np.float32), -1, -3).copy())


def augment(x: torch.Tensor, draw: TorchDraw) -> torch.Tensor:
  """Applies one draw to all of f32[b c h w]."""
  for name in draw.ops:
    x = _OPERATIONS[name](x, draw.values)
  return x


def random_draw(strategy: str) -> TorchDraw:
  """One operation with parameters of its own, as the released DSA draws them; side 32."""
  names = strategy.split("_")
  name = names[int(torch.randint(len(names), (), device="cpu"))]
  uniform = np.random.uniform
  values = {
    "is_flipped": uniform() < 0.5,
    "scale": uniform(1 / 1.2, 1.2, 2),
    "angle": np.deg2rad(uniform(-15, 15)),
    "crop": np.random.randint(-4, 5, 2),
    "cutout": np.random.randint(0, 33, 2),
    "brightness": uniform(-0.5, 0.5),
    "saturation": uniform(0, 2),
    "contrast": uniform(0.5, 1.5),
  }
  return TorchDraw((name,), values)


def dm_loss(
  network: TorchConvNet,
  real: Sequence[torch.Tensor],
  synthetic: torch.Tensor,
  draws: Sequence[TorchDraw],
) -> torch.Tensor:
  """Sum over classes of the squared distance of mean features.

  Args:
    network: whose features are matched; parameters without gradient.
    real: f32[b c h w] of each class.
    synthetic: f32[k n c h w].
    draws: of each class.
  """
  loss = torch.zeros(())
  for images, learned, draw in zip(real, synthetic, draws, strict=True):
    with torch.no_grad():
      target = network.features(augment(images, draw)).flatten(1).mean(0)
    features = network.features(augment(learned, draw)).flatten(1).mean(0)
    loss = loss + ((target - features) ** 2).sum()
  return loss


def gradient_loss(
  network: TorchConvNet,
  real: Sequence[torch.Tensor],
  synthetic: torch.Tensor,
  draws: Sequence[TorchDraw],
  distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
  only_convolutions: bool = False,
) -> torch.Tensor:
  """Sum over classes of the distance of gradients; arguments as `dm_loss`."""
  weights = [
    weight
    for weight in network.parameters()
    if weight.ndim == 4 or (weight.ndim == 2 and not only_convolutions)
  ]
  loss = torch.zeros(())
  for label, (images, learned, draw) in enumerate(zip(real, synthetic, draws, strict=True)):
    labels = torch.full((len(images),), label)
    target = torch.autograd.grad(F.cross_entropy(network(augment(images, draw)), labels), weights)
    labels = torch.full((len(learned),), label)
    own = torch.autograd.grad(
      F.cross_entropy(network(augment(learned, draw)), labels), weights, create_graph=True
    )
    loss = loss + sum(distance(a, b.detach()) for a, b in zip(own, target, strict=True))
  return loss


def trajectory_loss(
  network: TorchConvNet,
  start: Sequence[torch.Tensor],
  target: Sequence[torch.Tensor],
  images: torch.Tensor,
  labels: torch.Tensor,
  rate: torch.Tensor,
  draws: Sequence[TorchDraw],
) -> torch.Tensor:
  """The loss of MTT: a student trained for as many steps as there are draws, on all images.

  Args:
    network: whose layers are used; its own parameters are not.
    start: the expert's parameters to begin with, in the order of `network.parameters()`.
    target: those to arrive at.
    images: f32[n c h w].
    labels: i64[n].
    rate: the student's learning rate.
    draws: augmentation of each step.
  """
  names = [name for name, _ in network.named_parameters()]
  student = [value.clone().requires_grad_() for value in start]
  for draw in draws:
    parameters = dict(zip(names, student, strict=True))
    logits = torch.func.functional_call(network, parameters, augment(images, draw))
    loss = F.cross_entropy(logits, labels)
    slopes = torch.autograd.grad(loss, student, create_graph=True)
    student = [value - rate * slope for value, slope in zip(student, slopes, strict=True)]
  missed, moved = (
    sum(((a - b) ** 2).sum() for a, b in zip(values, target, strict=True))
    for values in (student, start)
  )
  return missed / moved


def row_cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
  """Sum over output units of one minus the cosine."""
  a, b = a.flatten(1), b.flatten(1)
  return (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()


def squared(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
  """Sum of squared differences."""
  return ((a - b) ** 2).sum()


def decode(images: torch.Tensor, factor: int) -> torch.Tensor:
  """Cells of f32[n c h w] at full size, by place in the grid, then by image."""
  if factor == 1:
    return images
  side = images.shape[-1] // factor
  cells = [
    images[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
    for i in range(factor)
    for j in range(factor)
  ]
  return F.interpolate(torch.cat(cells), scale_factor=factor, mode="bilinear", align_corners=False)


def _flip(x, values):
  return x.flip(3) if values["is_flipped"] else x


def _scale(x, values):
  rows, columns = (float(v) for v in values["scale"])
  linear = torch.tensor([[columns, 0.0], [0.0, rows]], dtype=x.dtype)
  return torch_training._resample(x, linear.expand(len(x), 2, 2))


def _rotate(x, values):
  angle = float(values["angle"])
  cos, sin = np.cos(angle), np.sin(angle)
  linear = torch.tensor([[cos, -sin], [sin, cos]], dtype=x.dtype)
  return torch_training._resample(x, linear.expand(len(x), 2, 2))


def _crop(x, values):
  down, right = (int(v) for v in values["crop"])
  reach = max(abs(down), abs(right))
  padded = F.pad(x, (reach, reach, reach, reach))
  height, width = x.shape[2:]
  return padded[:, :, reach + down : reach + down + height, reach + right : reach + right + width]


def _cutout(x, values):
  height, width = x.shape[2:]
  row = torch.arange(height) - int(values["cutout"][0])
  column = torch.arange(width) - int(values["cutout"][1])
  in_rows = (-(height // 4) <= row) & (row < height // 4)
  in_columns = (-(width // 4) <= column) & (column < width // 4)
  return x * ~(in_rows[:, None] & in_columns[None])


def _color(x, values):
  x = x + float(values["brightness"])
  grey = x.mean(1, keepdim=True)
  x = (x - grey) * float(values["saturation"]) + grey
  mean = x.mean((1, 2, 3), keepdim=True)
  return (x - mean) * float(values["contrast"]) + mean


_OPERATIONS = {
  "flip": _flip,
  "scale": _scale,
  "rotate": _rotate,
  "crop": _crop,
  "cutout": _cutout,
  "color": _color,
}
