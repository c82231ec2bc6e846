"""KIP and its beginnings against plain NumPy, finite differences and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from ddjax.config import groups
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data, make_data_split
from ddjax.distillers import synthetic
from ddjax.distillers.kip import make_kip, target_batch_size
from ddjax.distillers.label_solve import make_label_solve
from tests.distillers.cases import Case, make_config, make_distiller


def _linear_kip(**changes):
  """KIP with the linear kernel, which NumPy can follow; targets are all 64 fake examples."""
  case = Case("linear", "kip", {"kernel.family": "linear", "outer.target_batch_size": 64} | changes)
  return make_distiller(case), make_config(case)


def _numpy_loss(images, labels, targets, target_labels, config):
  """Eq. 3 of the paper with the kernel b^2 + w^2 x.x' / d, in plain NumPy."""
  w, b = config.kernel.weight_std, config.kernel.bias_std
  support, targets = images.reshape(len(images), -1), targets.reshape(len(targets), -1)
  k_ss = w**2 * support @ support.T / support.shape[1] + b**2
  k_ts = w**2 * targets @ support.T / support.shape[1] + b**2
  ridge = config.ridge * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss))
  predicted = k_ts @ np.linalg.solve(k_ss + ridge, labels)
  return 0.5 * np.mean((predicted - target_labels) ** 2)


def test_loss_is_that_of_plain_numpy():
  (distiller, data, info), config = _linear_kip()
  state = distiller.init(jax.random.key(0), data)
  _, metrics = distiller.step(state, data, jnp.int32(0))
  targets = np.asarray(standardise(data.images, data), np.float64)
  target_labels = np.eye(4)[data.labels] - 0.25
  start = np.asarray(state.synthetic.images, np.float64), np.asarray(state.synthetic.labels)
  expected = _numpy_loss(*start, targets, target_labels, config)
  np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)


def test_first_update_goes_against_the_finite_difference_gradient():
  """Adam's first step is the learning rate times the sign of the gradient."""
  (distiller, data, info), config = _linear_kip()
  state = distiller.init(jax.random.key(0), data)
  after, _ = distiller.step(state, data, jnp.int32(0))
  moved = np.asarray(after.synthetic.images - state.synthetic.images)
  targets = np.asarray(standardise(data.images, data), np.float64)
  target_labels = np.eye(4)[data.labels] - 0.25
  images = np.asarray(state.synthetic.images, np.float64)
  labels = np.asarray(state.synthetic.labels, np.float64)
  rng = np.random.default_rng(0)
  for _ in range(20):
    place = tuple(rng.integers(size) for size in images.shape)
    bump = np.zeros_like(images)
    bump[place] = 1e-4
    slope = _numpy_loss(images + bump, labels, targets, target_labels, config)
    slope -= _numpy_loss(images - bump, labels, targets, target_labels, config)
    if abs(slope) > 1e-9:
      assert np.sign(moved[place]) == -np.sign(slope)
      np.testing.assert_allclose(abs(moved[place]), config.outer.learning_rate, rtol=0.02)


def test_labels_stay_unless_asked():
  for learn_labels in (False, True):
    (distiller, data, _), _ = _linear_kip(**{"synthetic.learn_labels": learn_labels})
    state = distiller.init(jax.random.key(0), data)
    after, _ = jax.jit(distiller.step)(state, data, jnp.int32(0))
    has_moved = bool((after.synthetic.labels != state.synthetic.labels).any())
    assert has_moved == learn_labels


def test_label_solve_is_least_squares_over_the_train_set():
  case = Case("label_solve", "label_solve", {"kernel.family": "linear", "ridge": 0.1})
  distiller, data, info = make_distiller(case)
  config = make_config(case)
  state = distiller.init(jax.random.key(0), data)
  for _ in range(distiller.num_steps):
    state, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  published = distiller.extract(state)
  support = np.asarray(published.images, np.float64).reshape(8, -1)
  targets = np.asarray(standardise(data.images, data), np.float64).reshape(64, -1)
  w, b = config.kernel.weight_std, config.kernel.bias_std
  k_ss = w**2 * support @ support.T / support.shape[1] + b**2
  k_ts = w**2 * targets @ support.T / support.shape[1] + b**2
  design = k_ts @ np.linalg.inv(k_ss + config.ridge * np.trace(k_ss) / 8 * np.eye(8))
  target_labels = np.eye(4)[data.labels] - 0.25
  expected, residual, _, _ = np.linalg.lstsq(design, target_labels, rcond=None)
  np.testing.assert_allclose(published.labels, expected, rtol=2e-3, atol=2e-4)
  np.testing.assert_allclose(metrics["loss"], 0.5 * residual.sum() / (64 * 4), rtol=1e-3)


def test_label_solve_counts_a_last_short_block_once():
  whole = _solved_labels(block=64)
  short = _solved_labels(block=48)  # 64 = 48 + 16
  np.testing.assert_allclose(whole, short, rtol=1e-3, atol=1e-4)


def _solved_labels(block):
  config = groups.base("label_solve", "fake")
  config.kernel = groups.kernel("fc", 1)
  config.update(groups.kip(ipc=2, num_steps=1, learning_rate=0.1, target_batch_size=block))
  real = load_real_data(config.data)
  data = make_data_split(real)
  distiller = make_label_solve(config, real.info)
  state = distiller.init(jax.random.key(0), data)
  for _ in range(distiller.num_steps):
    state, _ = jax.jit(distiller.step)(state, data, jnp.int32(0))
  return distiller.extract(state).labels


def _fake():
  real = load_real_data(groups.data("fake"))
  return real, jax.device_put(make_data_split(real))


def test_initial_images_are_distinct_members_of_their_class():
  real, data = _fake()
  data = data.replace(mask=np.arange(64) >= 16)
  rows = np.asarray(synthetic.draw_members(jax.random.key(0), data, 5))
  assert (real.train_labels[rows] == np.arange(4)[:, None]).all()
  assert (rows >= 16).all() and len(np.unique(rows)) == 20
  other = np.asarray(synthetic.draw_members(jax.random.key(1), data, 5))
  assert (rows != other).any()


def test_kmeans_centres_are_as_good_as_scikit_learns():
  real, data = _fake()
  centres = synthetic.init_images(jax.random.key(0), data, real.info, 2, "kmeans")
  rows = (real.train_images.astype(np.float64) - np.asarray(data.mean)) / np.asarray(data.std)
  for c in range(4):
    members = rows[real.train_labels == c].reshape(16, -1)
    best = KMeans(2, n_init=10, random_state=0).fit(members).inertia_
    mine = np.asarray(centres[2 * c : 2 * c + 2], np.float64).reshape(2, -1)
    inertia = ((members[:, None] - mine[None]) ** 2).sum(-1).min(1).sum()
    single = ((members - members.mean(0)) ** 2).sum()
    assert best * 0.999 <= inertia < single
    assert inertia < 1.15 * best


@pytest.mark.parametrize("init", synthetic.INITS)
def test_every_beginning_gives_images_and_centred_labels(init):
  real, data = _fake()
  start = synthetic.init_synthetic(
    jax.random.key(0), data, real.info, ipc=3, init=init, is_centred=True
  )
  assert start.images.shape == (12, 8, 8, 1) and start.labels.shape == (12, 4)
  np.testing.assert_allclose(start.labels.sum(1), 0, atol=1e-6)
  assert (np.argmax(start.labels, 1) == np.repeat(np.arange(4), 3)).all()


def test_a_config_is_read_once():
  """Changing it afterwards changes nothing: the factory has read it."""
  case = Case("kip", "kip", {})
  config = make_config(case)
  real, data = _fake()
  distiller = make_kip(config, real.info)
  state = distiller.init(jax.random.key(0), data)
  expected, _ = jax.jit(lambda state: distiller.step(state, data, jnp.int32(0)))(state)
  config.outer.learning_rate = 100.0
  again, _ = jax.jit(lambda state: distiller.step(state, data, jnp.int32(0)))(state)  # traced anew
  np.testing.assert_array_equal(expected.synthetic.images, again.synthetic.images)


def test_a_batch_size_of_zero_is_as_large_as_the_data_allow():
  config = make_config(Case("own", "kip", {"outer.target_batch_size": 0}))
  real, _ = _fake()
  assert target_batch_size(config, real.info) == 64
  assert target_batch_size(config, real.info._replace(num_train=70, num_classes=3)) == 48
  assert target_batch_size(config, real.info._replace(num_train=60000, num_classes=10)) == 5000
  assert target_batch_size(config, real.info._replace(num_train=20, num_classes=3)) == 3
