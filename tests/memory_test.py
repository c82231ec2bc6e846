"""The budget of memory, and that it changes how a step computes but not what."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import pytest

from ddjax import backend, memory, tuning
from ddjax.distillers import settings
from ddjax.models import pieces
from tests.distillers.cases import Case, initial_state, make_distiller

_FAST = {"network.name": "convnet(depth=1)", "synthetic.init": "noise", "augmentation": "crop"}


def _take_any_group(monkeypatch):
  """As where no cache sets a limit."""
  monkeypatch.setitem(tuning.TRAITS, "cpu", backend.traits()._replace(group_bytes=math.inf))


@pytest.mark.parametrize(
  "wanted,stats,expected",
  [
    (0.5, {"bytes_limit": 2**40}, 2**29),
    (0.0, {"bytes_limit": 2**34}, 2**32),
    (0.0, None, 2**32),
    (0.0, {}, 2**32),
  ],
)
def test_the_budget_is_the_config_s_or_a_quarter_of_the_device(
  monkeypatch, wanted, stats, expected
):
  device = SimpleNamespace(memory_stats=lambda: stats)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert memory.budget_bytes(ConfigDict(dict(memory_budget_gb=wanted))) == expected


def test_a_negative_budget_is_named():
  with pytest.raises(ValueError, match=r"memory_budget_gb=-1\.0"):
    memory.budget_bytes(ConfigDict(dict(memory_budget_gb=-1.0)))


@pytest.mark.parametrize(
  "axis_name,num_devices,num_replicas,expected",
  [(None, 1, 1, 2), ("devices", 4, 1, 4), (None, 1, 4, 1), (None, 4, 4, 2)],
  ids=["one device", "a quarter of the rows", "four replicas", "one of the four"],
)
def test_classes_go_by_what_one_device_holds(
  monkeypatch, axis_name, num_devices, num_replicas, expected
):
  _take_any_group(monkeypatch)
  monkeypatch.setattr(settings, "budget_bytes", lambda _: 2 * 66 * tuning.LIVE_ACTIVATIONS)
  monkeypatch.setattr(pieces, "activation_bytes", lambda *_: 1)
  sizes = {"num_devices": num_devices, "num_replicas": num_replicas, "outer.real_batch_size": 64}
  distiller, _, _ = make_distiller(Case("dsa", "dsa", _FAST | sizes), axis_name)  # two images each
  assert distiller.remarks[0] == f"{expected} of 4 classes at once."


@pytest.mark.parametrize(
  "method,changes",
  [("dm", {}), ("dsa", {"outer.outer_loop": 1}), ("idc", {"mix.probability": 0.0})],
)
def test_budgets_choose_groups_of_classes_that_give_equal_steps(monkeypatch, method, changes):
  _take_any_group(monkeypatch)

  def step(budget_gb):
    budget = {"memory_budget_gb": budget_gb}
    distiller, data, _ = make_distiller(Case(method, method, _FAST | changes | budget))
    state = initial_state(distiller, data)
    after, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
    return distiller.remarks[0], metrics["loss"], after.synthetic.images

  small, large = step(1e-9), step(1.0)
  assert (small[0], large[0]) == ("1 of 4 classes at once.", "4 of 4 classes at once.")
  np.testing.assert_allclose(small[1], large[1], rtol=1e-5)
  np.testing.assert_allclose(small[2], large[2], rtol=1e-4, atol=1e-4)
