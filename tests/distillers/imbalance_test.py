"""Classes of unequal size: every method takes as many images of each, from what it has."""

import jax
import numpy as np
import pytest

from ddjax.training import parallel, trainer
from tests.distillers.cases import CASES, make_distiller, make_shards

_FEW = 2  # as many as the cases have images per class


@pytest.mark.parametrize(
  "case",
  [
    pytest.param(case, marks=pytest.mark.slow if case.is_slow else (), id=case.name)
    for case in CASES
  ],
)
def test_a_class_of_ipc_examples_among_larger_ones(case):
  layout = parallel.make_layout(1)
  distiller, data, info = make_distiller(case, layout.axis_name)
  mask = np.ones(len(data.labels), bool)
  mask[np.flatnonzero(np.asarray(data.labels) == 0)[_FEW:]] = False
  data = data.replace(mask=mask)
  counts = np.bincount(np.asarray(data.labels)[mask], minlength=info.num_classes)
  assert counts[0] == _FEW and counts[1:].min() > 4 * _FEW
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  shard = make_shards(case, distiller, state, 0, 3, 4, layout)
  program = parallel.make_program(  # of protocol_test.py, which finds it compiled, or this one does
    distiller.step, layout, steps_per_call=4, is_host_fed=distiller.batch_at is not None
  )
  state = parallel.place_state(state, layout)
  state, metrics = program(state, parallel.replicate(data, layout), 3, shard)
  published = distiller.extract(jax.device_get(parallel.collect_state(state, layout)))
  assert published.images.shape[0] == _FEW * info.num_classes
  assert np.isfinite(np.asarray(published.images)).all()
  assert all(np.isfinite(np.asarray(rows)).all() for rows in metrics.values())  # of 3 steps
  of_class = np.bincount(np.asarray(published.labels).argmax(1), minlength=info.num_classes)
  if "learn_labels" not in case.name and case.method != "label_solve":
    assert of_class[0] == _FEW
