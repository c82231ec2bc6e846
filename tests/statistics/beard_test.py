"""RR, AE and CREI by hand."""

import pytest

from ddjax.statistics import beard


def test_ratio_by_hand():
  """Drops of .1, .3 and .5 from .8: 1 - .3 / .5."""
  assert beard.robustness_ratio(0.8, [0.7, 0.5, 0.3]) == pytest.approx(0.4)
  assert beard.robustness_ratio(0.8, [0.3, 0.3]) == pytest.approx(0)
  assert beard.robustness_ratio(0.8, [0.8, 0.8]) == 0


def test_efficiency_by_hand():
  """Beyond one forward pass 2, 20 and 80: 34 / 80."""
  assert beard.attack_efficiency([3, 21, 81]) == pytest.approx(34 / 80)
  assert beard.attack_efficiency([1, 1]) == 0


def test_index_by_hand():
  assert beard.robustness_efficiency_index(0.4, 0.2) == pytest.approx(0.3)
  assert beard.robustness_efficiency_index(0.4, 0.2, weight=0.75) == pytest.approx(0.35)


@pytest.mark.parametrize(
  "call,message",
  [
    (lambda: beard.robustness_ratio(0.8, []), "no accuracy"),
    (lambda: beard.robustness_ratio(80.0, [10.0]), "fractions"),
    (lambda: beard.robustness_ratio(0.8, [0.9]), "0.9 under attack is above.*0.8"),
    (lambda: beard.attack_efficiency([0.5]), "Cost 0.5"),
    (lambda: beard.robustness_efficiency_index(0.1, 0.1, 2.0), "weight=2.0"),
  ],
)
def test_refuses(call, message):
  with pytest.raises(ValueError, match=message):
    call()
