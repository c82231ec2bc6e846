"""Every test of this folder runs as if JAX computed on an accelerator."""

import jax
import pytest

from tests.lowering import lower


@pytest.fixture(scope="module", autouse=True, params=lower.GROUPS, ids="+".join)
def _accelerator(request):
  """Programs are traced anew: what was traced for the CPU is of the CPU's form.

  By module: without an `__init__.py` a package ends with the session, and so would the pretence.
  """
  jax.clear_caches()
  with lower.pretended(*request.param):
    yield
  jax.clear_caches()
