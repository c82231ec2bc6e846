"""The running curve of each kind of models."""

import pathlib

import numpy as np
import pytest

from configs import dm
from ddjax.data.load import load_real_data
from ddjax.evaluators.kernel import make_kernel_fit
from ddjax.fitting.predictions import predict_classes
from ddjax.stages import curve, distill, prepare


def _job(**changes):
  config = dm.get_config("fake,ipc=2,smoke")
  config.num_devices = 1
  config.update_from_flattened_dict(changes)
  return prepare.prepare(config, pathlib.Path(), load_real_data(config.data))


def test_steps_are_those_wanted_or_a_series():
  assert curve.curve_steps((), 30) == [0, 1, 2, 5, 10, 20, 30]
  assert curve.curve_steps((7, 3, 99), 30) == [3, 7, 30]


def test_kernel_regression_on_the_first_test_images():
  job = _job(**{"curve.models": "kernel", "curve.num_test": 9})
  distilled = distill.initial_set(job)
  models = make_kernel_fit(job.config, job.real.info, job.real.preprocessing)({"a": distilled})
  classes = predict_classes(models["a"]["kernel"], job.real.test_images[:9], job.real.max_value)
  expected = (classes == job.real.test_labels[:9]).mean()
  assert curve.make_curve(job)(distilled) == {curve.CURVE: expected}


def test_networks_give_one_accuracy_a_replica_on_test_and_validation():
  changes = {"num_replicas": 2, "data.validation_fraction": 0.25, "curve.num_networks": 2}
  job = _job(**changes | {"accuracy_evaluation.networks": ("mlp", "convnet")})
  values = curve.make_curve(job)(distill.initial_set(job))
  assert values.keys() == {curve.CURVE, curve.VALIDATION_CURVE}
  for accuracies in values.values():
    assert len(accuracies) == 2 and all(0 <= value <= 1 for value in accuracies)
  assert np.mean(values[curve.CURVE]) > 0.3  # of four classes


def test_none_and_unknown():
  assert curve.make_curve(_job(**{"curve.models": "none"}))(None) == {}
  with pytest.raises(ValueError, match="'kernels'.*'kernel'"):
    curve.make_curve(_job(**{"curve.models": "kernels"}))
  with pytest.raises(ValueError, match="curve.num_networks=0"):
    curve.make_curve(_job(**{"curve.num_networks": 0}))
