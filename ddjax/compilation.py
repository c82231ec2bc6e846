"""Compiled programs kept between runs, and how many a run had to compile.

JAX's persistent compilation cache lies in the cache folder, in a folder for each kind of processor:
programs for one may not run on another, and clusters share home folders. It is bounded in size and
locked by JAX, so many processes may share it. `DDJAX_COMPILATION_CACHE=0` turns it off; in a
`JAX_COMPILATION_CACHE_DIR` of the user's own all programs are kept likewise, and its size is the
user's.
"""

import contextlib
import hashlib
import os
from pathlib import Path
import platform
import threading
from typing import Iterator

from absl import logging
import jax

from ddjax.data.cache import cache_dir

MAX_BYTES = 2 << 30
"""Of all entries for one kind of processor; the least recently used go first."""
_LOCK_NAME, _ENTRY, _TIME = ".lockfile", "-cache", "-atime"  # as JAX names them
_LOCK_SECONDS = 2.0
_THRESHOLDS = {
  "jax_persistent_cache_min_compile_time_secs": 0.0,
  "jax_persistent_cache_min_entry_size_bytes": -1,
}
_HIT = "/jax/compilation_cache/cache_hits"
_COMPILE = "/jax/core/compile/backend_compile_duration"
_PREPARE = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
)


def use_cache() -> Path | None:
  """Turns the cache on for this process; the folder, or None where it stays off or cannot be.

  Raises:
    ValueError: if `DDJAX_COMPILATION_CACHE` is neither 0 nor 1.
  """
  wanted = os.environ.get("DDJAX_COMPILATION_CACHE", "1")
  if wanted not in ("0", "1"):
    raise ValueError(f"DDJAX_COMPILATION_CACHE={wanted!r} must be 0 or 1.")
  if wanted == "0":
    jax.config.update("jax_enable_compilation_cache", False)
    return None
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    _keep_all()
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
  folder = cache_dir() / "compiled" / _processor()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    _remove_halves(folder)
  except (OSError, ImportError) as error:  # JAX bounds a cache by `filelock` only
    logging.warning("Compiled programs cannot be kept in %s (%s).", folder, error)
    return None
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
  _keep_all()
  return folder


def _keep_all() -> None:
  """Small and quick programs too, of which a run has a hundred, unless the user set a threshold."""
  for name, value in _THRESHOLDS.items():
    if name.upper() not in os.environ:
      jax.config.update(name, value)


class Count:
  """What was compiled while `counted` was open.

  Attributes:
    compiled: programs that the compiler made.
    from_cache: programs that were found in the persistent cache.
    seconds: in the compiler, or in reading the cache; of all threads.
    tracing_seconds: before that, from Python to the compiler's input.
  """

  def __init__(self):
    self.compiled = 0
    self.from_cache = 0
    self.seconds = 0.0
    self.tracing_seconds = 0.0

  def facts(self) -> dict[str, float]:
    """The same as plain numbers, for a report."""
    return {
      "programs_compiled": self.compiled,
      "programs_from_cache": self.from_cache,
      "seconds": self.seconds,
      "tracing_seconds": self.tracing_seconds,
    }


@contextlib.contextmanager
def counted() -> Iterator[Count]:
  """Counts what is compiled inside, on any thread."""
  count, lock = Count(), threading.Lock()

  def on_event(event: str, **_) -> None:
    if event == _HIT:
      with lock:
        count.from_cache += 1
        count.compiled -= 1  # its look at the cache is timed as a compilation too

  def on_duration(event: str, duration_secs: float, **_) -> None:
    with lock:
      if event == _COMPILE:
        count.compiled += 1
        count.seconds += duration_secs
      elif event in _PREPARE:
        count.tracing_seconds += duration_secs

  jax.monitoring.register_event_listener(on_event)
  jax.monitoring.register_event_duration_secs_listener(on_duration)
  try:
    yield count
  finally:
    jax.monitoring.unregister_event_listener(on_event)
    jax.monitoring.unregister_event_duration_listener(on_duration)


def _processor() -> str:
  """A name for what compiled programs depend on besides what JAX puts into their keys."""
  flags = ""
  with contextlib.suppress(OSError):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
  return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"


def _remove_halves(folder: Path) -> None:
  """Removes entries that a killed process left half written: they have no time of use.

  Left alone, a half entry would be read, refused and compiled again at every start.
  """
  import filelock  # which JAX takes where it is installed

  with (
    contextlib.suppress(filelock.Timeout),
    filelock.FileLock(folder / _LOCK_NAME).acquire(timeout=_LOCK_SECONDS),
  ):
    for entry in folder.glob(f"*{_ENTRY}"):
      used = entry.with_name(entry.name.removesuffix(_ENTRY) + _TIME)
      if not used.exists() or used.stat().st_size != 8:
        entry.unlink(missing_ok=True)
        used.unlink(missing_ok=True)
