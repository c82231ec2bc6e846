"""What this machine is: prints one line of JSON. A process of its own: a TPU serves one at a time.

python -m benchmarks.accelerator.probe [--speed]
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

from ddjax import backend
from ddjax.stages.present import versions

OPTIONAL = ("torch", "tensorflow", "fairlearn", "jax_privacy", "tensorflow_datasets", "datasets")
"""What single rows need; who lacks one loses these rows."""


def facts() -> dict[str, object]:
  """Hardware, versions, and what is missing."""
  return {
    **backend.hardware(),
    "backend": backend.name(),
    "gpus": gpus(),
    "cpu_cores": os.cpu_count(),
    "system": platform.platform(),
    "versions": versions() | _optional_versions(),
    "missing": [name for name in OPTIONAL if importlib.util.find_spec(name) is None],
  }


def gpus() -> list[str]:
  """The GPUs that the driver lists, whatever JAX sees."""
  with contextlib.suppress(OSError, subprocess.SubprocessError):
    command = ["nvidia-smi", "--list-gpus"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    return [line.split(" (UUID")[0] for line in found.splitlines() if line.startswith("GPU")]
  return []


def _optional_versions() -> dict[str, str]:
  found = {}
  for name in OPTIONAL:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[name] = importlib.metadata.version(name)
  return found


def speed() -> dict[str, float]:
  """Measured peaks: FLOP/s of products at both precisions and in bfloat16, bytes/s of a copy."""
  import jax
  import jax.numpy as jnp

  size = backend.traits().probe_size
  square = jnp.ones((size, size), jnp.float32)
  found = {}
  for name, precision, dtype in (
    ("default", None, jnp.float32),
    ("highest", "highest", jnp.float32),
    ("bfloat16", None, jnp.bfloat16),
  ):
    with jax.default_matmul_precision(precision):
      found[f"flops_{name}"] = (
        2 * size**3 / _seconds(jax.jit(lambda x: x @ x), square.astype(dtype))
      )
  row = jnp.ones(size * size * (4 if size > 2000 else 16), jnp.float32)
  found["bytes"] = 2 * row.nbytes / _seconds(jax.jit(lambda x: x + 1), row)
  return found


def _seconds(fn, operand) -> float:
  """Median of seven calls after a first one."""
  fn(operand).block_until_ready()
  seconds = []
  for _ in range(7):
    started = time.perf_counter()
    fn(operand).block_until_ready()
    seconds.append(time.perf_counter() - started)
  return statistics.median(seconds)


if __name__ == "__main__":
  print(json.dumps(speed() if "--speed" in sys.argv else facts()))
