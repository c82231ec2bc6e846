"""Dealing networks out to devices and resuming them, on a training that can be seen through."""

import logging

from absl import logging as absl_logging
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.fitting import host
from ddjax.fitting.train import Rows, Training, TrainState, as_source
from ddjax.training.trainer import NonFiniteLossError, PreemptedError

NUM_STEPS = 7


def _make_walk(networks_at_once=2, fails_at=np.inf):
  """Weights that take a random step in proportion to their image, the loss their last sum."""

  def init(rng, rows, source):
    del rng, source
    start = jnp.broadcast_to(rows.learning_rates[:, None], (len(rows.indices), 3))
    return TrainState(jnp.int32(0), {"w": start}, None, None, jnp.zeros_like(rows.indices)[:, None])

  def advance(state, rng, rows, source, count):
    def one_step(weights, step, seeds, index):
      own = jax.random.fold_in(jax.random.fold_in(rng, seeds[0]), seeds[1])
      noise = jax.random.normal(jax.random.fold_in(own, step), (3,), jnp.float32)
      return weights + noise * source.images[index].mean()

    def body(i, weights):
      return jax.vmap(one_step, (0, None, 0, 0))(weights, state.step + i, rows.seeds, rows.indices)

    weights = jax.lax.fori_loop(0, count, body, state.variables["w"])
    loss = weights.sum(1)
    is_lost = (rows.seeds[:, 1] == 4) & (state.step + count >= fails_at)
    new = state.replace(step=state.step + count, variables={"w": weights})
    return new, jnp.where(is_lost, jnp.nan, loss)

  return Training(
    init, None, advance, lambda state: state.variables, NUM_STEPS, 1, networks_at_once
  )


def _fit(program, watch=host.Watch(), num_networks=5, key="walk"):
  source = as_source(np.arange(2, 4, dtype=np.float32).reshape(2, 1, 1, 1, 1), np.ones((2, 1, 1)))
  numbers = np.arange(num_networks)
  rows = Rows(
    np.stack([numbers // 3, numbers], 1).astype(np.uint32),
    (numbers % 2).astype(np.int32),
    np.float32(numbers),
  )
  return host.fit_networks(
    program, jax.random.key(7), rows, source, key=key, label="walks", watch=watch
  )["w"]


class _StopAt:
  """A stop request that comes true the n-th time it is read."""

  def __init__(self, n):
    self.left = n

  def __bool__(self):
    self.left -= 1
    return self.left <= 0


class _Killed(Exception):
  pass


class _KillAt(_StopAt):
  def __bool__(self):
    if super().__bool__():
      raise _Killed
    return False


@pytest.fixture(scope="module")
def program():
  return host.compile_training(_make_walk(), tuple(jax.devices()[:1]))


@pytest.fixture(scope="module")
def whole(program):
  """Five networks in groups of two, without a break."""
  return _fit(program)


@pytest.fixture
def step_by_step(monkeypatch):
  """Every call is one step, so that a test knows where a fit is."""
  monkeypatch.setattr(host, "_SECONDS_PER_CALL", 0.0)


def test_against_a_plain_loop(whole):
  assert isinstance(whole, np.ndarray) and whole.shape == (5, 3)
  for number in range(5):
    own = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), number // 3), number)
    noise = [jax.random.normal(jax.random.fold_in(own, t), (3,), jnp.float32) for t in range(7)]
    expected = number + (2 + number % 2) * np.sum(noise, axis=0)
    np.testing.assert_allclose(whole[number], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_networks,networks_at_once", [(1, 2), (5, 1), (5, 2), (5, 64)])
def test_devices_and_groups_change_no_bit(whole, num_networks, networks_at_once):
  """Also where the devices do not divide the networks."""
  many = host.compile_training(_make_walk(networks_at_once), tuple(jax.devices()[:4]))
  np.testing.assert_array_equal(_fit(many, num_networks=num_networks), whole[:num_networks])


def test_interrupted_at_every_step(program, whole, tmp_path, step_by_step):
  stops = []
  for _ in range(3 * NUM_STEPS):
    try:
      after = _fit(program, host.Watch(tmp_path, _StopAt(2)))
      break
    except PreemptedError as error:
      stops.append(error.step)
  # A run takes a step, sees the request and stops; after a group's last step in the next group.
  assert stops == [*range(1, 7), *range(7), *range(7)]
  np.testing.assert_array_equal(after, whole)


@pytest.mark.parametrize("when", [3, 10, 20])
def test_killed_and_started_again(program, whole, tmp_path, monkeypatch, step_by_step, when):
  monkeypatch.setattr(host, "_SECONDS_PER_SAVE", 0.0)
  with pytest.raises(_Killed):
    _fit(program, host.Watch(tmp_path, _KillAt(when)))
  reads = _StopAt(1000)
  np.testing.assert_array_equal(_fit(program, host.Watch(tmp_path, reads)), whole)
  assert 1000 - reads.left == 3 * NUM_STEPS - (when - 1)  # nothing is done twice


def test_other_devices_do_not_use_the_file(program, whole, tmp_path, step_by_step):
  """It holds groups of another size."""
  four = host.compile_training(_make_walk(networks_at_once=1), tuple(jax.devices()[:4]))
  with pytest.raises(PreemptedError):
    _fit(program, host.Watch(tmp_path, _StopAt(NUM_STEPS + 3)))  # in the second group
  np.testing.assert_array_equal(_fit(four, host.Watch(tmp_path)), whole)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"no npz"])
def test_a_damaged_file_is_named_and_not_used(
  program, whole, tmp_path, step_by_step, caplog, damage
):
  with pytest.raises(PreemptedError):
    _fit(program, host.Watch(tmp_path, _StopAt(4)))
  (path,) = tmp_path.iterdir()
  path.write_bytes(damage(path.read_bytes()))
  absl_logging.get_absl_logger().propagate = True
  with caplog.at_level(logging.WARNING):
    after = _fit(program, host.Watch(tmp_path))
  assert "damaged" in caplog.text and str(path) in caplog.text
  np.testing.assert_array_equal(after, whole)


def test_a_loss_that_is_not_finite_names_step_and_network(step_by_step):
  lost = host.compile_training(_make_walk(fails_at=3), tuple(jax.devices()[:1]))
  with pytest.raises(NonFiniteLossError, match=r"networks \[4\] is not finite at step 3\."):
    _fit(lost)


def test_a_second_fit_compiles_nothing(program, whole):
  compiled = []

  def listen(event, _, **__):
    if "backend_compile" in event:
      compiled.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    np.testing.assert_array_equal(_fit(program), whole)
    assert not compiled
    jax.block_until_ready(jax.jit(lambda x: x - 3)(jnp.ones(5)))
    assert compiled  # the listener does hear of compilations
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
