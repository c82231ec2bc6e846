"""Real sets that tests of files share."""

import pytest

from ddjax.config import groups
from ddjax.data.load import load_real_data


@pytest.fixture(scope="module")
def fake():
  return load_real_data(groups.data("fake"))


@pytest.fixture(scope="module")
def digits():
  return load_real_data(groups.data("digits"))
