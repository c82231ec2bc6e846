"""What every distiller must keep to, whatever it computes.

Distillers, programs and runs without side effects are made once for the tests of a case.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.training import parallel, trainer
from ddjax.training.checkpoints import Checkpoints
from ddjax.types import DistillState
from tests.distillers.cases import CASES, make_distiller, make_shards

pytestmark = pytest.mark.parametrize(
  "case",
  [
    pytest.param(case, marks=pytest.mark.slow if case.is_slow else (), id=case.name)
    for case in CASES
  ],
)


def _as_arrays(tree):
  def array(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

  return [array(leaf) for leaf in jax.tree.leaves(tree)]


_BY_NAME = {case.name: case for case in CASES}


@functools.cache
def _distiller_of(name, axis_name=None):
  return make_distiller(_BY_NAME[name], axis_name)


def _make_program(distiller, layout, steps_per_call):
  return parallel.make_program(
    distiller.step,
    layout,
    steps_per_call=steps_per_call,
    is_host_fed=distiller.batch_at is not None,
  )


@functools.cache
def _program_of(name, layout, steps_per_call):
  return _make_program(_distiller_of(name, layout.axis_name)[0], layout, steps_per_call)


@functools.cache
def _alone(name, num_steps):
  """The state as arrays after steps on one device, of the third of four replicas' keys."""
  distiller, data, _ = _distiller_of(name)
  rngs = jax.random.split(jax.random.key(3), 4)
  alone = jax.jit(distiller.init)(rngs[2], data)
  for shard in _shards_of_steps(_BY_NAME[name], distiller, alone.rng, num_steps):
    alone, _ = jax.jit(distiller.step)(alone, data, shard)
  return _as_arrays(jax.device_get(alone))


@pytest.fixture(scope="module", autouse=True)
def _forget():
  yield
  for cached in (_distiller_of, _program_of, _alone, _run_of):
    cached.cache_clear()


def _run(case, **changes):
  """(distiller, state, metrics f32[steps (r)]); a run of equal arguments is not made again."""
  return _run_of(case.name, **changes)


@functools.cache
def _run_of(
  name, *, num_devices=1, num_replicas=0, steps_per_call=4, num_steps=4, data_change=None
):
  case = _BY_NAME[name]
  layout = parallel.make_layout(num_devices, num_replicas)
  distiller, data, _ = _distiller_of(name, layout.axis_name)
  if data_change is not None:
    data = data_change(data)
  rngs = jax.random.split(jax.random.key(3), max(num_replicas, 1))
  state = trainer.initialise(distiller, data, rngs if num_replicas else rngs[0], layout)
  shards = [
    make_shards(case, distiller, state, step, steps_per_call, steps_per_call, layout)
    for step in range(0, num_steps, steps_per_call)
  ]
  state = parallel.place_state(state, layout)
  data = parallel.replicate(data, layout)
  program = _program_of(name, layout, steps_per_call)
  collected = []
  for shard in shards:
    state, metrics = program(state, data, steps_per_call, shard)
    collected.append(jax.device_get(metrics))
  state = jax.device_get(parallel.collect_state(state, layout))
  metrics = {name: np.concatenate([m[name] for m in collected]) for name in collected[0]}
  return distiller, state, metrics


def _shards_of_steps(case, distiller, rng, num_steps):
  """What the step itself gets, step by step, where it is called alone, on one device."""
  if distiller.batch_at is None:
    return [jnp.int32(0)] * num_steps
  state = DistillState(jnp.int32(0), rng, None, None)
  shards = make_shards(case, distiller, state, 0, num_steps, num_steps, parallel.make_layout(1))
  return [jax.tree.map(lambda leaf, i=i: leaf[i, 0], shards) for i in range(num_steps)]


def test_shapes_are_known_without_running(case):
  distiller, data, info = _distiller_of(case.name)
  state = jax.eval_shape(distiller.init, jax.random.key(0), data)
  (shard,) = _shards_of_steps(case, distiller, jax.random.key(0), 1)
  after, metrics = jax.eval_shape(distiller.step, state, data, shard)
  published = jax.eval_shape(distiller.extract, after)
  num = 2 * info.num_classes
  assert jax.tree.structure(state) == jax.tree.structure(after)
  assert [leaf.shape for leaf in jax.tree.leaves(state)] == [
    leaf.shape for leaf in jax.tree.leaves(after)
  ]
  assert published.images.shape == (num, *info.image_shape)
  assert published.labels.shape == (num, info.num_classes)
  assert published.images.dtype == published.labels.dtype == jnp.float32
  assert all(metric.shape == () for metric in metrics.values())


def test_steps_are_finite_and_the_loss_falls(case):
  distiller, state, metrics = _run(case, num_steps=40)
  assert all(np.isfinite(rows).all() for rows in metrics.values())
  assert int(state.step) == 40
  assert np.isfinite(np.asarray(distiller.extract(state).images)).all()
  if case.loss_ratio is not None:
    first, last = metrics["loss"][:10].mean(), metrics["loss"][-10:].mean()
    assert last < case.loss_ratio * first


def test_second_call_compiles_nothing(case):
  layout = parallel.make_layout(1)
  distiller, data, _ = _distiller_of(case.name, layout.axis_name)
  state = trainer.initialise(distiller, data, jax.random.key(0), layout)
  first = make_shards(case, distiller, state, 0, 3, 4, layout)
  second = make_shards(case, distiller, state, 3, 2, 4, layout)
  state = parallel.place_state(state, layout)
  data = parallel.replicate(data, layout)
  program = _make_program(distiller, layout, 4)  # of its own, which nobody has called
  state, _ = program(state, data, 3, first)
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: compiled.append(event) if "backend_compile" in event else None
  )
  jax.block_until_ready(program(state, data, 2, second))
  assert not compiled
  jax.block_until_ready(jax.jit(lambda x: x + 2)(jnp.ones(3)))
  assert compiled  # the listener does hear of compilations


def test_same_seed_same_bits_whatever_the_call_length(case):
  _, whole, _ = _run(case, steps_per_call=4)
  _, pieces, _ = _run(case, steps_per_call=2)
  for a, b in zip(_as_arrays(whole), _as_arrays(pieces), strict=True):
    np.testing.assert_array_equal(a, b)


def _uneven(data):
  """Members that the classes, and the devices' rows, share unequally."""
  return data.replace(mask=np.arange(len(data.labels)) % 7 < 5)


def test_one_device_equals_four(case):
  _, one, one_metrics = _run(case, num_devices=1, num_steps=8, data_change=_uneven)
  _, four, four_metrics = _run(case, num_devices=4, num_steps=8, data_change=_uneven)
  assert one_metrics.keys() == four_metrics.keys()
  for name in one_metrics:
    np.testing.assert_allclose(one_metrics[name], four_metrics[name], rtol=1e-3, atol=1e-6)
  for a, b in zip(_as_arrays(one), _as_arrays(four), strict=True):
    np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=2e-3, atol=2e-4)


def test_a_restart_in_the_middle_ends_on_the_same_bits(case, tmp_path):
  _, unbroken, _ = _run(case, steps_per_call=2)
  layout = parallel.make_layout(1)
  distiller, data, _ = _distiller_of(case.name, layout.axis_name)
  data = parallel.replicate(data, layout)
  program = _program_of(case.name, layout, 2)
  state = trainer.initialise(distiller, data, jax.random.split(jax.random.key(3), 1)[0], layout)
  shard = make_shards(case, distiller, state, 0, 2, 2, layout)
  state, _ = program(parallel.place_state(state, layout), data, 2, shard)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(2, state)
  like = trainer.initialise(distiller, data, jax.random.key(9), layout)
  with Checkpoints(tmp_path) as checkpoints:
    restored = checkpoints.restore(like)
  shard = make_shards(case, distiller, restored, 2, 2, 2, layout)
  restored = parallel.place_state(restored, layout)
  after, _ = program(restored, data, 2, shard)
  for a, b in zip(_as_arrays(unbroken), _as_arrays(jax.device_get(after)), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("num_devices", [1, 4])
def test_replicas_equal_runs_of_their_own(case, num_devices):
  layout = parallel.make_layout(num_devices, 4)
  assert layout.split == ("replicas" if num_devices > 1 else "rows")
  _, many, _ = _run(case, num_devices=num_devices, num_replicas=4)
  for a, b in zip(_as_arrays(many), _alone(case.name, 4), strict=True):
    np.testing.assert_allclose(a[2].astype(float), b.astype(float), rtol=2e-3, atol=2e-4)


def _half(data):
  return data.replace(mask=np.arange(len(data.labels)) // 4 % 2 == 0)


def _half_with_noise(data):
  data = _half(data)
  noise = np.random.default_rng(0).permuted(data.images)
  return data.replace(images=np.where(data.mask[:, None, None, None], data.images, noise))


def test_examples_that_are_no_members_have_no_influence(case):
  _, clean, _ = _run(case, data_change=_half)
  _, noisy, _ = _run(case, data_change=_half_with_noise)
  _, whole, _ = _run(case)
  for a, b in zip(_as_arrays(clean), _as_arrays(noisy), strict=True):
    np.testing.assert_array_equal(a, b)
  assert any((a != b).any() for a, b in zip(_as_arrays(clean), _as_arrays(whole), strict=True))
