"""Numbers that no field can have are refused by their field's name."""

import math

import pytest

from ddjax.api import get_config
from ddjax.config.check import check_numbers


@pytest.mark.parametrize(
  "field, value, message",
  [
    ("outer.learning_rate", math.nan, "outer.learning_rate=nan must be finite"),
    ("ridge", math.inf, "ridge=inf must be finite"),
    ("memory_budget_gb", -math.inf, "memory_budget_gb=-inf must be finite"),
    ("seed", -1, "seed=-1 must lie between 0 and 2"),
    ("data.split_seed", -2, "data.split_seed=-2 must lie"),
    ("seed", 2**32, "seed=4294967296 must lie"),
  ],
)
def test_numbers_that_no_field_can_have(field, value, message):
  config = get_config("configs/kip.py:fake")
  check_numbers(config)
  config.update_from_flattened_dict({field: value})
  with pytest.raises(ValueError, match=message):
    check_numbers(config)


def test_numbers_in_lists_are_looked_at():
  config = get_config("configs/kip.py:fake")
  config.unlock()
  config.robustness.epsilons = (0.1, math.nan)
  with pytest.raises(ValueError, match="robustness.epsilons=nan"):
    check_numbers(config)
