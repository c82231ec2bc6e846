import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from ddjax import backend
from ddjax.augment.multiformation import decode
from ddjax.config.groups import accuracy_evaluation
from ddjax.config.groups import data as data_group
from ddjax.data.load import load_real_data
from ddjax.fitting import fit as fit_lib
from ddjax.fitting import host
from ddjax.io.distilled import INFO_FIELDS, load_distilled, save_distilled
from ddjax.training.trainer import PreemptedError
from ddjax.types import DatasetInfo, DistilledSet

INFO = DatasetInfo("digits", (8, 8, 1), 10, 1347)


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


@pytest.fixture(scope="module")
def fake():
  return load_real_data(data_group("fake"))


def _toy(info, num_entries=1, seed=0, **fields):
  """Noise, 8 images an entry, with soft labels whose largest are those of `_hardened`."""
  rng = np.random.default_rng(seed)
  images = rng.normal(size=(num_entries, 8, *info.image_shape)).astype(np.float32)
  labels = rng.dirichlet(np.ones(info.num_classes), (num_entries, 8)).astype(np.float32)
  return DistilledSet(images, labels, {"label_kind": "probabilities"} | fields)


def _hardened(distilled):
  labels = np.eye(distilled.labels.shape[-1], dtype=np.float32)[distilled.labels.argmax(-1)]
  return distilled.replace(labels=labels, info={"label_kind": "one_hot"})


def _tiny_config(**fields):
  """One step of the protocol `mtt`, which trains on hard labels, at the learned rate."""
  shared = dict(networks=("mlp",), width=1, num_epochs=1, augmentation="none")
  return _config(**shared | dict(protocol="mtt", num_seeds=2) | fields)


def _tiny(real, cached_sets=(), **fields):
  config = _tiny_config(**fields)
  return fit_lib.make_fit(config, real.info, real.preprocessing, cached_sets=cached_sets)


def _leaves(models, name):
  return jax.tree.leaves(models[name]["mlp"].params)


def _assert_equal(ours, theirs):
  for a, b in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(a, b)


def test_hard_labels_decoded_grids_and_learned_rates(fake):
  """What the protocol and the record of a set say of it, all in one fit."""
  soft = _toy(fake.info)
  grid = _toy(fake.info, seed=1).replace(info={"label_kind": "one_hot", "decode_factor": 2})
  grid = grid.replace(images=grid.images[:, :2], labels=grid.labels[:, :2])
  decoded = DistilledSet(
    np.asarray(decode(grid.images[0], 2))[None],
    np.tile(grid.labels, (1, 4, 1)),
    {"label_kind": "one_hot"},
  )
  both = DistilledSet(
    np.repeat(soft.images, 2, 0),
    np.repeat(soft.labels, 2, 0),
    soft.info | {"learning_rate": np.array([0.02, 0.03])},
  )
  sets = {
    "soft": soft.replace(info=soft.info | {"decode_factor": 1, "learning_rate": None}),
    "hard": _hardened(soft),
    "grid": grid,
    "decoded": decoded,
    "double": soft.replace(info=soft.info | {"learning_rate": 0.02}),
    "treble": soft.replace(info=soft.info | {"learning_rate": [0.03]}),
    "both": both,
  }
  models = _tiny(fake)(sets, jax.random.key(0))
  _assert_equal(_leaves(models, "soft"), _leaves(models, "hard"))
  _assert_equal(_leaves(models, "grid"), _leaves(models, "decoded"))
  _assert_equal([leaf[:2] for leaf in _leaves(models, "both")], _leaves(models, "double"))
  # One step of SGD is linear in the rate; a set without one takes .01.
  for one, two, three in zip(
    *(_leaves(models, name) for name in ("soft", "double", "treble")), strict=True
  ):
    assert np.abs(two - one).max() > 1e-5
    np.testing.assert_allclose(three - two, two - one, atol=1e-6)
  rows = fit_lib._rows("both", both, _tiny_config())
  np.testing.assert_allclose([row.learning_rate for row in rows], [0.02, 0.02, 0.03, 0.03])
  rows = fit_lib._rows("both", both, _tiny_config(learning_rate=0.5))
  assert [row.learning_rate for row in rows] == [0.5] * 4  # the config's goes first


def test_cached_networks_are_those_of_equal_content(fake, tmp_path, monkeypatch):
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path))
  trained = []
  fit_networks = host.fit_networks

  def count(*args, **options):
    trained.append(options["label"])
    return fit_networks(*args, **options)

  monkeypatch.setattr(host, "fit_networks", count)
  fit = _tiny(fake, cached_sets=("random_subset",), num_seeds=1)
  sets = {"random_subset": _toy(fake.info, 4)}
  first = fit(sets, jax.random.key(0))
  assert trained == ["mlp on random subset"]
  again = fit(sets, jax.random.key(0))
  assert len(trained) == 1
  assert jax.tree.structure(first["random_subset"]["mlp"].params) == jax.tree.structure(
    again["random_subset"]["mlp"].params
  )
  _assert_equal(_leaves(first, "random_subset"), _leaves(again, "random_subset"))
  np.testing.assert_array_equal(again["random_subset"]["mlp"].group, np.arange(4))

  changed = sets["random_subset"].images.copy()
  changed[0, 0, 0, 0, 0] += 1e-3
  fit({"random_subset": sets["random_subset"].replace(images=changed)}, jax.random.key(0))
  at_rate = sets["random_subset"].info | {"learning_rate": 0.02}
  fit({"random_subset": sets["random_subset"].replace(info=at_rate)}, jax.random.key(0))
  fit(sets, jax.random.key(1))
  assert len(trained) == 4
  for _ in range(2):
    fit({"distilled": sets["random_subset"]}, jax.random.key(0))
  assert len(trained) == 6  # only the sets that are named are kept


@pytest.mark.parametrize("is_shared_by_threads", [True, False])
def test_a_second_start_trains_in_shapes_of_the_first(
  fake, tmp_path, monkeypatch, is_shared_by_threads
):
  """What the cache holds of some sets must not change the programs that train the others."""
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path))
  calls = []

  def spy(program, rng, rows, source, **options):
    calls.append((options["size"], jax.tree.map(np.shape, source)))
    return plain(program, rng, rows, source, **options)

  plain = host.fit_networks
  monkeypatch.setattr(host, "fit_networks", spy)
  sets = {
    "distilled": _toy(fake.info, seed=1),
    "initial": _toy(fake.info, seed=2),
    "random_subset": _toy(fake.info, num_entries=3, seed=3),
    "herding": _toy(fake.info, seed=4),
  }
  with backend.changed_traits(is_shared_by_threads=is_shared_by_threads):
    for start in range(3):
      if start == 2:  # as where one of several coresets is new
        sets["herding"] = _toy(fake.info, seed=5)
      fit = _tiny(fake, cached_sets=("random_subset", "herding"), num_seeds=2)
      fit(sets, jax.random.key(0))
  assert [len(part) for part in (calls[:3], calls[3:4], calls[4:])] == [3, 1, 2]
  assert all(call in calls[:3] for call in calls[3:])
  if not is_shared_by_threads:  # one program for all
    assert all(call == calls[0] for call in calls)


def test_a_stop_is_taken_up_where_it_was(fake, tmp_path):
  """A real training, whose state holds optimiser, average and order of the examples."""
  fit = _tiny(fake, num_epochs=3, batch_size=3, ema_decay=0.5)
  sets = {"distilled": _toy(fake.info, 2)}
  whole = fit(sets, jax.random.key(0))
  looks = iter([False, False, True])

  class Stop:
    def __bool__(self):
      return next(looks)

  with pytest.raises(PreemptedError):
    fit(sets, jax.random.key(0), host.Watch(tmp_path, Stop()))
  assert len(list(tmp_path.iterdir())) == 1
  after = fit(sets, jax.random.key(0), host.Watch(tmp_path))
  _assert_equal(_leaves(whole, "distilled"), _leaves(after, "distilled"))


def test_a_set_from_disk_gives_the_same_networks(fake, tmp_path):
  soft = _toy(fake.info)
  info = dict.fromkeys(INFO_FIELDS) | {"label_kind": "probabilities", "learning_rate": 0.02}
  alone = DistilledSet(soft.images[0], soft.labels[0])
  loaded = load_distilled(save_distilled(tmp_path, alone, info, fake.preprocessing))
  batch = loaded.replace(images=loaded.images[None], labels=loaded.labels[None])
  from_disk = fit_lib.make_fit(_tiny_config(), fake.info, loaded.info["preprocessing"])
  models = (
    _tiny(fake)({"distilled": soft.replace(info=info)}, jax.random.key(0)),
    from_disk({"distilled": batch}, jax.random.key(0)),
  )
  _assert_equal(*(_leaves(one, "distilled") for one in models))
  pixels = jnp.asarray(fake.test_images / np.float32(255), jnp.float32)
  logits = [
    jax.vmap(fit.predict_fn, (0, None))(fit.params, pixels)
    for fit in (one["distilled"]["mlp"] for one in models)
  ]
  np.testing.assert_array_equal(*logits)


def test_full_set_from_bytes(fake, tmp_path, monkeypatch):
  """The same networks as on the standardised images, and from then on from the cache."""
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path))
  config = _config(networks=("mlp",), width=1, full_epochs=2, full_seeds=2, batch_size=24)
  rng = jax.random.key(5)
  assert fake.train_images.dtype == np.uint8
  assert fit_lib.fit_full(config, fake, rng, is_trained=False) == {}
  trained = fit_lib.fit_full(config, fake, rng, is_trained=True)["mlp"]
  cached = fit_lib.fit_full(config, fake, rng, is_trained=False)["mlp"]
  _assert_equal(jax.tree.leaves(trained.params), jax.tree.leaves(cached.params))
  assert list(trained.group) == [0, 0]

  pixels = jnp.asarray(fake.train_images / np.float32(255), jnp.float32)
  labels = np.eye(fake.info.num_classes, dtype=np.float32)[fake.train_labels]
  as_floats = DistilledSet(
    fake.preprocessing.forward(pixels)[None], labels[None], {"label_kind": "one_hot"}
  )
  config.update(dict(num_epochs=2, num_seeds=2))
  fit = fit_lib.make_fit(config, fake.info, fake.preprocessing)
  for a, b in zip(
    jax.tree.leaves(trained.params),
    _leaves(fit({"distilled": as_floats}, rng), "distilled"),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
  "images,labels,info,message",
  [
    ((1, 4, 9, 8, 1), (1, 4, 10), {"label_kind": "one_hot"}, r"'distilled'.*\(1, 4, 9, 8, 1\)"),
    ((1, 4, 8, 8, 1), (1, 4, 9), {"label_kind": "one_hot"}, r"\(1, 4, 9\).*\(1, 4, 10\)"),
    ((1, 4, 8, 8, 1), (1, 4, 10), {"label_kind": "hot"}, "'hot'.*Did you mean 'one_hot'"),
    ((1, 4, 8, 8, 1), (1, 4, 10), {}, "label kind None"),
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
