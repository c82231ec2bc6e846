"""Numbers that are tuned to machines, each with how it was measured, or that it was chosen.

`ddjax.backend.traits` gives those of the backend at hand. None of them changes what a run computes,
but for rounding: they choose forms and sizes, and estimate seconds and bytes.
"""

import math
from typing import NamedTuple

# Memory. The first four: XLA's own count of temporary bytes (`memory_analysis`) by size.
LIVE_ACTIVATIONS = 8
"""Bytes that a gradient keeps of one image, in its largest activations; counted: 6 to 8."""
LIVE_COVARIANCES = 24
"""Of a pair of images, alive at the peak of a kernel's recursion, gradient included."""
PATCH_COPIES = 22
"""Of an image's patches, at the peak of the pooled engine's gradient."""
LIVE_ROWS = 30
"""Of one image against all of the other, alive at once in the pooled engine."""
SUPPORT_COPIES = 6
"""Of a support set, that the gradient of one example keeps alive: DP-KIP. Chosen."""
DEVICE_SHARE = 1 / 4
"""Of what JAX may take of a device's memory; data, results, the compiler need the rest. Chosen."""
UNKNOWN_GB = 4.0
"""Where the device does not say how much it has, as CPUs. Chosen."""

# Share of the speed of a matrix product that kernels reach, without and with gradient. The first
# was measured on two CPU cores; of how the other two came about there is no record.
PIXEL_EFFICIENCY = {"pixels": (0.01, 0.01), "pixel pairs": (0.008, 0.009)}
"""Of neural-tangents, for covariances of pixels one by one, and of all pairs of pixels."""
CLOSED_FORM_EFFICIENCY = (0.05, 0.02)
"""Of the closed form over pixels."""
POOLED_EFFICIENCY = (0.35, 0.35)
"""Of the pooled engine."""

LARGE_FLOPS = 1e7
"""Of one image forward, from which a network counts as large in `Traits.efficiency`; ConvNet-3 of
width 128 has ten times as many."""
MOST_FILLED = 1.25
"""Rows of a call over those that are wanted, on a CPU: so much filling costs less than compiling
another program."""


class Traits(NamedTuple):
  """What a backend wants.

  Attributes:
    convolution: "ordered", whose gradients are written out so that XLA's CPU backend finds its fast
      form and whose vmapped networks are `vmapped_convolution`; or "primitive", XLA's own.
    has_fast_gradients: whether XLA's convolution is fast whatever the order of its axes.
    patch_numbers: up to so many numbers in a window, patches are cheaper than the convolution.
    batched_values: up to so many input values a network, vmapped networks that are "ordered" share
      one batched product of patches; above, they go one after another.
    means_as_products: whether means over pixels are products of matrices. XLA's reductions on CPUs
      are several times slower than its products.
    piece_bytes: largest activation of one piece of a batch, so that a layer reads its input from
      the cache; None takes a batch whole.
    group_bytes: most activations of classes that are taken together, whatever the memory.
    kernel_block_bytes: most temporary memory of a block of a kernel over pixels.
    pooled_from_pixels: size of an image from which the pooled engine is the fastest for kernels
      with pooling; on accelerators it was never timed, and the closed form was.
    kernel_pixels: that a step of a kernel with pooling takes at once, of one image of each pair.
    recomputes_shifts: what is read at several shifts is computed for each of them, unless a branch
      comes before.
    vmapped_bytes: networks are vmapped while the largest activation of each is smaller.
    networks_at_once: the most vmapped networks a device.
    attacked_at_once: networks that one call attacks; None for all. A CPU is filled by one.
    is_shared_by_threads: whether threads that each run a program fill the machine better.
    has_bfloat16: whether there are units for bf16. Without, operands are rounded to it and products
      taken in f32, which gives the same numbers to rounding at the speed of f32.
    has_float64_crash: XLA's float64 convolution with one channel ends the process (JAX 0.10.2).
    probe_size: side of the matrices that the speed of products is measured by.
    efficiency: share of that speed that passes of small and of large networks reach.
    forward_gain: by how much a pass without a gradient is faster than its share of one with.
    kernel_efficiency: the same of kernels over images, without and with gradient.
    pass_seconds: that a pass of a network takes however small it is: launches of its programs.
    step_seconds: likewise a step of a kernel method.
    look_seconds: that a look of the running curve takes beside arithmetic: snapshot, fit and test.
    compile_seconds: of one stage of networks, of kernels; a first start pays them.
  """

  convolution: str
  has_fast_gradients: bool
  patch_numbers: int
  batched_values: float
  means_as_products: bool
  piece_bytes: int | None
  group_bytes: float
  kernel_block_bytes: float
  pooled_from_pixels: float
  kernel_pixels: int
  recomputes_shifts: bool
  vmapped_bytes: float
  networks_at_once: int
  attacked_at_once: int | None
  is_shared_by_threads: bool
  has_bfloat16: bool
  has_float64_crash: bool
  probe_size: int
  efficiency: tuple[float, float]
  forward_gain: float
  kernel_efficiency: tuple[float, float]
  pass_seconds: float
  step_seconds: float
  look_seconds: float
  compile_seconds: tuple[float, float]


_CPU = Traits(
  # `python -m benchmarks.convolution`: docs/results/speed.md, "Forms of a convolution".
  convolution="ordered",
  has_fast_gradients=False,
  patch_numbers=64,
  batched_values=1 << 15,
  means_as_products=True,
  # In pieces that stay in the cache of two cores a step takes .6 to .8 of the time
  # (docs/guides/sharp_edges.md). The size of a group was chosen.
  piece_bytes=6 << 20,
  group_bytes=32 << 20,
  # From 8x8 pixels on the pooled engine is the fastest (docs/guides/kernel_engine.md); the sizes of
  # blocks were chosen.
  kernel_block_bytes=16 << 20,
  pooled_from_pixels=64,
  kernel_pixels=1 << 10,
  recomputes_shifts=True,
  # Chosen. `python -m benchmarks.experts_together`, digits, width 32: eight vmapped experts take
  # 1.70 of the time of one after another (docs/reproduction.md).
  vmapped_bytes=1 << 20,
  networks_at_once=8,
  attacked_at_once=1,
  is_shared_by_threads=True,
  has_bfloat16=False,
  has_float64_crash=True,
  # Estimates held against seconds of runs on two cores; there is no table of them.
  probe_size=1024,
  efficiency=(0.15, 0.5),
  forward_gain=1.0,
  kernel_efficiency=(0.4, 0.5),
  pass_seconds=0.0,
  step_seconds=0.0,
  look_seconds=0.1,
  compile_seconds=(6.0, 2.0),
)
_ACCELERATOR = Traits(
  # XLA's own forms and whole batches: an H200, 2026-11-26 and 27 (docs/results/h200.md). Never
  # timed: `pooled_from_pixels`, `kernel_pixels` and how many networks go together.
  convolution="primitive",
  has_fast_gradients=True,
  patch_numbers=0,
  batched_values=math.inf,
  means_as_products=False,
  piece_bytes=None,
  group_bytes=math.inf,
  kernel_block_bytes=math.inf,
  pooled_from_pixels=math.inf,
  kernel_pixels=1 << 17,
  recomputes_shifts=False,
  vmapped_bytes=math.inf,
  networks_at_once=64,
  attacked_at_once=None,
  is_shared_by_threads=False,
  has_bfloat16=True,
  has_float64_crash=False,
  # Estimates held against seconds of runs: docs/results/h200.md, "Estimates".
  probe_size=8192,
  efficiency=(0.05, 0.35),
  forward_gain=2.5,
  kernel_efficiency=(0.4, 0.5),
  pass_seconds=3e-4,
  step_seconds=1.2e-3,
  look_seconds=0.1,
  compile_seconds=(20.0, 12.0),
)
TRAITS = {"cpu": _CPU, "gpu": _ACCELERATOR, "tpu": _ACCELERATOR}
"""By the names that JAX gives its backends. TPUs were never measured: as GPUs."""


class Machine(NamedTuple):
  """A machine that runs can be estimated for from another one.

  Attributes:
    title: in words.
    traits: of its backend.
    flops_per_second: of a float32 product of matrices of `traits.probe_size`.
    source: where its speed was written down.
  """

  title: str
  traits: Traits
  flops_per_second: float
  source: str


MACHINES = {
  "h200": Machine("NVIDIA H200", _ACCELERATOR, 4.97e13, "docs/results/h200-2026-11-27.json")
}
"""By the names that `estimate_for` of a study takes."""
