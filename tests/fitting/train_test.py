"""Networks trained together, in calls and pieces, against a plain loop with SGD by hand."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.fitting import train
from ddjax.fitting.protocols import Protocol
from ddjax.models.build import build
from tests.models.draws import draw

# Minibatches of 5, 5 and 2; the rate drops, and the momentum is lost, after half of the epochs.
SGD = Protocol(4, 5, 0.1, 0.9, 5e-4, ((0.5, 0.1),), ema_decay=0.3)
KINDS = ("three networks, batch norm", "one network, pieces, absent examples, bytes")
WEIGHTS = np.float32(np.arange(24).reshape(2, 12) % 4 != 1)
NUM_STEPS = 12


def _source(kind=""):
  labels = np.eye(3, dtype=np.float32)[np.random.default_rng(2).integers(0, 3, (2, 12))]
  images = draw((2, 12, 4, 4, 1), seed=1)
  if "bytes" not in kind:
    return train.as_source(images, labels)
  stored = np.clip(60 + 50 * images, 0, 255).astype(np.uint8)
  mean, std = np.array([60], np.float32), np.array([50], np.float32)
  return train.Source(*map(jnp.asarray, (stored, labels, mean, std, WEIGHTS)))


def _rows(*seeds_and_sets, rate=0.1):
  rows = np.array(seeds_and_sets)
  rates = np.full(len(rows), rate, np.float32)
  return train.Rows(rows[:, :2].astype(np.uint32), rows[:, 2].astype(np.int32), rates)


def _rows_of(kind):
  """Three networks of two sets, or one."""
  return _rows((1, 0, 1)) if "one network" in kind else _rows((0, 0, 0), (0, 1, 0), (1, 0, 1))


@functools.cache
def _compiled(kind):
  """(network, training, its two functions compiled)."""
  name = "convnet(depth=1,norm=batch)" if "batch norm" in kind else "mlp"
  network = build(name, num_classes=3, width=2)
  training = train.make_training(
    network,
    SGD,
    loss="cross_entropy",
    num_examples=12,
    image_shape=(4, 4, 1),
    images_at_once=2,
  )
  return network, training, jax.jit(training.init), jax.jit(training.advance)


def _train(kind, calls=(NUM_STEPS,)):
  _, training, init, advance = _compiled(kind)
  rng, source, rows = jax.random.key(0), _source(kind), _rows_of(kind)
  state = init(rng, rows, source)
  for count in calls:
    state, loss = advance(state, rng, rows, source, np.int32(count))
  return training, state, loss


def _by_hand(network, seeds, images, labels, is_present):
  """(variables, their average, last loss) of one network, minibatch after minibatch."""

  @jax.jit
  def gradient(variables, x, y):
    def loss(params):
      stats = {name: leaf for name, leaf in variables.items() if name != "params"}
      logits, stats = network.apply(
        {"params": params, **stats}, x, is_training=True, mutable=["batch_stats"]
      )
      return optax.softmax_cross_entropy(logits, y).mean(), stats

    return jax.value_and_grad(loss, has_aux=True)(variables["params"])

  own = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), seeds[0]), seeds[1])
  init_rng, order_rng = jax.random.split(own)
  variables = jax.tree.map(np.asarray, jax.jit(network.init)(init_rng, images[:1]))
  average, step = variables, 0
  velocity = jax.tree.map(np.zeros_like, variables["params"])
  for epoch in range(4):
    rate = 0.1 if epoch < 2 else 0.01
    if epoch == 2:
      velocity = jax.tree.map(np.zeros_like, velocity)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(order_rng, epoch), 12))
    for batch in (order[:5], order[5:10], order[10:]):
      batch = batch[is_present[batch]]
      (loss, stats), grads = gradient(variables, images[batch], labels[batch])
      params = variables["params"]
      velocity = jax.tree.map(lambda v, g, p: 0.9 * v + g + 5e-4 * p, velocity, grads, params)
      params = jax.tree.map(lambda p, v, rate=rate: p - rate * v, params, velocity)
      variables = jax.tree.map(np.asarray, {"params": params, **stats})
      decay = min(0.3, (1 + step) / (10 + step))
      average = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, average, variables)
      step += 1
  return variables, average, loss


def _assert_close(ours, theirs, atol):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), ours, theirs)


def _assert_equal(ours, theirs):
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_together_equals_a_plain_loop(kind):
  """Parameters, running statistics and the average; no row that fills up a minibatch counts."""
  network = _compiled(kind)[0]
  training, state, losses = _train(kind)
  assert (training.num_steps, training.steps_per_epoch) == (NUM_STEPS, 3)
  assert int(state.step) == NUM_STEPS
  rows, source = _rows_of(kind), jax.tree.map(np.asarray, _source(kind))
  present = np.ones((2, 12), bool) if source.weights is None else source.weights > 0
  images = ((source.images - source.mean) / source.std).astype(np.float32)
  for row, index in enumerate(rows.indices):
    variables, average, loss = _by_hand(
      network, rows.seeds[row], images[index], source.labels[index], present[index]
    )
    ours = jax.tree.map(lambda leaf, row=row: leaf[row], (state.variables, training.finish(state)))
    assert ("batch_stats" in variables) == ("batch norm" in kind)
    _assert_close(ours, (variables, average), 1e-4)
    np.testing.assert_allclose(losses[row], loss, rtol=1e-3)
    gap = jax.tree.map(lambda a, b: np.abs(a - b).max(), average, variables)
    assert max(jax.tree.leaves(gap)) > 5e-4  # above the tolerance: not one for the other


def test_a_batch_of_absent_examples_changes_nothing():
  """It has no statistics for batch norm, and neither momentum nor decay go on without it."""
  kind = KINDS[0]
  _, _, init, advance = _compiled(kind)
  rng, rows = jax.random.key(0), _rows_of(kind)
  source = _source(kind).replace(weights=jnp.ones((2, 12)))
  before, _ = advance(init(rng, rows, source), rng, rows, source, np.int32(2))
  absent = source.replace(weights=jnp.zeros((2, 12)))
  after, _ = advance(before, rng, rows, absent, np.int32(1))
  _assert_equal((after.variables, after.opt_state), (before.variables, before.opt_state))
  other, _ = advance(before, rng, rows, source, np.int32(1))
  for old, new in zip(jax.tree.leaves(before.variables), jax.tree.leaves(other.variables)):
    assert (old != new).any() and np.isfinite(new).all()


@pytest.mark.parametrize("kind", KINDS)
def test_call_length_changes_no_bit(kind):
  _assert_equal(_train(kind)[1:], _train(kind, (1, 4, 7))[1:])


def _mlp_training(**fields):
  network = build("mlp", num_classes=3, width=1)
  training = train.make_training(
    network,
    Protocol(**dict(num_epochs=4, batch_size=256, learning_rate=0.1) | fields),
    loss="cross_entropy",
    num_examples=6,
    image_shape=(4, 4, 1),
  )
  return jax.jit(training.init), jax.jit(training.advance)


def test_augmentation_is_drawn_by_step_and_network():
  """Frozen equal networks on a whole batch differ by what is drawn, and by nothing else."""
  init, advance = _mlp_training(augmentation="color")
  rng, rows = jax.random.key(3), _rows((0, 0, 0), (0, 1, 0), (1, 0, 0), rate=0.0)
  source = train.as_source(_source().images[:1, :6], _source().labels[:1, :6])
  start = init(rng, rows, source)
  equal = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), start.variables)
  start = state = start.replace(variables=equal)
  losses = []
  for _ in range(4):
    state, loss = advance(state, rng, rows, source, np.int32(1))
    losses.append(np.asarray(loss))
  _assert_equal(state.variables, equal)
  every = np.concatenate(losses)
  gaps = np.abs(every[:, None] - every[None])[~np.eye(12, dtype=bool)]
  assert gaps.min() > 1e-5 * every.mean(), gaps.min()  # the order alone changes roundings
  _, at_once = advance(start, rng, rows, source, np.int32(4))
  np.testing.assert_array_equal(losses[-1], at_once)


def test_absent_examples_have_no_influence():
  """Neither by their loss, nor as partners in CutMix."""
  rng, rows = jax.random.key(0), _rows((0, 0, 0))
  init, advance = _mlp_training(batch_size=4, mix="cutmix", mix_probability=1.0)
  weights = np.array([[1, 0, 1, 1, 0, 1]], np.float32)
  images, labels = np.asarray(_source().images)[:1, :6], _source().labels[:1, :6]

  def run(images, weights):
    source = train.as_source(images, labels).replace(weights=jnp.asarray(weights))
    return advance(init(rng, rows, source), rng, rows, source, np.int32(8))

  other = images.copy()
  other[weights == 0] = 5.0
  state, loss = run(images, weights)
  _assert_equal((state, loss), run(other, weights))
  assert np.isfinite(loss).all()
  assert (run(images, np.ones_like(weights))[1] != loss).all()


@pytest.mark.parametrize("limit,expected", [(2**40, 64), (2**25, 2), (2**20, 1)])
def test_networks_that_train_together_fit_in_the_memory_of_a_gpu(monkeypatch, limit, expected):
  device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": limit})
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  training = train.make_training(
    build("convnet(depth=1)", num_classes=10, width=16),
    SGD._replace(batch_size=100),
    loss="cross_entropy",
    num_examples=100,
    image_shape=(8, 8, 1),
  )
  assert training.networks_at_once == expected
