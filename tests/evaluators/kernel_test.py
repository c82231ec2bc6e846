"""The kernel evaluator where a kernel is dear: block by block, kept, stopped, told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.config import groups
from ddjax.data.load import load_real_data
from ddjax.evaluators import kernel
from ddjax.fitting.predictions import predict_classes
from ddjax.training import progress
from ddjax.types import DistilledSet, EvaluationContext


@pytest.fixture(scope="module")
def real():
  return load_real_data(groups.data("fake"))


def _fit(real, family):
  config = get_config(f"configs/kip.py:fake,ipc=1,family={family},depth=1")
  fit = kernel.make_kernel_fit(config, real.info, real.preprocessing)
  num = real.info.num_classes
  rows = [int(np.flatnonzero(real.train_labels == label)[0]) for label in range(num)]
  images = real.preprocessing.forward(jnp.asarray(real.train_images[rows]) / real.max_value)
  labels = np.eye(num, dtype=np.float32)[None] - 1 / num
  sets = {
    name: DistilledSet(np.asarray(images)[None], labels, {})
    for name in ("distilled", "random_subset")
  }
  return config, fit(sets)


def test_a_dear_kernel_is_told_in_blocks_kept_and_gives_the_same(real, monkeypatch):
  config, models = _fit(real, "convnet")
  monkeypatch.setattr(kernel, "_DEAR_ROWS", 16)
  config, models = _fit(real, "convnet")
  assert models["distilled"]["kernel"].images_at_once == 16
  told, kept = [], {}

  def keep(name, make):
    return kept.setdefault(name, make())

  measure = kernel.make_kernel_evaluator(config, real.info)
  context = EvaluationContext({}, keep=keep)
  with progress.told_to(told.append):
    report = measure(models, real, None, context)
  total = 2 * len(real.test_labels)
  assert len(told) == 2 * -(-len(real.test_labels) // 16)
  assert told[0].startswith(f"kernel regression of the test set: image 16 of {total}")
  assert told[-1].startswith(f"kernel regression of the test set: image {total} of {total}")
  whole = predict_classes(
    models["distilled"]["kernel"]._replace(images_at_once=None), real.test_images, real.max_value
  )
  assert report.scalars["test_accuracy"] == np.mean(whole == real.test_labels)
  assert len(kept) == 1  # both sets are the same images

  def fail(*args, **kwargs):
    raise AssertionError("computed again")

  monkeypatch.setattr(kernel, "predict_classes", fail)
  again = measure(models, real, None, EvaluationContext({}, keep=lambda name, make: kept[name]))
  assert again.scalars == report.scalars


def test_a_dear_kernel_stops_between_blocks(real, monkeypatch):
  monkeypatch.setattr(kernel, "_DEAR_ROWS", 16)
  config, models = _fit(real, "convnet")
  calls = []

  def check_stop():
    calls.append(1)
    if len(calls) == 2:
      raise InterruptedError("stop")

  with pytest.raises(InterruptedError):
    kernel.make_kernel_evaluator(config, real.info)(
      models, real, None, EvaluationContext({}, check_stop=check_stop)
    )
  assert len(calls) == 2


def test_a_cheap_kernel_takes_the_test_set_at_once(real):
  _, models = _fit(real, "fc")
  assert models["distilled"]["kernel"].images_at_once is None
  assert jax.tree.leaves(models["distilled"]["kernel"].params)[0].shape[0] == 1
