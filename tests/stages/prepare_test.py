"""Which examples are distilled, and saved sets to begin with."""

import pathlib

import numpy as np
import pytest

from configs import dm, idc
from ddjax.data.load import load_real_data
from ddjax.io.distilled import save_distilled
from ddjax.stages import distill, prepare
from ddjax.types import DistilledSet


def _config(module=dm, **changes):
  config = module.get_config("fake,ipc=2,smoke")
  config.num_devices = 1
  config.update_from_flattened_dict(changes)
  return config


def _job(config):
  return prepare.prepare(config, pathlib.Path(), load_real_data(config.data))


def test_members_are_the_asked_part_of_each_class_and_differ_by_replica():
  config = _config(member_fraction=0.5, num_replicas=3)
  real = load_real_data(config.data)
  masks = prepare.draw_member_masks(config, real)
  assert masks.shape == (3, 64) and masks.dtype == bool
  for mask in masks:
    assert np.bincount(real.train_labels[mask]).tolist() == [8, 8, 8, 8]
  assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()
  np.testing.assert_array_equal(prepare.draw_member_masks(config, real), masks)
  config.seed = 1  # replica r of seed s is that of seed s + r
  config.num_replicas = 1
  np.testing.assert_array_equal(prepare.draw_member_masks(config, real), masks[1])
  assert prepare.draw_member_masks(_config(), real) is None


@pytest.mark.parametrize(
  "fraction,message", [(0.0, "member_fraction=0.0"), (1.5, "1.5"), (0.05, "class '0' 1 examples")]
)
def test_impossible_parts_are_refused(fraction, message):
  with pytest.raises(ValueError, match=message):
    _job(_config(member_fraction=fraction))


def test_grids_need_as_many_examples_as_they_have_cells():
  config = _config(idc)
  config.synthetic.update(dict(ipc=3, factor=2, init="grid"))
  _job(config)
  config.synthetic.ipc = 5
  with pytest.raises(
    ValueError, match="ipc=5 begins with 20 examples of each class, more than the 16"
  ):
    _job(config)
  config.synthetic.ipc = 3
  config.member_fraction = 0.5
  with pytest.raises(ValueError, match="8 examples, fewer than the 12 that ipc=3 needs"):
    _job(config)
  config.synthetic.init = "real"
  assert _job(config).config.synthetic.ipc == 3


def test_the_published_set_says_which_members_it_was_made_from(tmp_path):
  whole, half = _job(_config()), _job(_config(member_fraction=0.5, num_replicas=2))
  assert prepare.member_hash(whole.data.mask, 0) is None
  hashes = {prepare.member_hash(half.data.mask, replica) for replica in range(2)}
  assert len(hashes) == 2 and all(len(digest) == 64 for digest in hashes)


def _saved(folder, job, images, labels, preprocessing=None, **facts):
  info = dict.fromkeys(
    ("method", "dataset", "ipc", "seed", "step", "learning_rate", "member_hash", "real_data_hash")
  )
  info |= {"label_kind": "one_hot", "decode_factor": 1, "config": {}} | facts
  save_distilled(
    folder, DistilledSet(images, labels), info, preprocessing or job.real.preprocessing
  )
  return str(folder)


def test_a_distillation_begins_with_a_saved_set_whatever_the_order_of_its_classes(tmp_path):
  job = _job(_config())
  images = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
  labels = np.eye(4, dtype=np.float32)[[3, 1, 0, 2, 0, 1, 2, 3]]
  path = _saved(tmp_path / "set", job, images, labels)
  begun = _job(_config(**{"synthetic.init": "saved", "synthetic.init_from": path}))
  start = distill.initial_set(begun)
  np.testing.assert_array_equal(start.images[0], images[[2, 4, 1, 5, 3, 6, 0, 7]])
  np.testing.assert_array_equal(start.labels[0].argmax(1), [0, 0, 1, 1, 2, 2, 3, 3])
  changes = {"synthetic.init": "saved", "synthetic.init_from": path, "synthetic.factor": 1}
  own = _job(_config(idc, **changes))
  pixels = np.asarray(own.initial_state().synthetic.images)
  seen = pixels * 255
  seen = (seen - np.asarray(own.data.mean)) / np.asarray(own.data.std)
  np.testing.assert_allclose(seen, start.images[0], rtol=1e-4, atol=1e-4)


def test_saved_sets_that_do_not_suit_are_refused(tmp_path):
  job = _job(_config())
  images = np.zeros((8, 8, 8, 1), np.float32)
  labels = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]]
  other = load_real_data(_config(**{"data.preprocessing": "zca_kornia"}).data).preprocessing
  sets = {
    r"\[2, 2, 2, 2\]|3, 1": _saved(tmp_path / "a", job, images, labels[[0, 0, 0, 2, 4, 4, 6, 6]]),
    r"\[4, 8, 1\]": _saved(tmp_path / "b", job, images[:, :4], labels),
    "another preprocessing": _saved(tmp_path / "c", job, images, labels, other),
    "decode factor 2": _saved(tmp_path / "d", job, images, labels, decode_factor=2),
    "'probabilities'": _saved(tmp_path / "e", job, images, labels, label_kind="probabilities"),
  }
  for message, path in sets.items():
    with pytest.raises(ValueError, match=message):
      _job(_config(**{"synthetic.init": "saved", "synthetic.init_from": path}))
  with pytest.raises(FileNotFoundError, match="nowhere"):
    _job(_config(**{"synthetic.init": "saved", "synthetic.init_from": "nowhere"}))
