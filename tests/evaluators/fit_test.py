import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from ddjax.config.groups import accuracy_evaluation
from ddjax.evaluators import fit as fit_lib
from ddjax.evaluators.protocols import Protocol
from ddjax.models.build import build
from ddjax.types import DatasetInfo, DistilledSet

INFO = DatasetInfo("digits", (8, 8, 1), 10, 1347)
SHORT = Protocol(4, 4, 0.1, 0.9, 5e-4, ((0.5, 0.1),))


class Shift:
  """A preprocessing that is easy to see."""

  def forward(self, pixels):
    return 2 * pixels - 1


@contextlib.contextmanager
def count_compilations():
  events = []

  def listen(name, seconds, **_):
    if "backend_compile" in name:
      events.append(name)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield events
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def _config(**fields):
  config = accuracy_evaluation()
  config.update(fields)
  return config


def _real_subsets(count, seed):
  """`count` subsets of ten a class of the first 1347 digits, preprocessed by `Shift`."""
  digits = load_digits()
  rng = np.random.default_rng(seed)
  rows = [
    np.concatenate(
      [rng.choice(np.flatnonzero(digits.target[:1347] == c), 10, False) for c in range(10)]
    )
    for _ in range(count)
  ]
  images = np.float32(digits.images[np.stack(rows)][..., None] / 8 - 1)
  labels = np.eye(10, dtype=np.float32)[digits.target[np.stack(rows)]]
  return DistilledSet(images, labels, {"label_kind": "one_hot"})


def test_learns_digits_and_compiles_once():
  fit = fit_lib.make_fit(_config(networks=("mlp",), num_seeds=2), INFO, Shift())

  def sets(seed):
    return {
      "distilled": _real_subsets(2, seed),
      "random_subset": _real_subsets(3, seed),
    }

  with count_compilations() as first:
    fit(sets(0), jax.random.key(0))
  with count_compilations() as second:
    models = fit(sets(1), jax.random.key(1))
  assert first and not second

  distilled, subset = models["distilled"]["mlp"], models["random_subset"]["mlp"]
  np.testing.assert_array_equal(distilled.group, [0, 0, 1, 1])
  np.testing.assert_array_equal(subset.group, [0, 1, 2])
  digits = load_digits()
  pixels = jnp.asarray(digits.images[1347:, ..., None] / 16, jnp.float32)
  logits = jax.vmap(distilled.predict_fn, (0, None))(distilled.params, pixels)
  accuracy = (np.asarray(logits).argmax(-1) == digits.target[1347:]).mean(axis=1)
  assert accuracy.shape == (4,) and accuracy.min() > 0.7, accuracy

  # Equal sets and equal seeds: network (i, 0) is the same in both, and no two others are.
  first = jax.tree.map(lambda leaf: leaf[::2], distilled.params)
  same = jax.tree.map(lambda leaf: leaf[:2], subset.params)
  for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(same), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
  kernels = np.asarray(distilled.params["params"]["readout"]["kernel"]).reshape(4, -1)
  assert all(np.abs(kernels[i] - kernels[j]).max() > 1e-3 for i in range(4) for j in range(i))


def test_together_equals_alone():
  """Five networks in groups of two, against a plain loop over true minibatches with SGD by hand."""
  network = build("convnet", num_classes=3, width=2, depth=1)
  images = jax.random.normal(jax.random.key(1), (2, 10, 4, 4, 1), jnp.float32)
  labels = jax.nn.one_hot(jax.random.randint(jax.random.key(2), (2, 10), 0, 3, jnp.int32), 3)
  seeds = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]], np.uint32)
  indices = np.array([0, 0, 0, 1, 1])
  rng = jax.random.key(0)
  train = fit_lib.make_train(network, SHORT, networks_at_once=2)
  together = train(rng, seeds, indices, images, labels, loss="cross_entropy")

  @jax.jit
  def gradient(params, x, y):
    return jax.grad(lambda params: optax.softmax_cross_entropy(network.apply(params, x), y).mean())(
      params
    )

  one = 4
  own = jax.random.fold_in(jax.random.fold_in(rng, seeds[one, 0]), seeds[one, 1])
  init_rng, order_rng = jax.random.split(own)
  params = jax.jit(network.init)(init_rng, images[0, :1])
  velocity = jax.tree.map(jnp.zeros_like, params)
  for epoch in range(4):
    if epoch == 2:
      velocity = jax.tree.map(jnp.zeros_like, params)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(order_rng, epoch), 10))
    for rows in (order[:4], order[4:8], order[8:]):
      gradients = gradient(params, images[1, rows], labels[1, rows])
      velocity = jax.tree.map(lambda v, g, p: 0.9 * v + g + 5e-4 * p, velocity, gradients, params)
      rate = 0.1 if epoch < 2 else 0.01
      params = jax.tree.map(lambda p, v, rate=rate: p - rate * v, params, velocity)
  for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(params), strict=True):
    assert len(ours) == 5
    np.testing.assert_allclose(ours[one], theirs, atol=2e-4)
    assert np.abs(np.asarray(ours[3] - theirs)).max() > 1e-3


@pytest.mark.parametrize(
  "images,labels,info,message",
  [
    ((1, 4, 9, 8, 1), (1, 4, 10), {"label_kind": "one_hot"}, r"'distilled'.*\(1, 4, 9, 8, 1\)"),
    ((1, 4, 8, 8, 1), (1, 4, 9), {"label_kind": "one_hot"}, r"\(1, 4, 9\).*\(1, 4, 10\)"),
    ((1, 4, 8, 8, 1), (1, 4, 10), {"label_kind": "hot"}, "'hot'.*Did you mean 'one_hot'"),
    ((1, 4, 8, 8, 1), (1, 4, 10), None, "label kind None"),
  ],
)
def test_sets_that_do_not_suit(images, labels, info, message):
  fit = fit_lib.make_fit(_config(), INFO, Shift())
  distilled = DistilledSet(np.zeros(images, np.float32), np.zeros(labels, np.float32), info)
  with pytest.raises(ValueError, match=message):
    fit({"distilled": distilled}, jax.random.key(0))


def test_unknown_network_and_protocol():
  with pytest.raises(ValueError, match="'mpl'"):
    fit_lib.make_fit(_config(networks=("mpl",)), INFO, Shift())
  with pytest.raises(ValueError, match="'dcc'"):
    fit_lib.make_fit(_config(protocol="dcc"), INFO, Shift())
