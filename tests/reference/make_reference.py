"""Makes the npz files beside it, with which tests compare ours. Run where PyTorch is installed:

  pip install torch==2.13.0   # the CPU build, see requirements-bench.txt
  python tests/reference/make_reference.py

PyTorch computes in float64; what is stored is float32, in our layout: images [b h w c], kernels
[s s c o], linear layers [inputs, outputs] with the inputs in the order h, w, c.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

NUM_CLASSES = 5


class ConvNet(torch.nn.Module):
  """Blocks of 3x3 convolution, norm, ReLU and 2x2 average pool, then a linear layer."""

  def __init__(self, image_shape, width, depth, norm):
    super().__init__()
    side, _, channels = image_shape
    self.convs, self.norms = torch.nn.ModuleList(), torch.nn.ModuleList()
    for block in range(depth):
      padding = 3 if block == 0 and side == 28 else 1
      self.convs.append(torch.nn.Conv2d(channels, width, 3, padding=padding))
      self.norms.append(
        torch.nn.BatchNorm2d(width) if norm == "batch" else torch.nn.GroupNorm(width, width)
      )
      channels, side = width, (side + 2 * padding - 2) // 2
    self.grid = (width, side, side)
    self.readout = torch.nn.Linear(math.prod(self.grid), NUM_CLASSES)
    for norm_layer in self.norms:
      torch.nn.init.normal_(norm_layer.weight, 1.0, 0.2)
      torch.nn.init.normal_(norm_layer.bias, 0.0, 0.2)

  def forward(self, x):
    x = x.permute(0, 3, 1, 2)
    for conv, norm in zip(self.convs, self.norms, strict=True):
      x = F.avg_pool2d(F.relu(norm(conv(x))), 2)
    return self.readout(x.flatten(1))

  def in_our_layout(self, values=None):
    """{path: array} of the parameters, or of `values`, one for each parameter in order."""
    names = [name for name, _ in self.named_parameters()]
    values = dict(zip(names, self.parameters() if values is None else values, strict=True))
    out = {}
    for block in range(len(self.convs)):
      out[f"conv_{block}/kernel"] = values[f"convs.{block}.weight"].permute(2, 3, 1, 0)
      out[f"conv_{block}/bias"] = values[f"convs.{block}.bias"]
      out[f"norm_{block}/scale"] = values[f"norms.{block}.weight"]
      out[f"norm_{block}/bias"] = values[f"norms.{block}.bias"]
    rows = values["readout.weight"].unflatten(1, self.grid).permute(2, 3, 1, 0)
    out["readout/kernel"] = rows.flatten(0, 2)
    out["readout/bias"] = values["readout.bias"]
    return {path: value.detach().clone() for path, value in out.items()}


def _coarse(*shape):
  """Normal values in steps of 1/64, so that the files are small."""
  return torch.round(64 * torch.randn(shape)) / 64


def _draw(image_shape, num_images, std=1.0):
  """Random images and labels; at a small std the epsilon of the first norm shows."""
  images = std * _coarse(num_images, *image_shape)
  return images, torch.randint(NUM_CLASSES, (num_images,))


def _save(name, values):
  """Writes float32 and int32 arrays; nested names are joined by "/"."""
  flat = {}

  def flatten(path, value):
    if isinstance(value, dict):
      for key, inner in value.items():
        flatten(f"{path}/{key}" if path else key, inner)
    else:
      array = value.detach().numpy()
      dtype = np.float32 if array.dtype.kind == "f" else np.int32
      flat[path] = np.array(array, dtype, order="C")

  flatten("", values)
  np.savez_compressed(Path(__file__).parent / f"{name}.npz", **flat)


def convnet(name, image_shape, std):
  """ConvNet-3: values, gradients, and the image gradient of the squared norm of the gradient."""
  network = ConvNet(image_shape, width=4, depth=3, norm="instance")
  images, labels = _draw(image_shape, 3, std)
  images.requires_grad_()
  logits = network(images)
  loss = F.cross_entropy(logits, labels)
  *gradient, of_images = torch.autograd.grad(
    loss, [*network.parameters(), images], create_graph=True
  )
  squared_norm = sum((leaf**2).sum() for leaf in gradient)
  (second,) = torch.autograd.grad(squared_norm, images)
  _save(
    name,
    dict(
      params=network.in_our_layout(),
      images=images,
      labels=labels,
      logits=logits,
      loss=loss,
      gradient=network.in_our_layout(gradient),
      gradient_of_images=of_images,
      squared_norm=squared_norm,
      second_gradient_of_images=second,
    ),
  )


def batch_norm():
  """Two batches in training mode: logits and gradients of each, statistics after both."""
  network = ConvNet((8, 8, 3), width=4, depth=2, norm="batch")
  out = dict(params=network.in_our_layout())
  for number in range(2):
    images, labels = _draw((8, 8, 3), 4, std=0.1 + number)
    images += number
    logits = network(images)
    gradient = torch.autograd.grad(F.cross_entropy(logits, labels), list(network.parameters()))
    out |= {
      f"images_{number}": images,
      f"labels_{number}": labels,
      f"logits_{number}": logits,
      f"gradient_{number}": network.in_our_layout(gradient),
    }
  for block, norm in enumerate(network.norms):
    out[f"mean_{block}"], out[f"variance_{block}"] = norm.running_mean, norm.running_var
  network.eval()
  _save("batch_norm", out | dict(logits_in_evaluation=network(images)))


def optimizers():
  """Parameters after each of six steps on one batch.

  A ConvNet with SGD, which begins anew, momentum and all, at a tenth of its rate after three steps.
  A linear layer with Adam, whose rate falls by a cosine to zero over eight. (Adam would blow up the
  rounding of a bias before a norm, whose gradient is zero.)
  """
  images, labels = _draw((8, 8, 1), 6)
  network = ConvNet((8, 8, 1), width=2, depth=1, norm="instance")
  sgd = {"start": network.in_our_layout()}
  steps = []
  for rate in (0.01, 0.001):
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
      _step(network, optimizer, images, labels)
      steps.append(network.in_our_layout())
  sgd["steps"] = {path: torch.stack([after[path] for after in steps]) for path in steps[0]}

  linear = torch.nn.Linear(64, NUM_CLASSES, bias=False)
  adam = dict(start=linear.weight.T.detach().clone(), steps=[])
  optimizer = torch.optim.Adam(linear.parameters(), lr=0.01)
  schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
  for _ in range(6):
    _step(linear, optimizer, images.flatten(1), labels)
    schedule.step()
    adam["steps"].append(linear.weight.T.detach().clone())
  _save(
    "optimizers",
    dict(images=images, labels=labels, sgd=sgd, adam=adam | dict(steps=torch.stack(adam["steps"]))),
  )


def _step(network, optimizer, images, labels):
  optimizer.zero_grad()
  F.cross_entropy(network(images), labels).backward()
  optimizer.step()


def initial_values():
  """Greatest magnitude and standard deviation of freshly made layers of many weights."""
  out = {}
  layers = {
    "conv_0": torch.nn.Conv2d(4, 1024, 3),
    "readout": torch.nn.Linear(1024, 1024),
  }
  for name, layer in layers.items():
    for kind, values in (("kernel", layer.weight), ("bias", layer.bias)):
      out[f"{name}/{kind}"] = torch.stack([values.abs().max(), values.std()])
  _save("initial_values", out)


# Parameters of the augmentations, in the terms of Zhao and Bilen's definitions: what scale and
# rotate multiply the output's coordinates by, source = image[row + shift], the centre of the
# square, and u in [0, 1].
AUGMENTATIONS = dict(
  scale=(0.87, 1.13),  # x, y
  rotate=-11.5,  # degrees
  crop=(-1, 1),  # rows, columns
  cutout=(5, 2),  # row, column of the centre
  brightness=0.81,
  saturation=0.23,
  contrast=0.9,
)


def augmentations():
  """Every operation on a colour, a grey and an oblong image; of the small ones also the gradient.

  The gradient is that of sum(output * cotangent).
  """
  out = {f"parameters/{name}": torch.tensor(value) for name, value in AUGMENTATIONS.items()}
  for name, shape in dict(rgb=(32, 32, 3), grey=(8, 8, 1), oblong=(10, 7, 3)).items():
    image, cotangent = _coarse(*shape).requires_grad_(), _coarse(*shape)
    out[f"{name}/image"] = image
    for operation, value in AUGMENTATIONS.items():
      result = globals()[f"_{operation}"](image, value)
      out[f"{name}/output/{operation}"] = result
      if name != "rgb":
        (gradient,) = torch.autograd.grad(result, image, cotangent)
        out |= {f"{name}/cotangent": cotangent, f"{name}/gradient/{operation}": gradient}
  _save("augmentations", out)


def _resample(image, linear):
  """Bilinear with zero fill; on a square both rules of the corners must give the same."""
  x = image.permute(2, 0, 1)[None]
  theta = F.pad(torch.tensor(linear), (0, 1))[None]
  unaligned, aligned = (
    F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=a), align_corners=a)
    for a in (False, True)
  )
  if image.shape[0] == image.shape[1]:
    torch.testing.assert_close(unaligned, aligned)
  return unaligned[0].permute(1, 2, 0)


def _scale(image, factors):
  return _resample(image, [[factors[0], 0.0], [0.0, factors[1]]])


def _rotate(image, degrees):
  cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
  return _resample(image, [[cos, -sin], [sin, cos]])


def _crop(image, shift):
  out = torch.zeros_like(image)
  height, width, _ = image.shape
  for row in range(height):
    for column in range(width):
      source = (row + shift[0], column + shift[1])
      if 0 <= source[0] < height and 0 <= source[1] < width:
        out[row, column] = image[source]
  return out


def _cutout(image, centre):
  out = image.clone()
  (top, bottom), (left, right) = (
    (max(middle - side // 2, 0), middle - side // 2 + side)
    for middle, side in zip(centre, [int(0.5 * n + 0.5) for n in image.shape[:2]], strict=True)
  )
  out[top:bottom, left:right] = 0
  return out


def _brightness(image, u):
  return image + (u - 0.5)


def _saturation(image, u):
  grey = image.mean(2, keepdim=True)
  return (image - grey) * (2 * u) + grey


def _contrast(image, u):
  return (image - image.mean()) * (u + 0.5) + image.mean()


def _row_cosine(a, b):
  a, b = a.flatten(1), b.flatten(1)
  return (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()


def matching():
  """A step of DM and of gradient matching: losses, and their gradients of the synthetic images."""
  network = ConvNet((8, 8, 3), width=4, depth=2, norm="instance")
  real = _coarse(NUM_CLASSES, 6, 8, 8, 3)
  synthetic = _coarse(NUM_CLASSES, 2, 8, 8, 3).requires_grad_()

  def features(x):
    x = x.permute(0, 3, 1, 2)
    for conv, norm in zip(network.convs, network.norms, strict=True):
      x = F.avg_pool2d(F.relu(norm(conv(x))), 2)
    return x.flatten(1)

  def gradients(images, label, create_graph=False):
    labels = torch.full((len(images),), label)
    loss = F.cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=create_graph)

  losses = dict.fromkeys(("means", "cosine", "squared", "absolute"), 0.0)
  for label in range(NUM_CLASSES):
    missed = features(real[label]).mean(0).detach() - features(synthetic[label]).mean(0)
    losses["means"] += (missed**2).sum()
    own = gradients(synthetic[label], label, create_graph=True)
    for a, b in zip(own, gradients(real[label], label), strict=True):
      if a.ndim > 1:
        losses["cosine"] += _row_cosine(a, b)
      if a.ndim == 4:
        losses["squared"] += ((a - b) ** 2).sum()
        losses["absolute"] += (a - b).abs().sum()
  found = {
    name: torch.autograd.grad(loss, synthetic, retain_graph=True)[0]
    for name, loss in losses.items()
  }
  _save(
    "matching",
    dict(
      params=network.in_our_layout(),
      real=real,
      synthetic=synthetic,
      losses=losses,
      gradients=found,
    ),
  )


def trajectory():
  """Four steps of a student: the loss of MTT, and its gradients of images and learning rate."""
  start, target = (ConvNet((8, 8, 3), width=4, depth=2, norm="instance") for _ in range(2))
  images = _coarse(2 * NUM_CLASSES, 8, 8, 3).requires_grad_()
  labels = torch.arange(NUM_CLASSES).repeat_interleave(2)
  rate = torch.tensor(0.1, requires_grad=True)
  names = [name for name, _ in start.named_parameters()]
  first = [value.detach() for value in start.parameters()]
  student = [value.clone().requires_grad_() for value in first]
  for _ in range(4):
    logits = torch.func.functional_call(start, dict(zip(names, student, strict=True)), images)
    slopes = torch.autograd.grad(F.cross_entropy(logits, labels), student, create_graph=True)
    student = [value - rate * slope for value, slope in zip(student, slopes, strict=True)]

  def squared(a, b):
    return sum(((x - y) ** 2).sum() for x, y in zip(a, b, strict=True))

  goal = [value.detach() for value in target.parameters()]
  loss = squared(student, goal) / squared(first, goal)
  of_images, of_rate = torch.autograd.grad(loss, [images, rate])
  _save(
    "trajectory",
    dict(
      start=start.in_our_layout(),
      target=target.in_our_layout(),
      images=images,
      labels=labels,
      rate=rate,
      loss=loss,
      gradient_of_images=of_images,
      gradient_of_rate=of_rate,
    ),
  )


def main():
  """Writes every file."""
  torch.set_default_dtype(torch.float64)
  torch.manual_seed(0)
  convnet("convnet_rgb", (32, 32, 3), std=1.0)
  convnet("convnet_grey", (28, 28, 1), std=0.1)
  batch_norm()
  optimizers()
  initial_values()
  augmentations()
  matching()
  trajectory()


if __name__ == "__main__":
  main()
