"""What differs by backend, and why: the one module that asks JAX where it computes.

Methods, networks and evaluators read `traits()` while they are traced. A program that is traced
again under another backend takes the other form; all forms give the same numbers to rounding.
"""

import contextlib
import functools
import glob
import math
import os
from typing import Any, Iterator, NamedTuple

from absl import logging
import jax

from ddjax.wording import look_up

_WANTED = "DDJAX_ACCELERATOR"
_BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}
_DEVICE_FILES = {
  "cuda": ("/dev/nvidia[0-9]*",),
  "tpu": ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*"),
}
"""By the words of `--accelerator`."""
_overrides: dict[str, Any] = {}
_assumed: Any = None  # a Machine


class Traits(NamedTuple):
  """What a backend wants, by measurement where no other reason is given.

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
  convolution="ordered",
  has_fast_gradients=False,
  patch_numbers=64,
  batched_values=1 << 15,
  means_as_products=True,
  piece_bytes=6 << 20,
  group_bytes=32 << 20,
  kernel_block_bytes=16 << 20,
  pooled_from_pixels=64,
  kernel_pixels=1 << 10,
  recomputes_shifts=True,
  vmapped_bytes=1 << 20,
  networks_at_once=8,
  attacked_at_once=1,
  is_shared_by_threads=True,
  has_bfloat16=False,
  has_float64_crash=True,
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


def name() -> str:
  """Where JAX computes: "cpu", "gpu" or "tpu"."""
  return jax.default_backend()


def traits() -> Traits:
  """Of the backend at hand; an unknown one is taken for an accelerator."""
  return TRAITS.get(name(), _ACCELERATOR)._replace(**_overrides)


@contextlib.contextmanager
def changed_traits(**fields: Any) -> Iterator[None]:
  """Other traits for what is traced inside: for measuring one form against another.

  Args:
    **fields: of `Traits`.
  Raises:
    ValueError: for a field that there is not.
  """
  global _overrides
  if unknown := set(fields) - set(Traits._fields):
    raise ValueError(f"Traits has no field {min(unknown)!r}.")
  before, _overrides = _overrides, _overrides | fields
  try:
    yield
  finally:
    _overrides = before


@contextlib.contextmanager
def estimated_for(machine: str) -> Iterator[None]:
  """Estimates that are made inside are those of another machine. Nothing may be run inside.

  Args:
    machine: of `MACHINES`.
  Raises:
    ValueError: for a machine that there is not.
  """
  global _assumed
  assumed = look_up(MACHINES, machine, "machine")
  before, _assumed = _assumed, assumed
  try:
    with changed_traits(**assumed.traits._asdict()):
      yield
  finally:
    _assumed = before


def assumed_flops_per_second() -> float | None:
  """Speed of products of the machine that estimates are made for; None for the one at hand."""
  return _assumed.flops_per_second if _assumed else None


class BackendError(ValueError):
  """JAX does not compute where it was asked to."""


def begin() -> None:
  """Starts JAX, and says loudly where it leaves an accelerator idle.

  Raises:
    BackendError: where JAX does not start, or computes elsewhere than `DDJAX_ACCELERATOR` (cpu,
      cuda or tpu; `--accelerator` of the launch scripts sets it) demands.
  """
  wanted = os.environ.get(_WANTED, "")
  if wanted and wanted not in _BACKENDS:
    raise BackendError(f"{_WANTED}={wanted!r} must be one of {', '.join(_BACKENDS)}.")
  try:
    found = name()
  except (RuntimeError, AssertionError) as error:  # a plugin that does not load, a platform unknown
    reason = (str(error).splitlines() or ["there is no such backend here"])[0].rstrip(".")
    platforms = os.environ.get("JAX_PLATFORMS")
    asked = f" under JAX_PLATFORMS={platforms}" if platforms else ""
    raise BackendError(
      f"JAX does not start{asked}: {reason}. JAX_PLATFORMS=cpu computes on the CPU."
    ) from error
  problem = idle_accelerator()
  if wanted and _BACKENDS[wanted] != found:
    sentence = f"--accelerator={wanted}, but JAX computes on {found!r}."
    raise BackendError(f"{sentence} {problem}" if problem else sentence)
  if problem:
    logging.warning("%s", problem)


def idle_accelerator() -> str | None:
  """A sentence where the machine has an accelerator and JAX computes on the CPU unasked."""
  if "cpu" in os.environ.get("JAX_PLATFORMS", "").split(","):
    return None
  for kind, patterns in _DEVICE_FILES.items():
    paths = sorted(path for pattern in patterns for path in glob.glob(pattern))
    if paths and name() == "cpu":
      return (
        f"This machine has {paths[0]}, but JAX computes on the CPU: its {kind} build is not "
        f"installed or does not fit the driver. `bash launch/setup.sh --accelerator={kind}` "
        "installs it; JAX_PLATFORMS=cpu says that the CPU is meant."
      )
  return None


def host_workers() -> int:
  """How many threads should run programs side by side."""
  return (os.cpu_count() or 1) if traits().is_shared_by_threads else 1


def memory_limit() -> int | None:
  """Bytes of a device's memory that JAX may take; None where the device does not say."""
  return _memory("bytes_limit")


def peak_memory() -> int | None:
  """Most bytes in use on a device so far; None where the device does not say."""
  return _memory("peak_bytes_in_use")


def _memory(key: str) -> int | None:
  try:
    value = (jax.local_devices()[0].memory_stats() or {}).get(key)
  except Exception as error:  # whatever a backend's plugin raises where it keeps no statistics
    _say_once("a device's memory", f"{type(error).__name__}: {error}")
    return None
  if not value and name() != "cpu":
    _say_once("a device's memory", f"the device gives no {key}")
  return int(value) if value else None


@functools.cache
def _say_once(what: str, reason: str) -> None:
  logging.info("Not known: %s (%s).", what, reason)


def hardware() -> dict[str, Any]:
  """What JAX computes on, in words: platform, device, how many. What is not known is None."""
  facts: dict[str, Any] = dict(platform=None, device=None, num_devices=None, num_hosts=None)
  for field, read in (
    ("platform", lambda: jax.devices()[0].platform),
    ("device", lambda: jax.devices()[0].device_kind),
    ("num_devices", jax.device_count),
    ("num_hosts", jax.process_count),
  ):
    try:
      facts[field] = read()
    except Exception as error:  # only informs
      _say_once(field.replace("_", " "), f"{type(error).__name__}: {error}")
  return facts
