"""What DATM adds to MTT's step, and what it refuses."""

import jax
import numpy as np
import pytest

from ddjax.training import parallel
from tests.distillers.cases import Case, initial_state, make_distiller, make_shards

_CHANGES = {"network.name": "mlp", "augmentation": "none", "outer.image_ema_decay": 0.5}


def _two_steps(**changes):
  """States before, between and after, and the metrics."""
  case = Case("datm", "datm", _CHANGES | changes)
  distiller, data, _ = make_distiller(case)
  states, metrics = [initial_state(distiller, data)], []
  shards = make_shards(case, distiller, states[0], 0, 2, 2, parallel.make_layout(1))
  for i in range(2):
    shard = jax.tree.map(lambda leaf, i=i: leaf[i, 0], shards)
    state, one = jax.jit(distiller.step)(states[-1], data, shard)
    states.append(state)
    metrics.append(one)
  return distiller, states, metrics


def test_a_step_above_the_threshold_changes_nothing_but_the_count():
  _, free, metrics = _two_steps(**{"outer.loss_threshold": 0.0})
  losses = [float(one["loss"]) for one in metrics]
  assert "left_out" not in metrics[0]
  _, states, metrics = _two_steps(**{"outer.loss_threshold": 0.5 * losses[0]})
  assert [float(one["left_out"]) for one in metrics] == [1, 1]
  assert float(metrics[0]["image_change"]) == 0
  np.testing.assert_allclose(metrics[0]["loss"], losses[0], rtol=1e-6)
  for name in ("synthetic", "opt_state", "extra"):
    before, after = (jax.tree.leaves(getattr(state, name)) for state in (states[0], states[2]))
    for a, b in zip(before, after, strict=True):
      np.testing.assert_array_equal(a, b)
  assert int(states[2].step) == 2
  _, states, metrics = _two_steps(**{"outer.loss_threshold": 2 * max(losses)})
  assert [float(one["left_out"]) for one in metrics] == [0, 0]
  np.testing.assert_allclose(states[2].synthetic.images, free[2].synthetic.images, rtol=1e-5)


def test_labels_move_by_a_momentum_of_their_own():
  changes = {"outer.label_learning_rate": 0.5, "outer.loss_threshold": 0.0}

  def labels(momentum):
    _, states, _ = _two_steps(**changes, **{"outer.label_momentum": momentum})
    return [np.asarray(state.synthetic.labels) for state in states]

  plain, heavy = labels(0.0), labels(0.9)
  np.testing.assert_array_equal(plain[1], heavy[1])
  carried = heavy[2] - plain[2]  # the first step once more, times the momentum
  np.testing.assert_allclose(carried, 0.9 * (plain[1] - plain[0]), rtol=1e-3, atol=1e-7)
  assert np.abs(carried).max() > 0


def test_the_experts_reach_as_far_as_they_are_read():
  distiller, _, _ = make_distiller(Case("", "datm", _CHANGES | {"synthetic.start_epoch": 7}))
  assert distiller.experts == (2, 7) and distiller.start_epoch == 7
  distiller, _, _ = make_distiller(Case("", "datm", _CHANGES | {"synthetic.start_epoch": 0}))
  assert distiller.experts == (2, 2) and distiller.start_epoch == 2
  changes = _CHANGES | {"synthetic.init": "real"}
  assert make_distiller(Case("", "datm", changes))[0].start_epoch is None


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"outer.loss_threshold": -1.0}, "outer.loss_threshold=-1.0 must not be negative"),
    ({"outer.label_momentum": 1.0}, r"outer.label_momentum=1.0 must lie in \[0, 1\)"),
    ({"outer.label_learning_rate": 0.0}, "outer.label_learning_rate=0.0"),
    ({"synthetic.start_epoch": -1}, "synthetic.start_epoch=-1 must not be negative"),
    ({"synthetic.learn_labels": False}, "init='experts' gives labels"),
    ({"synthetic.init": "expert"}, "'expert'.*Did you mean 'experts'"),
    ({"network.name": "convnet(depth=1,norm=batch)"}, "statistics of batch norm"),
    ({"experts.num_epochs": 2, "synthetic.start_epoch": 5}, "synthetic.start_epoch=5"),
    ({"experts.num_experts": 0}, "experts.num_experts=0"),
  ],
)
def test_impossible_settings_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    make_distiller(Case("datm", "datm", {"network.name": "mlp"} | changes))
