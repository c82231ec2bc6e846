"""What every test runs under: four simulated CPU devices, strict shapes, checked keys."""

import gc
import os
import pathlib
import random
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile far longer than they compute: without XLA's optimisations they take half the time,
# and half of that again where loops are written by the older of its two generators of code.
# The older one adds up less exactly. What stands in the environment comes after and wins over that.
os.environ["XLA_FLAGS"] = " ".join(
  [
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=4",
  ]
)

# Tests build the same programs over and over; each is compiled once, for all workers and for the
# commands that tests start. Entries are not written in one piece: who reads half of one warns
# (pyproject.toml lets that pass) and compiles for itself. Workers inherit the folder.
_COMPILED = None
if "PYTEST_XDIST_WORKER" not in os.environ:
  _COMPILED = tempfile.TemporaryDirectory(prefix="ddjax-tests-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax  # noqa: E402  the environment above is read when JAX is imported
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_unconfigure():
  """Removes the compiled programs."""
  if _COMPILED is not None:
    _COMPILED.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory):
  """No test reads or fills the user's cache."""
  os.environ["DDJAX_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


# Files whose tests are few and long; a worker left alone with one at the end would hold up the run.
_LONG_FILES = (
  "protocol_test.py", "end_to_end_test.py", "evaluate_test.py", "idc_test.py",
  "unroll_test.py", "dm_test.py", "dsa_test.py", "kill_test.py", "study_test.py",
  "bad_input_test.py", "experts_test.py", "recursion_test.py", "several_hosts_test.py",
  "notebooks_test.py", "pooled_test.py", "mirror_test.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
  """Long files first; see launch/test.sh, which keeps the order."""
  items.sort(key=lambda item: item.path.name not in _LONG_FILES)


def pytest_collection_finish():
  """Spares the garbage collector what lives to the end: it took a sixth of the time to trace."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(50000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
  """A file's programs go with it: each holds maps of memory, of which Linux allows 65530."""
  yield
  jax.clear_caches()
  maps = pathlib.Path("/proc/self/maps")
  if maps.exists() and maps.read_bytes().count(b"\n") > 20000:
    gc.collect()  # some programs wait in cycles for the collector, which seldom comes


@pytest.fixture(scope="module")
def unrendered_figures():
  """Figures of runs are made and written, but not rendered, which takes a fifth of a small run.

  For files that ask nothing of the pictures; tests/plots/ and whole runs in others render them.
  """
  from ddjax.plots import figures  # here, so that Matplotlib is imported by those who want it

  blank = figures.as_png(figures.new_figure(0.1, 0.1))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(figures, "as_png", lambda _: blank)
    yield


@pytest.fixture(autouse=True)
def _seeds():
  """What draws without a key or a generator of its own draws the same every time."""
  random.seed(0)
  np.random.seed(0)
