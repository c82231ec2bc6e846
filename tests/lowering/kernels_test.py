"""What kernel methods compile: every kernel, its gradient, ridge regression, and predictions."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

from ddjax.config import audit, groups
from ddjax.data.preprocess import Preprocessing
from ddjax.evaluators import attack_runs
from ddjax.evaluators.kernel import make_kernel_fit
from ddjax.fitting import predictions
from ddjax.kernels import make
from ddjax.kernels.blocked import rows_in_blocks
from ddjax.kernels.ridge import kernel_ridge_loss
from ddjax.types import DatasetInfo, DistilledSet
from tests.lowering.lower import array, keys, lower

_SIDE, _CLASSES = 4, 3
DEPTHS = {
  "fc": 2,
  "conv": 2,
  "convnet": 1,
  "myrtle": 5,
  "rbf": 1,
  "laplace": 1,
  "linear": 1,
  "arccos": 2,
  "random_feature": 1,
}
"""Every family, and a small depth that it has."""
_FAMILIES = (*make.NETWORKS, *make._CLASSICAL, "random_feature")
_SLOW = {("convnet", "nngp"), ("myrtle", "nngp")}  # parts of the ntk
_KERNELS = [
  *(
    pytest.param(
      family,
      kind,
      engine,
      marks=pytest.mark.slow if (family, kind) in _SLOW else (),
      id=f"{family} {kind} {engine}",
    )
    for family in make.NETWORKS
    for kind in make.KINDS
    for engine in make.ENGINES
    if engine != "pooled" or family in ("convnet", "myrtle")
  ),
  *(
    pytest.param(family, "ntk", "closed_form", id=family)
    for family in DEPTHS
    if family not in make.NETWORKS
  ),
]


class _Set(NamedTuple):
  images: jax.Array
  labels: jax.Array
  weights: jax.Array


def _config(family, kind="ntk", engine="closed_form"):
  config = groups.kernel(family, DEPTHS[family])
  config.update(dict(kind=kind, engine=engine))
  if family == "random_feature":
    config.update(dict(num_networks=2, num_features=4))
  return config


def _set(num, dtype):
  images = array(num, _SIDE, _SIDE, 3, dtype=dtype)
  return _Set(images, array(num, _CLASSES, dtype=dtype), array(num, dtype=dtype))


def _lower_regression(kernel_fn, dtype=np.float32):
  """Lowers the loss of a support set with its gradient."""

  def loss(support, target):
    return kernel_ridge_loss(kernel_fn, support, target, 1e-6)

  lower(jax.value_and_grad(loss, has_aux=True), _set(4, dtype), _set(5, dtype))


def test_every_kernel_has_a_lowering_case():
  missing = sorted(set(_FAMILIES) - DEPTHS.keys())
  assert not missing, f"{missing[0]!r} has no lowering case."


@pytest.mark.parametrize("family,kind,engine", _KERNELS)
def test_kernels_and_their_regression(family, kind, engine):
  kernel = make.make_kernel(_config(family, kind, engine), (_SIDE, _SIDE, 3))
  _lower_regression(kernel.kernel_fn)


@pytest.mark.parametrize("family", ["fc", "conv", "rbf", "random_feature"])
def test_float64(family):
  with jax.enable_x64():
    kernel = make.make_kernel(_config(family), (_SIDE, _SIDE, 3), precision="float64")
    _lower_regression(kernel.kernel_fn, np.float64)


@pytest.mark.parametrize("budget", [1 << 12, pytest.param(1 << 14, marks=pytest.mark.slow)])
def test_blocks(budget):
  kernel = make.make_kernel(_config("conv"), (_SIDE, _SIDE, 3))
  _lower_regression(rows_in_blocks(kernel, (_SIDE, _SIDE, 3), budget))


def test_the_predictor():
  config = groups.base("kip", "fake")
  config.kernel = _config("fc")
  config.ridge = 1e-6
  info = DatasetInfo("fake", (_SIDE, _SIDE, 3), _CLASSES, 10)
  fit = make_kernel_fit(config, info, Preprocessing())
  predict_fns = []

  def fitted(images, labels):
    models = fit({"distilled": DistilledSet(images, labels, {})})["distilled"]["kernel"]
    predict_fns.append(models.predict_fn)
    return models.params

  params = lower(fitted, array(2, 4, _SIDE, _SIDE, 3), array(2, 4, _CLASSES))
  predict_fn = predict_fns[0]
  images = array(9, _SIDE, _SIDE, 3, dtype=np.uint8)
  block = np.int32(0), np.float32(255)
  lower(predictions._classes, params, images, *block, predict_fn=predict_fn, size=4)
  pixels = array(5, _SIDE, _SIDE, 3)
  lower(predictions._logits, params, pixels, predict_fn=predict_fn)
  forms = attack_runs.make_forms(audit.robustness())
  trial = attack_runs.look_trial(forms)
  lower(
    attack_runs._run,
    params,
    keys(2, 1),
    (array(1, 5, _SIDE, _SIDE, 3), array(1, 5, dtype=np.int32)),
    trial.settings,
    predict_fn=predict_fn,
    form=trial.form,
  )
