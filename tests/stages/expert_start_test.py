"""What experts give a distillation to begin with, by hand and in runs."""

import shutil

import jax
from jax.flatten_util import ravel_pytree
import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.data.load import load_real_data, make_data_split
from ddjax.distillers.settings import build_network
from ddjax.files.plain_arrays import read_npz
from ddjax.fitting.host import Watch
from ddjax.io.distilled import load_distilled
from ddjax.stages import expert_start, experts
from ddjax.stages.prepare import prepare
from ddjax.tasks import distill
from tests.distillers.cases import initial_variables


def test_labels_are_the_mean_of_the_experts_that_are_right():
  logits = np.float32([[[2, 0, 1], [0, 3, 1]], [[1, 5, 0], [4, 6, 0]], [[4, 0, 1], [9, 1, 0]]])
  found = expert_start.mean_of_right(logits, np.array([0, 1]))
  np.testing.assert_allclose(found, [[3, 0, 1], [2, 4.5, 0.5]])
  none = expert_start.mean_of_right(logits, np.array([2, 2]))  # nobody is right
  smooth = np.log([0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3])
  np.testing.assert_allclose(none, [smooth, smooth], rtol=1e-5)


def test_images_are_those_that_the_first_expert_knows_then_the_next():
  labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
  knows = [{1, 4, 6}, {0, 1, 5}]  # rows that each of two experts classifies rightly
  asked = []

  def logits_of(expert, rows):
    asked.append((expert, sorted(rows.tolist())))
    right = np.array([row in knows[expert] for row in rows])
    return np.eye(2)[np.where(right, labels[rows], 1 - labels[rows])]

  order = np.array([7, 3, 0, 6, 2, 5, 1, 4])

  def choose(ipc):
    asked.clear()
    return expert_start.choose_rows(order, labels, ipc, 2, 2, logits_of).tolist()

  assert choose(1) == [1, 6] and asked == [(0, list(range(8)))]  # in the random order
  assert choose(2) == [1, 0, 6, 4] and asked[1] == (1, [0, 2, 3])  # class 0 alone has too few
  assert choose(3) == [1, 0, 3, 6, 4, 5]  # the last of class 0 is known to nobody


_CHANGES = {
  "network.name": "mlp",
  "augmentation": "none",
  "num_devices": 1,
  "curve.models": "none",
  "evaluators": (),
  "experts.num_experts": 3,
}


def _config(tmp_path, **changes):
  config = get_config("configs/datm.py:fake,ipc=2")
  fields = _CHANGES | {"experts.path": str(tmp_path / "experts")} | changes
  config.update_from_flattened_dict(fields)
  return config


def _check(start, config, buffer, mask):
  """Images are members that the first expert knows; labels the mean over all that know them."""
  real = load_real_data(config.data)
  data = make_data_split(real)
  network = build_network(config, real.info)
  seen = (data.images.astype(np.float32) - data.mean) / data.std
  variables = initial_variables(network, jax.random.key(0), real.info.image_shape)
  _, unravel = ravel_pytree(variables)
  apply = jax.jit(lambda flat: network.apply(unravel(flat), seen))
  logits = np.stack([apply(buffer.read(i, 2)) for i in range(3)])
  is_right = logits.argmax(axis=-1) == real.train_labels
  for number, (image, label) in enumerate(zip(*start, strict=True)):
    (row,) = np.flatnonzero(np.abs(seen - image).max(axis=(1, 2, 3)) < 1e-5)
    assert real.train_labels[row] == number // 2 and mask[row]
    known = is_right[:, row] if is_right[:, row].any() else None
    if (is_right[0] & (real.train_labels == number // 2) & mask).sum() >= 2:
      assert known[0]
    np.testing.assert_allclose(label, logits[known, row].mean(axis=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize("member_fraction", [1.0, 0.75])
def test_a_distillation_begins_with_what_its_experts_know(tmp_path, num_replicas, member_fraction):
  config = _config(
    tmp_path, num_replicas=num_replicas, member_fraction=member_fraction,
    **{"experts.learning_rate": 0.3},
  )  # fmt: skip
  (tmp_path / "run").mkdir()
  job = prepare(config, tmp_path / "run", load_real_data(config.data))
  job = expert_start.attach(experts.attach(job, Watch()), Watch())
  state = jax.device_get(job.initial_state().synthetic)
  images, labels, masks = state.images, state.labels, np.asarray(job.data.mask)
  if num_replicas == 1:
    images, labels = images[None], labels[None]
  for replica in range(num_replicas):
    buffer = job.host_data[min(replica, len(job.host_data) - 1)]
    mask = masks[replica] if masks.ndim == 2 else masks
    _check((images[replica], labels[replica]), config, buffer, mask)
  assert num_replicas == 1 or not np.array_equal(images[0], images[1])


@pytest.mark.slow
def test_a_finished_run_is_looked_at_again_without_experts(tmp_path):
  small = {
    "evaluators": ("accuracy",),
    "accuracy_evaluation.networks": ("mlp",),
    "accuracy_evaluation.num_epochs": 2,
    "accuracy_evaluation.num_seeds": 2,
    "accuracy_evaluation.num_bootstrap": 20,
  }
  first = distill.run(_config(tmp_path, **small), tmp_path / "run").report
  shutil.rmtree(tmp_path / "experts")
  second = distill.run(_config(tmp_path, **small, num_random_subsets=2), tmp_path / "run").report
  key = "initial_mlp"
  assert (
    first["reports"]["accuracy"]["scalars"][key] == second["reports"]["accuracy"]["scalars"][key]
  )
  assert not (tmp_path / "experts").exists()
  published = load_distilled(tmp_path / "run")
  assert published.info["label_kind"] == "probabilities"
  np.testing.assert_allclose(published.labels.sum(axis=1), 1, rtol=1e-5)
  start = read_npz(tmp_path / "run" / expert_start.NAME)
  assert start["images"].shape == published.images.shape


def test_other_methods_stay_as_they_are(tmp_path):
  config = get_config("configs/mtt.py:fake,ipc=2")
  config.update_from_flattened_dict({"num_devices": 1, "network.name": "mlp"})
  job = prepare(config, tmp_path, load_real_data(config.data))
  assert expert_start.attach(job, Watch()) is job
