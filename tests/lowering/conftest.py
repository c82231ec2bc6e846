"""Every test of this folder runs as if JAX computed on an accelerator."""

import jax
import pytest

from tests.lowering import lower


@pytest.fixture(scope="package", autouse=True, params=lower.GROUPS, ids="+".join)
def _accelerator(request):
  """Programs are traced anew: what was traced for the CPU is of the CPU's form."""
  jax.clear_caches()
  with lower.pretended(*request.param):
    yield
  jax.clear_caches()
