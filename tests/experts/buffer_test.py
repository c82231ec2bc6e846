"""Expert buffers: what is written is read, what is damaged is named, what is foreign is refused."""

import json
import os
import resource

import numpy as np
import pytest

from ddjax.experts.buffer import Buffer, content_key
from ddjax.experts.files import ExpertBufferError
from ddjax.experts.train import device_epochs, expert_epochs, plan_groups
from ddjax.files import atomic
from ddjax.training.trainer import PreemptedError

IDENTITY = {"dataset": "fake", "network": "mlp", "width": 4, "seed": 0, "dtype": "float32"}


def _parameters(num_epochs, num_experts, seed=0):
  return np.random.default_rng(seed).standard_normal((num_epochs, num_experts, 6), np.float32)


def _append(buffer, parameters, first_expert, first_epoch):
  num_epochs, num_experts, _ = parameters.shape
  with buffer.locked():
    buffer.append(
      parameters,
      first_expert=first_expert,
      first_epoch=first_epoch,
      state=[np.int32(first_epoch + num_epochs - 1), parameters[-1]],
      losses=[[0.5] * num_experts] * num_epochs,
    )


def _filled(folder, identity=None):
  """Experts 0 and 1 for 4 epochs in two chunks, expert 2 for 2 epochs in one."""
  buffer = Buffer(folder, identity or IDENTITY)
  parameters = [_parameters(3, 2, 0), _parameters(2, 2, 1), _parameters(3, 1, 2)]
  for own, expert, epoch in zip(parameters, (0, 0, 2), (0, 3, 0), strict=True):
    _append(buffer, own, expert, epoch)
  return parameters


def test_every_epoch_of_every_expert_is_read_back(tmp_path):
  parameters = _filled(tmp_path)
  buffer = Buffer(tmp_path, IDENTITY)
  buffer.verify(3, 4, 6)
  assert buffer.num_experts == 3 and buffer.num_epochs == 2
  np.testing.assert_array_equal(buffer.read(1, 2), parameters[0][2, 1])
  np.testing.assert_array_equal(buffer.read(0, 4), parameters[1][1, 0])
  np.testing.assert_array_equal(buffer.read(2, 0), parameters[2][0, 0])
  with pytest.raises(KeyError, match="epoch 3 of expert 2"):
    buffer.read(2, 3)


def test_it_knows_what_is_missing(tmp_path):
  _filled(tmp_path)
  buffer = Buffer(tmp_path, IDENTITY)
  assert buffer.lacks(2, 4) == 0
  assert buffer.lacks(3, 4) == 2
  assert buffer.lacks(5, 5) == 2 * 1 + 3 + 2 * 5
  assert Buffer(tmp_path / "none", IDENTITY).lacks(2, 3) == 6


@pytest.mark.parametrize("field", ["dataset", "network", "width", "seed"])
def test_other_experts_are_refused_by_field(tmp_path, field):
  _filled(tmp_path)
  other = IDENTITY | {field: "other"}
  with pytest.raises(ExpertBufferError, match=f"differing: {field}: .* there, 'other' here"):
    Buffer(tmp_path, other)
  assert content_key(other) != content_key(IDENTITY)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_chunk_is_named_and_never_used(tmp_path, damage):
  _filled(tmp_path)
  path = sorted((tmp_path / "chunks").iterdir())[1]
  content = bytearray(path.read_bytes())
  if damage == "truncated":
    del content[-4:]
  else:
    content[-2] ^= 1
  path.write_bytes(content)
  with pytest.raises(ExpertBufferError, match=f"{path.name} is truncated or altered"):
    Buffer(tmp_path, IDENTITY).verify(3, 4, 6)
  Buffer(tmp_path, IDENTITY).verify(3, 2, 6)  # what is not needed does no harm


def test_a_damaged_state_is_named(tmp_path):
  _filled(tmp_path)
  path = next((tmp_path / "states").glob("experts-00002*"))
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ExpertBufferError, match=path.name):
    Buffer(tmp_path, IDENTITY).read_state(2)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 9, "identity": {}}'])
def test_a_damaged_index_is_named(tmp_path, content):
  _filled(tmp_path)
  (tmp_path / "index.json").write_text(content)
  with pytest.raises(ExpertBufferError, match=r"index\.json"):
    Buffer(tmp_path, IDENTITY)


def test_an_altered_index_is_refused(tmp_path):
  _filled(tmp_path)
  path = tmp_path / "index.json"
  content = json.loads(path.read_text())
  content["chunks"][1]["first_epoch"] += 1
  path.write_text(json.dumps(content))
  with pytest.raises(ExpertBufferError, match=r"index\.json is altered"):
    Buffer(tmp_path, IDENTITY)


def test_a_lost_index_is_an_error_and_deletes_nothing(tmp_path):
  _filled(tmp_path)
  (tmp_path / "index.json").unlink()
  with pytest.raises(ExpertBufferError, match=r"index\.json is missing beside chunks"):
    Buffer(tmp_path, IDENTITY)
  assert len(list((tmp_path / "chunks").iterdir())) == 3


def test_of_experts_with_a_missing_file_the_epochs_before_it_stay(tmp_path):
  parameters = _filled(tmp_path)
  next((tmp_path / "chunks").glob("experts-00000-*-epochs-0003*")).unlink()
  buffer = Buffer(tmp_path, IDENTITY)
  assert buffer.first_experts == [0, 2] and buffer.epochs_of(0) == 2
  assert buffer.lacks(3, 2) == 0 and not plan_groups(buffer, 3, 2, 1, 1)
  assert plan_groups(buffer, 4, 4, 1, 2) == [(0, 2, 0), (2, 3, 2), (3, 4, 0)]
  with buffer.locked():
    assert len(list((tmp_path / "chunks").glob("experts-00000*"))) == 1
  buffer.verify(3, 2, 6)
  np.testing.assert_array_equal(buffer.read(1, 2), parameters[0][2, 1])


@pytest.mark.parametrize("file", ["experts-00000-*-epochs-0000*", "experts-00000-*-epochs-0003*"])
def test_a_file_that_was_away_is_welcome_back(tmp_path, file):
  """While it is missing others write, and nothing of its experts is thrown away."""
  parameters = _filled(tmp_path)
  path = next((tmp_path / "chunks").glob(file))
  path.rename(tmp_path / "away")
  others = Buffer(tmp_path, IDENTITY)
  assert others.epochs_of(0) in (None, 2)
  _append(others, _parameters(2, 1, seed=3), 2, 3)
  (tmp_path / "away").rename(path)
  buffer = Buffer(tmp_path, IDENTITY)
  buffer.verify(3, 4, 6)
  np.testing.assert_array_equal(buffer.read(1, 4), parameters[1][1, 1])
  np.testing.assert_array_equal(buffer.read(2, 3), _parameters(2, 1, seed=3)[0, 0])
  assert buffer.can_extend(0)


def test_a_group_trained_again_replaces_what_lay_after_a_missing_file(tmp_path):
  _filled(tmp_path)
  next((tmp_path / "chunks").glob("experts-00000-*-epochs-0000*")).unlink()
  buffer = Buffer(tmp_path, IDENTITY)
  assert plan_groups(buffer, 1, 1, 1, 1) == [(0, 2, 0)]  # whole, though one expert is wanted
  assert plan_groups(buffer, 4, 2, 1, 1) == [(0, 2, 0), (3, 4, 0)]
  again = _parameters(2, 2, seed=4)
  _append(buffer, again, 0, 0)
  buffer = Buffer(tmp_path, IDENTITY)
  assert [buffer.epochs_of(expert) for expert in range(4)] == [1, 1, 2, None]
  np.testing.assert_array_equal(buffer.read(1, 1), again[1, 1])
  assert len(list((tmp_path / "chunks").iterdir())) == 2
  assert len(list((tmp_path / "states").iterdir())) == 2


def test_killed_while_it_trains_a_lost_group_again_it_has_nothing_altered(tmp_path, monkeypatch):
  _filled(tmp_path)
  path = next((tmp_path / "chunks").glob("experts-00000-*-epochs-0003*"))
  path.unlink()
  buffer, write = Buffer(tmp_path, IDENTITY), atomic.write_bytes

  def write_until_the_state(place, content):
    if place.parent.name == "states":
      raise KeyboardInterrupt  # stands for the kill: the chunk is there, the index is not
    write(place, content)

  monkeypatch.setattr(atomic, "write_bytes", write_until_the_state)
  with pytest.raises(KeyboardInterrupt):
    _append(buffer, _parameters(2, 2, seed=5), 0, 3)
  assert path.exists()
  buffer = Buffer(tmp_path, IDENTITY)
  buffer.verify(3, 2, 6)
  assert buffer.epochs_of(0) == 2


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_file_that_changes_while_it_is_followed_is_named(tmp_path, is_replaced):
  _filled(tmp_path)
  buffer = Buffer(tmp_path, IDENTITY)
  buffer.verify(3, 2, 6)
  path = next((tmp_path / "chunks").glob("experts-00000-*-epochs-0000*"))
  content = path.read_bytes()
  path.unlink()
  if is_replaced:
    (tmp_path / "new").write_bytes(content)
    (tmp_path / "new").rename(path)
  with pytest.raises(ExpertBufferError, match=f"{path.name} (was replaced|cannot be read)"):
    buffer.read(0, 1)


def test_more_chunks_are_read_than_a_process_may_have_files_open(tmp_path, monkeypatch):
  monkeypatch.setattr(atomic.os, "fsync", lambda *_: None)
  buffer, parameters = Buffer(tmp_path, IDENTITY), _parameters(120, 1)
  for epoch in range(120):
    _append(buffer, parameters[epoch : epoch + 1], 0, epoch)
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 80, hard))
  try:
    buffer.verify(1, 119, 6)
    found = np.stack([buffer.read(0, epoch) for epoch in range(120)])
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
  np.testing.assert_array_equal(found, parameters[:, 0])


def test_experts_of_another_number_of_parameters_are_refused(tmp_path):
  _filled(tmp_path)
  with pytest.raises(ExpertBufferError, match="has 6 parameters a network.* has 7 here"):
    Buffer(tmp_path, IDENTITY).verify(3, 2, 7)


def test_a_plan_counts_those_who_began_together(tmp_path):
  _filled(tmp_path)
  buffer = Buffer(tmp_path, IDENTITY)
  groups = plan_groups(buffer, 1, 6, 2, 1)
  assert buffer.lacks(1, 6) == 2
  assert expert_epochs(groups, 6) == 2 * 2  # expert 1 goes on with expert 0
  assert device_epochs(groups, 6, 2) == 2
  groups = plan_groups(buffer, 4, 6, 2, 1)
  assert expert_epochs(groups, 6) == 2 * 2 + 4 + 6
  assert device_epochs(groups, 6, 2) == 2 + 4 + 6


def test_without_its_state_a_group_is_read_and_trained_anew_only_to_go_on(tmp_path):
  _filled(tmp_path)
  next((tmp_path / "states").glob("experts-00000*")).unlink()
  buffer = Buffer(tmp_path, IDENTITY)
  assert buffer.lacks(2, 4) == 0 and not plan_groups(buffer, 2, 4, 1, 1)
  buffer.verify(2, 4, 6)
  assert plan_groups(buffer, 2, 5, 1, 1) == [(0, 2, 0)]


def test_what_is_not_finite_is_not_stored(tmp_path):
  parameters = _parameters(3, 2)
  parameters[2, 1, 3] = np.inf
  with pytest.raises(ExpertBufferError, match="Expert 5 has parameters after epoch 2"):
    _append(Buffer(tmp_path, IDENTITY), parameters, 4, 0)
  large = np.full((1, 1, 6), 1e5, np.float32)
  with pytest.raises(ExpertBufferError, match="not finite in float16"):
    _append(Buffer(tmp_path / "half", IDENTITY | {"dtype": "float16"}), large, 0, 0)


def test_what_a_killed_process_left_behind_is_removed(tmp_path):
  _filled(tmp_path)
  stray = tmp_path / "chunks" / "experts-00007-00007-epochs-0000-0001.npy"
  stray.write_bytes(b"half")
  with Buffer(tmp_path, IDENTITY).locked():
    pass
  assert not stray.exists()
  assert len(list((tmp_path / "chunks").iterdir())) == 3
  assert len(list((tmp_path / "states").iterdir())) == 2  # the last of each group


def test_two_do_not_write_together(tmp_path):
  with Buffer(tmp_path, IDENTITY).locked():
    with pytest.raises(ExpertBufferError, match="Another process trains experts"):
      with Buffer(tmp_path, IDENTITY).locked(is_waiting=False):  # of the open file
        pass
    with pytest.raises(PreemptedError, match="while another process trains"):
      with Buffer(tmp_path, IDENTITY).locked(stop_request=True):
        pass
  with Buffer(tmp_path, IDENTITY).locked():
    pass


def test_half_precision_says_what_it_rounds(tmp_path):
  identity = IDENTITY | {"dtype": "float16"}
  buffer = Buffer(tmp_path, identity)
  moves = 0.01 * _parameters(3, 2)  # as experts move: a little, from where they were
  parameters = _parameters(1, 2, seed=1) + np.cumsum(moves, axis=0)
  _append(buffer, parameters, 0, 0)
  read = Buffer(tmp_path, identity).read(0, 1)
  assert read.dtype == np.float32
  missed = np.linalg.norm(read - parameters[1, 0])
  (chunk,) = buffer.chunks
  assert 0 < missed / np.linalg.norm(parameters[1, 0]) <= chunk.rounding < 1e-3
  assert missed / np.linalg.norm(moves[1, 0]) <= chunk.rounding_of_change < 0.1
  assert chunk.rounding_of_change > 10 * chunk.rounding
  assert json.loads((tmp_path / "index.json").read_text())["chunks"][0] == chunk._asdict()


def test_an_unknown_precision_is_refused(tmp_path):
  with pytest.raises(ValueError, match="float8"):
    Buffer(tmp_path, IDENTITY | {"dtype": "float8"})
