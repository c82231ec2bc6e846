"""The loop, its checkpoints and its refusals, on a method small enough to see through."""

import os
import pickle
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax import errors
from ddjax.data.splits import rows_by_class
from ddjax.training import parallel, trainer
from ddjax.training.checkpoints import CheckpointError, Checkpoints
from ddjax.types import DataSplit, DistilledSet, Distiller, DistillState, Synthetic


def _data():
  labels = np.arange(16, dtype=np.int32) % 4
  class_index, class_counts = rows_by_class(labels, 4)
  ones = np.ones(1, np.float32)
  images = np.arange(16 * 4, dtype=np.uint8).reshape(16, 2, 2, 1)
  return DataSplit(images, labels, np.ones(16, bool), class_index, class_counts, 0 * ones, ones)


def _make_walk(axis_name=None, fails_at=None):
  """A random walk whose steps depend on the key, the step and this device's rows of the data."""

  def init(rng, data):
    del data
    images = jnp.zeros((4, 2, 2, 1), jnp.float32)
    return DistillState(jnp.int32(0), rng, Synthetic(images, jnp.eye(4)), None)

  def step(state, data, shard):
    del shard
    rng = jax.random.fold_in(state.rng, state.step)
    rows = parallel.own_rows(jax.random.permutation(rng, 16), axis_name)
    own = data.images[rows].astype(jnp.float32).mean()
    mean = parallel.mean_across(own * jnp.cos(own), axis_name)
    images = state.synthetic.images + mean
    loss = jnp.where(state.step + 1 == fails_at, jnp.nan, mean) if fails_at else mean
    new = state.replace(step=state.step + 1, synthetic=state.synthetic.replace(images=images))
    return new, {"loss": loss}

  return Distiller(init, step, lambda state: DistilledSet(state.synthetic.images, jnp.eye(4)))


def _train(folder, *, num_steps=10, num_devices=1, fails_at=None, when=None, **hooks):
  """With a schedule of `when` and hooks by name."""
  layout = parallel.make_layout(num_devices)
  distiller = _make_walk(layout.axis_name, fails_at)
  with Checkpoints(folder) as checkpoints:
    state = trainer.initialise(distiller, _data(), jax.random.key(0), layout)
    if checkpoints.latest_step() is not None:
      state = checkpoints.restore(state)
    return trainer.train(
      distiller,
      _data(),
      state,
      layout,
      trainer.Schedule(num_steps, steps_per_call=3, checkpoint_every_steps=5, **(when or {})),
      trainer.Hooks(checkpoints, **hooks),
    )


def test_ten_steps_are_five_and_five_more_bit_for_bit(tmp_path):
  whole = _train(tmp_path / "whole")
  _train(tmp_path / "parts", num_steps=5)
  parts = _train(tmp_path / "parts", num_steps=10)
  np.testing.assert_array_equal(whole.synthetic.images, parts.synthetic.images)
  assert int(parts.step) == 10
  shorter = _train(tmp_path / "other", num_steps=9)
  assert (shorter.synthetic.images != whole.synthetic.images).all()


def test_a_checkpoint_of_four_devices_is_read_on_one(tmp_path):
  _train(tmp_path / "run", num_steps=5, num_devices=4)
  resumed = _train(tmp_path / "run", num_steps=10, num_devices=1)
  assert int(resumed.step) == 10


def test_metrics_come_once_a_step_and_in_order(tmp_path):
  seen, stopped = [], []
  _train(
    tmp_path,
    when=dict(stops=(0, 4, 10, 99)),
    on_metrics=lambda first, metrics: seen.extend(first + i for i in range(len(metrics["loss"]))),
    on_stop=lambda step, state: stopped.append((step, int(state.step))),
  )
  assert seen == list(range(1, 11))
  assert stopped == [(0, 0), (4, 4), (10, 10)]


def test_slow_steps_are_called_one_by_one_and_end_on_the_same_bits(tmp_path, monkeypatch):
  whole, lengths = _train(tmp_path / "whole"), []
  monkeypatch.setattr(trainer, "_CALL_SECONDS", 0.0)
  slow = _train(
    tmp_path / "slow", on_metrics=lambda _, metrics: lengths.append(len(metrics["loss"]))
  )
  assert lengths[0] == 3 and lengths[2:] == [1] * (10 - sum(lengths[:2]))
  np.testing.assert_array_equal(slow.synthetic.images, whole.synthetic.images)


def test_the_state_is_saved_once_so_much_time_went_by(tmp_path):
  for minutes, last in ((60.0, 5), (1e-9, 8)):  # calls end at steps 3, 5, 8 and 10
    folder = tmp_path / str(last)
    with pytest.raises(
      trainer.NonFiniteLossError, match=f"step 9. Last good checkpoint: step {last}"
    ):
      _train(folder, fails_at=9, when=dict(checkpoint_every_minutes=minutes))
    with Checkpoints(folder) as checkpoints:
      assert checkpoints.latest_step() == last


def test_a_loss_that_is_not_finite_stops_with_step_and_last_good_checkpoint(tmp_path):
  with pytest.raises(trainer.NonFiniteLossError, match="'loss' is nan at step 7.*step 5 in"):
    _train(tmp_path, fails_at=7)
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest_step() == 5


def test_sigterm_saves_and_the_next_start_goes_on(tmp_path):
  whole = _train(tmp_path / "whole")

  def on_stop(step, _):
    if step == 4:
      os.kill(os.getpid(), signal.SIGTERM)

  with trainer.StopRequest() as stop, pytest.raises(trainer.PreemptedError, match="step 4"):
    _train(tmp_path / "run", when=dict(stops=(4,)), on_stop=on_stop, stop_request=stop)
  with Checkpoints(tmp_path / "run") as checkpoints:
    assert checkpoints.latest_step() == 4
  resumed = _train(tmp_path / "run")
  np.testing.assert_array_equal(whole.synthetic.images, resumed.synthetic.images)


def _terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_before_an_inner_request_is_entered_sets_it_too():
  with trainer.StopRequest() as outer:
    assert not outer
    _terminate()
    with trainer.StopRequest() as inner, trainer.StopRequest() as innermost:
      assert inner and innermost
    assert outer
  with trainer.StopRequest() as next_one:
    assert not next_one


def test_sigterm_during_an_inner_request_sets_the_outer_ones():
  before = signal.getsignal(signal.SIGTERM)
  with trainer.StopRequest() as outer:
    with trainer.StopRequest() as middle, trainer.StopRequest() as inner:
      assert not inner and not middle and not outer
      _terminate()
      assert inner and middle and outer
    assert middle and outer
  assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_asked_of_one_sets_those_inside_and_none_outside():
  with trainer.StopRequest() as outer:
    with trainer.StopRequest() as middle, trainer.StopRequest() as inner:
      thread = threading.Thread(target=middle.ask)
      thread.start()
      thread.join()
      assert middle and inner and not outer
    with trainer.StopRequest() as other:
      assert not other


def test_one_without_the_signal_leaves_it_and_hears_of_it_through_those_inside():
  before = signal.getsignal(signal.SIGTERM)
  with trainer.StopRequest(takes_signal=False) as outer:
    assert signal.getsignal(signal.SIGTERM) == before
    with trainer.StopRequest() as inner:
      _terminate()
      assert inner and outer


def test_requests_of_two_threads_are_apart():
  seen = []

  def look():
    with trainer.StopRequest() as own:
      seen.append(bool(own))

  with trainer.StopRequest() as stop:
    stop.ask()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
  assert seen == [False]


def test_a_stop_without_a_step_is_a_sentence_of_its_own():
  with pytest.raises(errors.PREEMPTION, match="^Asked to stop; all is saved.$") as caught:
    raise trainer.StoppedError("Asked to stop; all is saved.")
  assert isinstance(caught.value, trainer.PreemptedError) and caught.value.step is None
  again = pickle.loads(pickle.dumps(caught.value))
  assert isinstance(again, trainer.StoppedError) and str(again) == str(caught.value)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
  _train(tmp_path, num_steps=5)
  other = trainer.initialise(
    _make_walk(), _data(), jax.random.key(0), parallel.make_layout(1)
  ).replace(extra={"more": jnp.zeros(3)})
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="does not fit"):
    checkpoints.restore(other)


@pytest.mark.parametrize("is_cut", [True, False], ids=["cut", "emptied"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path, caplog, is_cut):
  whole = _train(tmp_path / "whole")
  _train(tmp_path / "run")
  for file in [path for path in (tmp_path / "run" / "10").rglob("*") if path.is_file()]:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if is_cut else b"")
  with Checkpoints(tmp_path / "run") as checkpoints:
    assert checkpoints.latest_step() == 10
  resumed = _train(tmp_path / "run")
  assert "Checkpoint 10" in caplog.text and "going on from step" in caplog.text
  np.testing.assert_array_equal(whole.synthetic.images, resumed.synthetic.images)
  with Checkpoints(tmp_path / "run") as checkpoints:
    assert checkpoints.latest_step() == 10  # saved anew


def test_where_no_checkpoint_can_be_read_all_stay(tmp_path):
  _train(tmp_path)
  before = sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit())
  for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
    file.write_bytes(b"")
  with pytest.raises(CheckpointError, match="Checkpoint 10 .*does not fit"):
    _train(tmp_path)
  assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == before


def test_no_checkpoint_is_an_error_that_names_the_folder(tmp_path):
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match=str(tmp_path)):
    checkpoints.restore(None)


def test_batches_that_the_devices_do_not_divide_are_refused():
  layout = parallel.make_layout(4)
  with pytest.raises(ValueError, match="batch_size=10 does not divide over 4 devices"):
    parallel.check_divides(layout, {"batch_size": 10})
  parallel.check_divides(layout, {"batch_size": 12})
  with pytest.raises(ValueError, match="num_devices=99"):
    parallel.make_layout(99)


def test_devices_without_a_mean_would_differ():
  """The data of the four devices do differ: without `mean_across` this is caught."""
  layout = parallel.make_layout(4)
  honest, forgetful = _make_walk(layout.axis_name), _make_walk(None)
  data = parallel.replicate(_data(), layout)

  def first_loss(distiller, keep_rows):
    def step(state, data, shard):
      rows = parallel.own_rows(jnp.arange(16), parallel.AXIS)
      state, metrics = distiller.step(state, data, shard)
      return state, {"loss": metrics["loss"] + (rows.sum() if keep_rows else 0.0)}

    state = trainer.initialise(distiller, _data(), jax.random.key(0), layout)
    program = parallel.make_program(step, layout, steps_per_call=1)
    _, metrics = program(
      parallel.place_state(state, layout), data, 1, parallel.device_numbers(layout)
    )
    shards = [np.asarray(piece.data) for piece in metrics["loss"].addressable_shards]
    return len({piece.tobytes() for piece in shards})

  assert first_loss(honest, keep_rows=False) == 1
  assert first_loss(forgetful, keep_rows=True) > 1


def test_host_batches_come_by_step_and_device(tmp_path):
  """A method that is fed by the host sees the batch of its own step, whatever the call length."""
  layout = parallel.make_layout(4)
  walk = _make_walk(layout.axis_name)

  def step(state, data, shard):
    mean = parallel.mean_across(shard.astype(jnp.float32).mean(), layout.axis_name)
    images = state.synthetic.images + mean
    new = state.replace(step=state.step + 1, synthetic=state.synthetic.replace(images=images))
    return new, {"loss": mean}

  fed = walk._replace(
    step=step, batch_at=lambda offset, seed, step: np.arange(4) + 10 * step + offset
  )
  losses = []
  with Checkpoints(tmp_path) as checkpoints:
    trainer.train(
      fed,
      _data(),
      trainer.initialise(fed, _data(), jax.random.key(0), layout),
      layout,
      trainer.Schedule(8, steps_per_call=3, checkpoint_every_steps=5),
      trainer.Hooks(checkpoints, lambda first, metrics: losses.extend(metrics["loss"])),
      host_data=(100,),
    )
  np.testing.assert_allclose(losses, [101.5 + 10 * step for step in range(8)])


def test_a_checkpoint_of_another_size_is_refused(tmp_path):
  _train(tmp_path, num_steps=5)
  like = trainer.initialise(_make_walk(), _data(), jax.random.key(0), parallel.make_layout(1))
  larger = like.replace(synthetic=like.synthetic.replace(images=jnp.zeros((8, 2, 2, 1))))
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(CheckpointError, match=r"\(4, 2, 2, 1\)"),
  ):
    checkpoints.restore(larger)
