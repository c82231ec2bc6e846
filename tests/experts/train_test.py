"""Expert training: an expert is what a network trained alone becomes, however it was reached."""

import logging
import pathlib

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import datm, mtt, ncfm
from ddjax.data.load import load_real_data
from ddjax.distillers.settings import build_network
from ddjax.experts.files import ExpertBufferError
from ddjax.experts.train import plan_groups
from ddjax.fitting import train
from ddjax.fitting.host import Watch
from ddjax.random_streams import stream
from ddjax.stages import experts
from ddjax.stages.prepare import prepare
from ddjax.training import parallel
from ddjax.training.trainer import PreemptedError
from ddjax.types import ExpertNeeds
from tests.distillers.cases import initial_variables


def _config(folder, method=mtt, **fields):
  config = method.get_config("fake")
  config.network.name = "mlp"
  config.augmentation = "none"
  config.data.max_train_examples = 40
  config.experts.update(dict(path=str(folder), batch_size=16, epochs_per_chunk=2) | fields)
  return config


def _ensure(config, num_experts, num_epochs, *, num_devices=1, members=None, watch=Watch()):
  real = load_real_data(config.data)
  layout = parallel.make_layout(num_devices)
  needs = ExpertNeeds(num_experts, num_epochs)
  return experts.ensure(config, real, needs, layout, watch, members)


def _all(buffer, num_experts, num_epochs):
  return np.array([[buffer.read(i, t) for t in range(num_epochs + 1)] for i in range(num_experts)])


def test_an_expert_is_a_network_trained_alone(tmp_path):
  config = _config(tmp_path)
  buffer = _ensure(config, 2, 3)
  real = load_real_data(config.data)
  training = train.make_training(
    build_network(config, real.info),
    experts.protocol_of(config),
    loss="cross_entropy",
    num_examples=real.info.num_train,
    image_shape=real.info.image_shape,
  )
  rows = train.Rows(
    np.array([[1, 0]], np.uint32), np.zeros(1, np.int32), np.full(1, 0.01, np.float32)
  )
  rng, source = stream(config.experts.seed, "experts"), experts.real_source(real)
  state = training.init(rng, rows, source)
  for epoch in range(1, 4):
    state, loss = training.advance(state, rng, rows, source, training.steps_per_epoch)
    flat = jax.flatten_util.ravel_pytree(state.variables["params"])[0]
    np.testing.assert_allclose(buffer.read(1, epoch), flat, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(buffer.losses()[epoch, 1], loss[0], rtol=1e-4)


def test_networks_of_ncfm_slow_down_at_their_epochs(tmp_path):
  """Whole batches, no mixing and no augmentation: gradient descent with momentum by hand."""
  config = ncfm.get_config("fake,epochs=6")
  assert config.experts.drop_epochs == (4, 5)
  config.network.name, config.augmentation, config.data.max_train_examples = "mlp", "none", 40
  own = dict(path=str(tmp_path), batch_size=40, mix_probability=0.0, learning_rate=0.2)
  config.experts.update(own)
  buffer = _ensure(config, 1, 6)
  real = load_real_data(config.data)
  network, source = build_network(config, real.info), experts.real_source(real)
  images = (source.images[0].astype(np.float32) - source.mean[0]) / source.std[0]
  variables = initial_variables(network, jax.random.key(0), real.info.image_shape)
  _, unravel = jax.flatten_util.ravel_pytree(variables["params"])

  @jax.jit
  @jax.grad
  def gradient(flat):
    logits = network.apply({"params": unravel(flat)}, images)
    return optax.softmax_cross_entropy(logits, source.labels[0]).mean()

  flat, velocity = buffer.read(0, 0), 0.0
  for epoch in range(1, 7):
    velocity = 0.9 * velocity + np.asarray(gradient(flat)) + 5e-4 * flat
    flat = flat - 0.2 * {5: 0.2, 6: 0.04}.get(epoch, 1.0) * velocity
    np.testing.assert_allclose(buffer.read(0, epoch), flat, rtol=1e-4, atol=1e-5)


def test_what_only_ncfm_sets_does_not_touch_the_buffers_of_mtt(tmp_path):
  config = _config(tmp_path)
  real = load_real_data(config.data)
  known = experts.identity(config, real, None)
  assert set(known) == {
    "dataset", "real_data_hash", "num_classes", "members", "preprocessing", "preprocessing_digest",
    "network", "width", "augmentation", "learning_rate", "momentum", "weight_decay", "batch_size",
    "sharpness_radius", "seed", "dtype",
  }  # fmt: skip
  other = experts.identity(ncfm.get_config("fake"), real, None)
  assert set(other) - set(known) == {
    "drop_epochs",
    "drop_factor",
    "augmentation_mode",
    "mix_probability",
  }


@pytest.mark.parametrize(
  "fields,message",
  [
    (dict(drop_epochs=(5, 3)), r"drop_epochs=\(5, 3\) must be above 0 and ascend"),
    (dict(drop_epochs=(0, 3)), r"drop_epochs=\(0, 3\)"),
    (dict(drop_factor=1.5), "drop_factor=1.5 must lie between 0 and 1"),
    (dict(mix_probability=1.5), r"mix_probability=1.5 must lie in \[0, 1\]"),
    (dict(augmentation_mode="ncmf"), "'ncmf'.*Did you mean 'ncfm'"),
    (dict(num_experts=0), "num_experts=0 must be positive"),
    (dict(sharpness_alpha=1.5), r"sharpness_alpha=1.5 must lie in \[0, 1\]"),
  ],
)
def test_impossible_trainings_are_named(fields, message):
  config = (datm if "sharpness_alpha" in fields else ncfm).get_config("fake")
  config.experts.update(fields)
  with pytest.raises(ValueError, match=message):
    experts.protocol_of(config)


def test_extended_by_epochs_and_experts_it_has_the_same_bits(tmp_path):
  fields = dict(momentum=0.9)  # whose state has to go on too
  whole = _ensure(_config(tmp_path / "whole", **fields), 1, 5)
  _ensure(_config(tmp_path / "parts", **fields), 1, 2)
  before = sorted((tmp_path / "parts" / "chunks").iterdir())
  kept = [path.read_bytes() for path in before]
  parts = _ensure(_config(tmp_path / "parts", **fields), 1, 5)
  np.testing.assert_array_equal(_all(whole, 1, 5), _all(parts, 1, 5))
  more = _ensure(_config(tmp_path / "parts", **fields), 3, 2)
  np.testing.assert_array_equal(_all(whole, 1, 5), _all(more, 1, 5))
  assert [path.read_bytes() for path in before] == kept  # nothing was trained twice
  assert not np.array_equal(more.read(1, 2), more.read(2, 2))


class _StopAfter:
  """A stop request that comes true the n-th time it is asked."""

  def __init__(self, count):
    self._left = count

  def __bool__(self):
    self._left -= 1
    return self._left < 0


def test_stopped_in_a_chunk_it_loses_that_chunk_only(tmp_path):
  whole = _ensure(_config(tmp_path / "whole"), 2, 4)
  config = _config(tmp_path / "stopped")
  with pytest.raises(PreemptedError):
    _ensure(config, 2, 4, watch=Watch(stop_request=_StopAfter(5)))
  half = experts.open_buffer(config, load_real_data(config.data))
  assert half.num_epochs == 2
  again = _ensure(config, 2, 4)
  np.testing.assert_array_equal(_all(whole, 2, 4), _all(again, 2, 4))


def test_one_device_equals_four(tmp_path):
  one = _ensure(_config(tmp_path / "one"), 3, 2)
  four = _ensure(_config(tmp_path / "four"), 3, 2, num_devices=4)
  np.testing.assert_allclose(_all(one, 3, 2), _all(four, 3, 2), rtol=1e-4, atol=1e-6)


def test_experts_of_members_see_members_only(tmp_path):
  config = _config(tmp_path)
  real = load_real_data(config.data)
  members = np.arange(real.info.num_train) % 2 == 0
  own = _ensure(config, 1, 2, members=members)
  changed = real.train_images.copy()
  changed[~members] = 255 - changed[~members]
  layout = parallel.make_layout(1)
  other = _config(tmp_path / "other")
  same = experts.ensure(
    other, real._replace(train_images=changed), ExpertNeeds(1, 2), layout, Watch(), members
  )
  np.testing.assert_array_equal(_all(own, 1, 2), _all(same, 1, 2))
  assert not np.array_equal(own.read(0, 2), _ensure(_config(tmp_path / "all"), 1, 2).read(0, 2))


@pytest.mark.parametrize("method", [mtt, datm], ids=["sam", "gsam"])
def test_a_flat_trajectory_descends_by_the_gradient_of_the_worst_point_near_by(tmp_path, method):
  """Foret et al. 2021, eq. 2 and 3: one step on the whole set, by hand."""
  radius, rate = 0.5, 0.01
  config = _config(tmp_path, method, sharpness_radius=radius, batch_size=40)
  buffer = _ensure(config, 1, 1)
  real = load_real_data(config.data)
  network, source = build_network(config, real.info), experts.real_source(real)
  images = (np.asarray(source.images[0]) - np.asarray(source.mean)) / np.asarray(source.std)
  variables = initial_variables(network, jax.random.key(0), real.info.image_shape)
  start, unravel = jax.flatten_util.ravel_pytree(variables["params"])
  start = buffer.read(0, 0)

  @jax.jit
  def slope(flat):
    def loss(flat):
      logits = network.apply({"params": unravel(flat)}, images)
      return optax.softmax_cross_entropy(logits, source.labels[0]).mean()

    return jax.grad(loss)(flat)

  uphill = slope(start)
  if method is datm:  # Zhuang et al. 2022, algorithm 1, in the adaptive neighbourhood
    worst = slope(start + radius * start**2 * uphill / jnp.linalg.norm(start * uphill))
    upright = uphill - jnp.vdot(uphill, worst) / jnp.vdot(worst, worst) * worst
    assert jnp.linalg.norm(upright) > 1e-2 * jnp.linalg.norm(uphill)
    expected = start - rate * (worst - 0.4 * upright)
  else:
    expected = start - rate * slope(start + radius * uphill / jnp.linalg.norm(uphill))
  found = buffer.read(0, 1)
  assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(found - start)
  assert np.linalg.norm(start - rate * uphill - found) > 1e-2 * np.linalg.norm(found - start)


def test_a_deleted_file_is_trained_again_to_the_same_bits(tmp_path):
  config = _config(tmp_path, at_once=1)
  whole = _all(_ensure(config, 3, 4), 3, 4)
  next((tmp_path / "chunks").glob("experts-00001*")).unlink()
  np.testing.assert_array_equal(_all(_ensure(config, 3, 4), 3, 4), whole)


def test_an_altered_file_is_named_and_not_followed(tmp_path):
  config = _config(tmp_path)
  _ensure(config, 2, 4)
  path = sorted((tmp_path / "chunks").iterdir())[1]
  content = bytearray(path.read_bytes())
  content[-2] ^= 1
  path.write_bytes(content)
  with pytest.raises(ExpertBufferError, match=f"{path.name} is truncated or altered"):
    _ensure(config, 2, 4)


def test_the_log_counts_every_epoch_that_is_trained(tmp_path, caplog):
  config = _config(tmp_path, at_once=3)
  _ensure(config, 3, 1)
  with caplog.at_level(logging.INFO, "absl"):
    _ensure(config, 1, 3)
  told = "6 epochs in all, for 1 experts of 3 epochs (4 of them of experts that began together"
  assert told in caplog.text


def test_a_run_refuses_a_buffer_of_something_else_by_field(tmp_path):
  _ensure(_config(tmp_path), 1, 1)
  config = _config(tmp_path, learning_rate=0.02)
  with pytest.raises(ExpertBufferError, match="learning_rate: 0.01 there, 0.02 here"):
    _ensure(config, 1, 1)
  config = _config(tmp_path)
  config.augmentation = "crop"
  with pytest.raises(ExpertBufferError, match="augmentation: 'none' there, 'crop' here"):
    _ensure(config, 1, 1)
  config = _config(tmp_path)
  config.data.preprocessing = "zca_kornia"
  with pytest.raises(
    ExpertBufferError, match="preprocessing: 'standardise' there, 'zca_kornia' here"
  ):
    _ensure(config, 1, 1)


def test_each_split_follows_experts_of_its_own(tmp_path):
  config = _config(tmp_path)
  config.num_replicas, config.member_fraction, config.num_devices = 2, 0.5, 1
  job = prepare(config, pathlib.Path(), load_real_data(config.data))
  job = experts.attach(job, Watch())
  assert len(job.host_data) == 2
  folders = {buffer.folder for buffer in job.host_data}
  assert len(folders) == 2 and all(folder.parent == tmp_path for folder in folders)
  assert not np.array_equal(*(buffer.read(0, 1) for buffer in job.host_data))


def test_new_experts_are_cut_alike_however_many_are_done(tmp_path, monkeypatch):
  config = _config(tmp_path)
  buffer = experts.open_buffer(config, load_real_data(config.data))
  groups = plan_groups(buffer, 11, 3, 2, 2)
  assert [(group.first, group.end) for group in groups] == [(0, 4), (4, 8), (8, 11)]
  monkeypatch.setattr(buffer, "epochs_of", lambda expert: 3 if expert < 4 else None)
  assert plan_groups(buffer, 11, 3, 2, 2) == groups[1:]
