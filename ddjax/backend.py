"""Where JAX computes: the one module that asks, so that the rest reads `traits()`.

Methods, networks and evaluators read `traits()` while they are traced. A program that is traced
again under another backend takes the other form; all forms give the same numbers to rounding.
"""

import contextlib
import functools
import glob
import os
import pathlib
import platform
from typing import Any, Iterator

from absl import logging
import jax

from ddjax.tuning import MACHINES, TRAITS, Machine, Traits
from ddjax.wording import look_up

_WANTED = "DDJAX_ACCELERATOR"
_BACKENDS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}
_DEVICE_FILES = {
  "cuda": ("/dev/nvidia[0-9]*",),
  "tpu": ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*"),
}
"""By the words of `--accelerator`."""
_overrides: dict[str, Any] = {}
_assumed: Machine | None = None


def name() -> str:
  """Where JAX computes: "cpu", "gpu" or "tpu"."""
  return jax.default_backend()


def traits() -> Traits:
  """Of the backend at hand; an unknown one is taken for an accelerator."""
  return TRAITS.get(name(), TRAITS["gpu"])._replace(**_overrides)


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


@functools.cache
def processor() -> str:
  """The processor of this host and its cores, such as "AMD EPYC, 2 cores"."""
  model = platform.processor() or platform.machine() or "CPU"
  with contextlib.suppress(OSError, ValueError):  # not Linux, or text that nobody foresaw
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
      if line.startswith("model name"):
        model = line.partition(":")[2].strip()
        break
  # Those that this process may use, where the system says so.
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  return f"{model}, {cores} core{'s' if cores > 1 else ''}"


def device() -> str:
  """What JAX computes on, in words: the accelerator's name, or the processor's."""
  return processor() if name() == "cpu" else str(hardware()["device"] or name())


def hardware() -> dict[str, Any]:
  """What JAX computes on: platform, device, how many, and the host's processor. None: not known."""
  facts: dict[str, Any] = dict(platform=None, device=None, num_devices=None, num_hosts=None)
  for field, read in (
    ("platform", lambda: jax.devices()[0].platform),
    ("device", lambda: jax.devices()[0].device_kind),
    ("num_devices", jax.device_count),
    ("num_hosts", jax.process_count),
    ("processor", processor),
  ):
    try:
      facts[field] = read()
    except Exception as error:  # only informs
      _say_once(field.replace("_", " "), f"{type(error).__name__}: {error}")
  return facts
