"""The `dc` evaluation as a plain PyTorch loop: what our compiled training is timed against.

One network after another and batch after batch, as the released evaluations of DC, DSA and DM
train: SGD .01, momentum .9, weight decay 5e-4, shuffled batches of 256, and siamese augmentation
(DSA; Zhao, Bilen 2021) with one operation a batch and parameters drawn per example.

Milliseconds a step, PyTorch 2.13.0 CPU, `torch.set_num_threads(2)`, width 128, 32x32x3, median of
6 rounds of 10 (n = 10) or 2 (n = 100) steps, 2026-11-24:

    memory layout        n = 10   n = 100   n = 10, 100 after `keep_freed_memory()`
    default (NCHW)         16.0       209     13.1    109
    channels_last          16.6       211     13.4    116

So the default layout is the baseline. A second busy process costs it a factor 2 to 4, because its
threads wait by spinning: only quiet rounds count.
"""

import ctypes
import math

try:
  import torch
except ImportError as error:
  raise ImportError(
    "This benchmark compares with PyTorch: pip install torch==2.13.0, see requirements-bench.txt."
  ) from error

import torch.nn.functional as F

BATCH_SIZE = 256
DSA = "color_crop_cutout_flip_scale_rotate"


class TorchConvNet(torch.nn.Module):
  """ConvNet-3: f32[b c h w] -> logits f32[b k].

  Blocks of [3x3 convolution, GroupNorm with as many groups as channels, ReLU, 2x2 average pool],
  then a linear layer on the flattened c, h, w. Initial values are PyTorch's own.

  Args:
    num_classes: k.
    width: channels of every block.
    image_shape: (c, h, w); 28x28 images are padded to 32x32 by the first convolution.
  """

  def __init__(
    self, num_classes: int = 10, width: int = 128, image_shape: tuple[int, int, int] = (3, 32, 32)
  ):
    super().__init__()
    channels, *sides = image_shape
    padding = 3 if sides == [28, 28] else 1
    blocks = []
    for _ in range(3):
      blocks += [
        torch.nn.Conv2d(channels, width, 3, padding=padding),
        torch.nn.GroupNorm(width, width),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2),
      ]
      sides = [(side + 2 * padding - 2) // 2 for side in sides]
      channels, padding = width, 1
    self.features = torch.nn.Sequential(*blocks)
    self.readout = torch.nn.Linear(width * math.prod(sides), num_classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.readout(self.features(x).flatten(1))


def make_optimizer(network: torch.nn.Module, learning_rate: float = 0.01) -> torch.optim.Optimizer:
  """SGD of the `dc` protocol; at the drop the released code makes a new one, with rate .001."""
  return torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4)


def train_epochs(
  network: torch.nn.Module,
  optimizer: torch.optim.Optimizer,
  images: torch.Tensor,
  labels: torch.Tensor,
  num_epochs: int,
  strategy: str = DSA,
) -> None:
  """Trains in place on shuffled batches, with cross-entropy.

  Args:
    network: f32[b c h w] -> logits f32[b k].
    optimizer: of the network's parameters.
    images: f32[n c h w], normalised.
    labels: i64[n].
    num_epochs: passes over the set.
    strategy: names in `OPERATIONS` joined by "_", one of which is drawn a batch; "" for none.
  """
  network.train()
  names = strategy.split("_") if strategy else []
  for _ in range(num_epochs):
    for rows in torch.randperm(len(images)).split(BATCH_SIZE):
      batch = images[rows]
      if names:
        batch = OPERATIONS[names[int(torch.randint(len(names), ()))]](batch)
      loss = F.cross_entropy(network(batch), labels[rows])
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()


def keep_freed_memory() -> None:
  """Makes glibc keep what is freed, for the whole process; call it before the first step.

  By default every activation above 32 MB is mapped anew and its pages are cleared at first touch,
  at n = 100 nearly half of a step. A comparison should hold against both settings.
  """
  trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX in malloc.h
  libc = ctypes.CDLL(None)
  if not (libc.mallopt(mmap_max, 0) and libc.mallopt(trim_threshold, -1)):
    raise OSError("mallopt refused; this needs glibc.")


def _uniform(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
  """f32[b 1 1 1] in [low, high)."""
  return torch.rand(len(x), 1, 1, 1) * (high - low) + low


def flip(x: torch.Tensor) -> torch.Tensor:
  """Mirrors each image with probability .5."""
  return torch.where(_uniform(x, 0, 1) < 0.5, x.flip(3), x)


def scale(x: torch.Tensor) -> torch.Tensor:
  """Scales rows and columns by factors of their own in [1/1.2, 1.2]."""
  factors = torch.rand(len(x), 2) * (1.2 - 1 / 1.2) + 1 / 1.2
  return _resample(x, torch.diag_embed(factors))


def rotate(x: torch.Tensor) -> torch.Tensor:
  """Rotates by up to 15 degrees."""
  angle = torch.deg2rad(torch.rand(len(x)) * 30 - 15)
  cos, sin = angle.cos(), angle.sin()
  return _resample(x, torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2))


def _resample(x: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
  """Bilinear, zero fill, at `linear` f32[b 2 2] times the output's (x, y)."""
  theta = F.pad(linear, (0, 1))
  return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False), align_corners=False)


def crop(x: torch.Tensor) -> torch.Tensor:
  """Shifts by whole pixels, up to an eighth of each side, with zero fill."""
  b, _, h, w = x.shape
  high, wide = int(h * 0.125 + 0.5), int(w * 0.125 + 0.5)
  rows = torch.arange(h) + torch.randint(2 * high + 1, (b, 1))
  columns = torch.arange(w) + torch.randint(2 * wide + 1, (b, 1))
  padded = F.pad(x, (wide, wide, high, high)).permute(0, 2, 3, 1)
  picked = padded[torch.arange(b)[:, None, None], rows[:, :, None], columns[:, None, :]]
  return picked.permute(0, 3, 1, 2)


def cutout(x: torch.Tensor) -> torch.Tensor:
  """Empties a square of half the side around a uniform centre."""
  b, _, h, w = x.shape
  row = torch.arange(h) - torch.randint(h + 1, (b, 1))
  column = torch.arange(w) - torch.randint(w + 1, (b, 1))
  in_rows = (-(h // 4) <= row) & (row < h // 4)
  in_columns = (-(w // 4) <= column) & (column < w // 4)
  return x * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


def color(x: torch.Tensor) -> torch.Tensor:
  """Brightness, saturation, contrast."""
  x = x + _uniform(x, -0.5, 0.5)
  grey = x.mean(1, keepdim=True)
  x = (x - grey) * _uniform(x, 0, 2) + grey
  mean = x.mean((1, 2, 3), keepdim=True)
  return (x - mean) * _uniform(x, 0.5, 1.5) + mean


OPERATIONS = {
  "flip": flip,
  "scale": scale,
  "rotate": rotate,
  "crop": crop,
  "cutout": cutout,
  "color": color,
}
"""f32[b c h w] -> f32[b c h w] by name, parameters drawn per example."""
