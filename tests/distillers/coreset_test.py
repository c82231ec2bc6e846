"""Choices against plain loops in NumPy, and whole coresets of real images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import coreset as coreset_config
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data, make_data_split
from ddjax.distillers import coreset
from ddjax.distillers.coreset import make_coreset
from ddjax.models.build import build
from tests.models.draws import draw

FEATURES = draw((12, 3), seed=4)
MEMBERS = np.arange(12) % 4 != 2
COUNT = 5


def _distances(features, point):
  return ((features - point) ** 2).sum(1)


def _herding(features, count):
  chosen = []
  for _ in range(count):
    scores = [
      np.inf if i in chosen else ((features[[*chosen, i]].mean(0) - features.mean(0)) ** 2).sum()
      for i in range(len(features))
    ]
    chosen.append(int(np.argmin(scores)))
  return chosen


def _k_center(features, count):
  chosen = [int(np.argmin(_distances(features, features.mean(0))))]
  while len(chosen) < count:
    nearest = np.min([_distances(features, features[i]) for i in chosen], axis=0)
    nearest[chosen] = -1
    chosen.append(int(np.argmax(nearest)))
  return chosen


def _k_means(features, count):
  centres = features[_k_center(features, count)]
  for _ in range(10):
    owner = np.argmin([_distances(features, centre) for centre in centres], axis=0)
    centres = np.array([features[owner == i].mean(0) for i in range(count)])
  chosen = []
  for centre in centres:
    distances = _distances(features, centre)
    distances[chosen] = np.inf
    chosen.append(int(np.argmin(distances)))
  return chosen


PLAIN = {"herding": _herding, "k_center": _k_center, "k_means": _k_means}


@pytest.mark.parametrize("method", PLAIN)
def test_choices_against_plain_loops(method):
  """Only members are looked at, whatever the features of the others."""
  rows = np.flatnonzero(MEMBERS)
  features = np.where(MEMBERS[:, None], FEATURES, 1e3)
  choose = jax.jit(coreset.METHODS[method], static_argnums=2)
  np.testing.assert_array_equal(
    choose(features, MEMBERS, COUNT), rows[PLAIN[method](FEATURES[rows], COUNT)]
  )


@pytest.mark.parametrize("method", PLAIN)
def test_as_many_as_there_are(method):
  """Every member once, also where all are alike."""
  choose = jax.jit(coreset.METHODS[method], static_argnums=2)
  for features in (FEATURES, np.ones_like(FEATURES)):
    chosen = choose(features, MEMBERS, int(MEMBERS.sum()))
    np.testing.assert_array_equal(np.sort(chosen), np.flatnonzero(MEMBERS))


@pytest.fixture(scope="module")
def real():
  """The fake set with 21 examples of class 0, 16, 11 and 16: unequal classes."""
  config = coreset_config.get_config("fake")
  real = load_real_data(config.data)
  labels = np.where((np.arange(64) % 4 == 2) & (np.arange(64) < 20), 0, real.train_labels)
  return real._replace(train_labels=labels.astype(np.int32))


def _config(ipc=3, **fields):
  config = coreset_config.get_config(f"fake,ipc={ipc}")
  config.coreset.update(dict(network="mlp", width=1, num_epochs=1, batch_size=32) | fields)
  return config


def _run(config, real, data, rng):
  """(state at the end, the published set, the losses)."""
  distiller = make_coreset(config, real.info)
  state = jax.jit(distiller.init)(rng, data)
  step, losses = jax.jit(distiller.step), []
  for _ in range(distiller.num_steps):
    state, metrics = step(state, data, jnp.int32(0))
    losses.append(float(metrics["loss"]))
  return state, distiller.extract(state), losses


def _rows_of(published, data):
  """The row of the real set that each published image is."""
  images = np.asarray(standardise(jnp.asarray(data.images), data)).reshape(len(data.images), -1)
  published = np.asarray(published.images).reshape(len(published.images), -1)
  gaps = np.abs(published[:, None] - images[None]).max(2)
  assert (gaps.min(1) < 1e-6).all()
  return gaps.argmin(1)


@pytest.mark.parametrize(
  "method,features,num_training_steps",
  [("herding", "pixels", 0), ("k_center", "random", 0), ("k_means", "trained", 2)],
)
def test_whole_coreset(real, method, features, num_training_steps):
  """The plain loop's choice in every class, in the features of the network as it stands."""
  mask = np.arange(64) % 5 != 0
  data = make_data_split(real, mask)
  config = _config(method=method, features=features)
  state, published, losses = _run(config, real, data, jax.random.key(0))
  assert len(losses) == num_training_steps + 4 and np.isfinite(losses).all()
  rows = _rows_of(published, data).reshape(4, 3)
  images = standardise(jnp.asarray(data.images), data)
  if features == "pixels":
    seen = np.asarray(images).reshape(64, -1)
  else:
    assert int(state.extra.step) == num_training_steps
    network = build("mlp", num_classes=4, width=1)
    variables = jax.tree.map(lambda leaf: leaf[0], state.extra.variables)
    seen = np.asarray(network.apply(variables, images, return_features=True)[1])
  for of_class in range(4):
    members = np.flatnonzero((real.train_labels == of_class) & mask)
    np.testing.assert_array_equal(rows[of_class], members[PLAIN[method](seen[members], 3)])
    missed = seen[rows[of_class]].mean(0) - seen[members].mean(0)
    np.testing.assert_allclose(
      losses[num_training_steps + of_class], (missed**2).sum(), rtol=1e-4, atol=1e-7
    )
  np.testing.assert_array_equal(published.labels, np.repeat(np.eye(4), 3, axis=0))


def test_random_is_a_random_subset(real):
  data = make_data_split(real, np.arange(64) % 5 != 0)
  subsets = [_run(_config(method="random"), real, data, jax.random.key(i))[1] for i in range(2)]
  rows = [_rows_of(subset, data) for subset in subsets]
  for chosen in rows:
    assert len(set(chosen)) == 12 and data.mask[chosen].all()
    np.testing.assert_array_equal(real.train_labels[chosen], np.repeat(np.arange(4), 3))
  assert set(rows[0]) != set(rows[1])


def test_a_whole_class(real):
  data = make_data_split(real)
  smallest = int(np.bincount(real.train_labels).min())
  config = _config(ipc=smallest, method="k_center", features="pixels")
  rows = _rows_of(_run(config, real, data, jax.random.key(0))[1], data).reshape(4, -1)
  assert set(rows[2]) == set(np.flatnonzero(real.train_labels == 2))
  assert all(len(set(row)) == smallest for row in rows)


@pytest.mark.parametrize(
  "fields,message",
  [
    ({"method": "herdin"}, "method 'herdin'.*Did you mean 'herding'"),
    ({"features": "pixel"}, "features 'pixel'.*Did you mean 'pixels'"),
    ({"num_epochs": 0}, "num_epochs=0 must be at least 1"),
    ({"ipc": 0}, "ipc=0 must be at least 1"),
  ],
)
def test_impossible_settings(real, fields, message):
  with pytest.raises(ValueError, match=message):
    make_coreset(_config(**fields), real.info)
