"""What every test runs under: four simulated CPU devices, strict shapes, checked keys."""

import os
import random
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
  [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=4"]
).strip()

# Tests build the same programs over and over; a session compiles each once, in whichever process
# comes first: what runs beside this one (xdist's workers, `python -m ddjax.main`) inherits the
# folder. It has to stand before JAX is imported.
_COMPILED = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _COMPILED = tempfile.TemporaryDirectory(prefix="ddjax-tests-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

import jax  # noqa: E402  the environment above is read when JAX is imported
import numpy as np  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_unconfigure():
  """Removes the compiled programs, where this process made the folder."""
  if _COMPILED is not None:
    _COMPILED.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory):
  """No test reads or fills the user's cache."""
  os.environ["DDJAX_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seeds():
  """What draws without a key or a generator of its own draws the same every time."""
  random.seed(0)
  np.random.seed(0)
