"""Objectives against values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks import objectives

_LOGITS = jnp.array([5.0, 1.0, 3.0, 2.0])


@pytest.mark.parametrize(
  "name,label,expected",
  [
    ("cross_entropy", 2, np.log(np.exp([5.0, 1.0, 3.0, 2.0]).sum()) - 3.0),
    ("margin", 0, -2.0),
    ("margin", 2, 2.0),
    ("dlr", 0, -(5 - 3) / (5 - 2)),
    ("dlr", 2, (5 - 3) / (5 - 2)),
    ("targeted_dlr", 0, (1 - 5) / (5 - (2 + 1) / 2)),  # at the target 1
    ("targeted_dlr", 3, (1 - 2) / (5 - (2 + 1) / 2)),
  ],
)
def test_by_hand(name, label, expected):
  value = objectives.OBJECTIVES[name](_LOGITS, jnp.int32(label), jnp.int32(1))
  assert value == pytest.approx(expected, rel=1e-6)


def test_dlr_does_not_change_with_scale_and_shift():
  value = objectives.dlr(100 * _LOGITS - 7, jnp.int32(0))
  assert value == pytest.approx(-2 / 3, rel=1e-5)


def test_chosen_at_run_time():
  names = ("margin", "dlr")
  chosen = jax.jit(lambda index: objectives.by_index(index, names)(_LOGITS, 0, 1))
  np.testing.assert_allclose([chosen(0), chosen(1)], [-2, -2 / 3], rtol=1e-6)


@pytest.mark.parametrize("name,least", [("dlr", 3), ("targeted_dlr", 4)])
def test_too_few_classes(name, least):
  with pytest.raises(ValueError, match=f"{name} needs at least {least} classes.*have {least - 1}"):
    objectives.OBJECTIVES[name](_LOGITS[: least - 1], jnp.int32(0), jnp.int32(1))
