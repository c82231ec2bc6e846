"""What single stages cost."""

import numpy as np
import pytest

from ddjax.kernels import cost
from ddjax.stages import stage_cost
from ddjax.types import Distiller
from tests.stages.jobs import job_of


@pytest.fixture(autouse=True)
def speed(monkeypatch):
  monkeypatch.setattr(cost, "matmul_flops_per_second", lambda: 1e11)


def test_twice_the_steps_of_a_distillation_cost_twice_as_much():
  job = job_of("--config=configs/dm.py:cifar10,ipc=1")
  once = stage_cost.matching(job)
  job = job._replace(num_steps=2 * job.num_steps)
  np.testing.assert_allclose(stage_cost.matching(job)[:2], 2 * once[:2])


def test_kernels_cost_by_the_pair_and_more_with_the_gradient():
  job = job_of("--config=configs/kip.py:cifar10,ipc=1")
  once, twice = stage_cost.pairs_cost(job, 10**5), stage_cost.pairs_cost(job, 2 * 10**5)
  assert twice[0] == pytest.approx(2 * once[0])
  assert stage_cost.pairs_cost(job, 10**5, with_gradient=True)[0] > 1.9 * once[0]


def test_networks_on_the_full_set_cost_by_their_epochs():
  job = job_of("--config=configs/dm.py:cifar10,ipc=1")
  job.config.accuracy_evaluation.full_epochs = 10
  once = stage_cost.full_set(job)
  job.config.accuracy_evaluation.full_epochs = 20
  assert stage_cost.full_set(job)[0] / once[0] == pytest.approx(2, rel=0.05)


def test_a_method_that_tells_of_no_batch_is_not_counted():
  job = job_of("--config=configs/kip.py:cifar10,ipc=1")
  del job.config.outer.target_batch_size
  job = job._replace(distiller=Distiller(None, None, None))
  stages = stage_cost.kernel_stages(job)
  assert np.isnan(stages["distill"]).any() and np.isfinite(stages["evaluate kernel"]).all()
