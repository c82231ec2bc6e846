"""What attacks compile: every one, on networks and on the kernel predictor."""

import jax
import numpy as np
import pytest

from ddjax.config import audit
from ddjax.data.preprocess import Preprocessing
from ddjax.evaluators import attack_runs
from ddjax.fitting.fit import make_predict
from ddjax.models.build import build
from tests.lowering.lower import array, keys, lower

_CLASSES, _SIDE = 4, 8


def _lower_attack(trial, num_networks):
  network = build("convnet(depth=1)", num_classes=_CLASSES, width=4)
  images = array(1, _SIDE, _SIDE, 1)
  params = jax.eval_shape(jax.vmap(network.init, (0, None)), keys(num_networks), images)
  outcome = lower(
    attack_runs._run,
    params,
    keys(num_networks, 2),
    (array(2, 5, _SIDE, _SIDE, 1), array(2, 5, dtype=np.int32)),
    trial.settings,
    predict_fn=make_predict(network, Preprocessing()),
    form=trial.form,
  )
  assert outcome.is_fooled.shape == (num_networks, 10)


def _trial(name):
  config = audit.robustness()
  trial = attack_runs.make_trial(attack_runs.make_forms(config), config, name, _CLASSES)
  assert isinstance(trial, attack_runs.Trial), f"{name!r} has no lowering case."
  return trial


@pytest.mark.parametrize("name", attack_runs.ATTACKS)
def test_attacks_on_several_networks(name):
  _lower_attack(_trial(name), 2)


def test_one_network_and_no_attack():
  forms = attack_runs.make_forms(audit.robustness())
  _lower_attack(attack_runs.look_trial(forms), 1)
