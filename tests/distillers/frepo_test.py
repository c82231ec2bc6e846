"""FRePo against plain NumPy, step by step with its pool and its optimisers; what it refuses."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import frepo
from ddjax.data.batches import standardise
from ddjax.data.load import load_real_data
from ddjax.distillers import settings
from ddjax.distillers.frepo import label_margin, target_batch_size
from ddjax.tasks import distill
from tests.distillers.cases import Case, initial_state, make_distiller

_K = 4  # classes of the fake set
_SCALE = np.sqrt(_K / 10)


class _Linear(nn.Module):
  """Features are a linear map of the pixels, logits one of the features."""

  num_classes: int

  @nn.compact
  def __call__(self, x, *, is_training=False, mask=None, return_features=False):
    features = nn.Dense(12, use_bias=False, name="map")(x.reshape(len(x), -1))
    logits = nn.Dense(self.num_classes, use_bias=False, name="readout")(features)
    return (logits, features) if return_features else logits


class _Adam:
  """Adam, and with the trust ratio LAMB, of one array in float64."""

  def __init__(self, shape, epsilon):
    self.mean, self.square, self.count, self.epsilon = np.zeros(shape), np.zeros(shape), 0, epsilon

  def direction(self, gradient):
    self.count += 1
    self.mean = 0.9 * self.mean + 0.1 * gradient
    self.square = 0.999 * self.square + 0.001 * gradient**2
    mean = self.mean / (1 - 0.9**self.count)
    return mean / (np.sqrt(self.square / (1 - 0.999**self.count)) + self.epsilon)


class _Network:
  """A linear network in NumPy, with the count of its updates."""

  def __init__(self, variables, num_updates):
    params = variables["params"]
    self.weights = {name: np.asarray(params[name]["kernel"], np.float64) for name in params}
    self.adam = {name: _Adam(one.shape, 1e-8) for name, one in self.weights.items()}
    self.num_updates = num_updates

  def learn(self, images, labels, rate):
    """One step of Adam on the mean over images of half the squared error summed over classes."""
    features = images @ self.weights["map"]
    error = (features @ self.weights["readout"] - labels) / len(images)
    gradients = {
      "map": images.T @ error @ self.weights["readout"].T,
      "readout": features.T @ error,
    }
    for name, gradient in gradients.items():
      self.weights[name] = self.weights[name] - rate * self.adam[name].direction(gradient)
    self.num_updates += 1


def _objective(images, labels, targets, target_labels, matrix, ridge):
  """(what is minimised, the squared error alone) on all targets, by an explicit inverse."""
  support, seen = images @ matrix, targets @ matrix
  kernel = support @ support.T
  shifted = kernel + ridge * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
  error = seen @ support.T @ np.linalg.inv(shifted) @ labels - target_labels
  loss = 0.5 * np.mean(np.sum(error**2, axis=1))
  ordered = np.sort(labels, axis=1)
  margin = np.minimum(ordered[:, -1] - ordered[:, -2], 1 / labels.shape[1])
  return loss - margin.mean(), loss


def _gradients(images, labels, *fixed):
  return {
    "images": _finite_differences(lambda x: _objective(x, labels, *fixed)[0], images),
    "labels": _finite_differences(lambda y: _objective(images, y, *fixed)[0], labels),
  }


def _finite_differences(fn, array, step=1e-5):
  slope = np.zeros_like(array)
  for place in np.ndindex(array.shape):
    bump = np.zeros_like(array)
    bump[place] = step
    slope[place] = (fn(array + bump) - fn(array - bump)) / (2 * step)
  return slope


_FAST = {"network.name": "mlp", "network.width": 8}  # to compile, where any network will do
_PLAIN = {
  "synthetic.init": "noise",
  "ridge": 1e-3,
  "pool.num_networks": 2,
  "pool.online_steps": 2,
  "pool.learning_rate": 0.01,
  "outer.learning_rate": 0.05,
  "outer.num_steps": 20,
  "outer.target_batch_size": 64,  # all real examples: their order does not matter
}


def test_steps_are_those_of_plain_numpy(monkeypatch):
  """Gradients by finite differences; networks begin anew within these steps."""
  monkeypatch.setattr(settings, "build", lambda name, num_classes, **options: _Linear(num_classes))
  distiller, data, info = make_distiller(Case("", "frepo", _PLAIN))
  data = jax.device_put(data)
  state, step = initial_state(distiller, data), jax.jit(distiller.step)
  init = jax.jit(_Linear(_K).init)
  blank = np.zeros((1, *info.image_shape), np.float32)

  first = state.extra.networks.variables  # [pool, 1, ...]
  pool = [
    _Network(jax.tree.map(lambda leaf, i=i: leaf[i, 0], first), num_updates)
    for i, num_updates in enumerate((0, 1))
  ]
  images = np.asarray(state.synthetic.images, np.float64).reshape(2 * _K, -1)
  labels = np.asarray(state.synthetic.labels, np.float64)
  np.testing.assert_allclose(labels, (np.eye(_K).repeat(2, axis=0) - 1 / _K) / _SCALE, rtol=1e-6)
  targets = np.asarray(standardise(data.images, data), np.float64).reshape(64, -1)
  target_labels = (np.eye(_K)[np.asarray(data.labels)] - 1 / _K) / _SCALE
  lamb = {"images": _Adam(images.shape, 1e-6), "labels": _Adam(labels.shape, 1e-6)}
  num_begun_anew = 0

  for number in range(8):
    keys = jax.random.split(jax.random.fold_in(state.rng, state.step), 3)
    place_rng, _, move_rng = keys
    state, metrics = step(state, data, jnp.int32(0))
    network = pool[place := int(jax.random.randint(place_rng, (), 0, 2, jnp.int32))]
    fixed = targets, target_labels, network.weights["map"], _PLAIN["ridge"]
    _, loss = _objective(images, labels, *fixed)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-3)
    gradients = _gradients(images, labels, *fixed)
    rate = 0.05 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * number / 20)))
    moved = {}
    for name, array in (("images", images), ("labels", labels)):
      direction = lamb[name].direction(gradients[name])
      trust = np.linalg.norm(array) / np.linalg.norm(direction)
      moved[name] = array - rate * trust * direction
    images, labels = moved["images"], moved["labels"]
    if network.num_updates > 2:
      pool[place] = _Network(init(move_rng, blank), 0)
      num_begun_anew += 1
    else:
      network.learn(images, labels, 0.01)

  assert num_begun_anew > 0
  assert [one.num_updates for one in pool] == state.extra.num_updates.tolist()
  found = np.asarray(state.synthetic.images).reshape(2 * _K, -1)
  np.testing.assert_allclose(found, images, atol=2e-3)
  np.testing.assert_allclose(state.synthetic.labels, labels, atol=2e-3)
  for place, one in enumerate(pool):
    for name, weights in one.weights.items():
      kernel = state.extra.networks.variables["params"][name]["kernel"][place, 0]
      np.testing.assert_allclose(kernel, weights, atol=5e-4)


@pytest.mark.parametrize("use_flips", [False, True])
def test_gradient_against_finite_differences(use_flips):
  """LAMB's first average of gradients is a tenth of the first one."""
  changes = {"synthetic.use_flips": use_flips, "synthetic.init": "noise", "ridge": 1e-3}
  changes |= {"network.name": "convnet(depth=1)", "network.width": 8}
  distiller, data, _ = make_distiller(Case("", "frepo", changes))
  data = jax.device_put(data)
  state, step = initial_state(distiller, data), jax.jit(distiller.step)
  # Between one-hot labels there are ties, where the margin has no slope.
  labels = jax.random.normal(jax.random.key(1), (8, 4), jnp.float32) / 4
  largest = jax.lax.top_k(labels, 2)[0]
  is_small = largest[:, 0] - largest[:, 1] < 1 / 4
  assert is_small.any() and not is_small.all()
  state = state.replace(synthetic=state.synthetic.replace(labels=labels))
  after, _ = step(state, data, jnp.int32(0))
  for name in ("images", "labels"):
    gradient = np.asarray(after.opt_state[name][0].mu) / 0.1
    length = np.linalg.norm(gradient)

    def objective(size, name=name, direction=gradient / length):
      moved = getattr(state.synthetic, name) + jnp.float32(size) * direction
      moved = state.replace(synthetic=state.synthetic.replace(**{name: moved}))
      _, metrics = step(moved, data, jnp.int32(0))
      return float(metrics["loss"]) - float(metrics["label_margin"])

    size = 0.02 if name == "images" else 0.002
    slope = (objective(size) - objective(-size)) / (2 * size)
    assert slope == pytest.approx(length, rel=0.02), name


def test_prototypes_and_their_mirror_images_are_alike_only_where_both_enter():
  for use_flips in (False, True):
    changes = _FAST | {"synthetic.use_flips": use_flips, "synthetic.init": "noise"}
    distiller, data, _ = make_distiller(Case("", "frepo", changes))
    data = jax.device_put(data)
    state, step = initial_state(distiller, data), jax.jit(distiller.step)
    mirrored = state.synthetic.replace(images=state.synthetic.images[:, :, ::-1])
    losses = [
      float(step(one, data, jnp.int32(0))[1]["loss"])
      for one in (state, state.replace(synthetic=mirrored))
    ]
    assert (losses[0] == pytest.approx(losses[1], rel=1e-3)) == use_flips, losses


def test_step_counts_of_the_pool_begin_spread():
  changes = {"pool.num_networks": 3, "pool.online_steps": 100, "network.name": "mlp"}
  distiller, data, _ = make_distiller(Case("", "frepo", changes))
  assert initial_state(distiller, data).extra.num_updates.tolist() == [0, 33, 66]


def test_labels_stay_unless_they_are_learned():
  for learn_labels in (False, True):
    changes = _FAST | {"synthetic.learn_labels": learn_labels}
    distiller, data, _ = make_distiller(Case("", "frepo", changes))
    data = jax.device_put(data)
    state = initial_state(distiller, data)
    after, _ = jax.jit(distiller.step)(state, data, jnp.int32(0))
    assert bool((after.synthetic.labels != state.synthetic.labels).any()) == learn_labels


def test_margins_are_cut_at_one_over_k():
  labels = jnp.array([[0.9, 0.1, 0.0], [0.2, 0.1, 0.15], [0.3, 0.3, 0.0]])
  np.testing.assert_allclose(label_margin(labels), (1 / 3 + 0.05 + 0) / 3, rtol=1e-5)


def test_the_regression_can_be_solved_in_64_bit_numbers():
  changes = _FAST | {"synthetic.init": "noise", "ridge": 1e-3}
  found = []
  for precision in ("float32", "float64"):
    with jax.enable_x64(precision == "float64"):
      distiller, data, _ = make_distiller(Case("", "frepo", changes | {"precision": precision}))
      data = jax.device_put(data)
      state = initial_state(distiller, data)
      after, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
      assert metrics["loss"].dtype == precision
      assert after.synthetic.images.dtype == jnp.float32
      found.append(float(metrics["loss"]))
  assert found[0] != found[1] and found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize(
  "fields, words",
  [
    ({"pool.num_networks": 0}, "pool.num_networks=0 must be at least 1"),
    ({"pool.online_steps": 0}, "pool.online_steps=0 must be positive"),
    ({"pool.online_steps": -5}, "pool.online_steps=-5 must be positive"),
    ({"pool.learning_rate": 0.0}, "pool.learning_rate=0.0 must be positive"),
    ({"pool.batch_size": 0}, "pool.batch_size=0 must be positive"),
    ({"ridge": -1e-6}, "ridge=-1e-06 must be positive"),
    ({"outer.target_batch_size": 65}, "outer.target_batch_size=65 is more than the 64 train"),
    ({"outer.target_batch_size": -8}, "outer.target_batch_size=-8 must be positive, or 0"),
    ({"outer.learning_rate": 0.0}, "outer.learning_rate=0.0 must be positive"),
    ({"outer.schedule": "cosin"}, "'cosin'.*cosine"),
    ({"synthetic.init": "reel"}, "'reel'.*real"),
    ({"num_devices": 3}, "outer.target_batch_size=32 does not divide over 3 devices"),
  ],
)
def test_impossible_settings_are_refused_before_anything_is_written(tmp_path, fields, words):
  config = frepo.get_config("fake,ipc=2")
  config.update_from_flattened_dict(fields)
  with pytest.raises(ValueError, match=words):
    distill.run(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_batch_size_of_zero_is_as_large_as_the_data_allow():
  config = frepo.get_config("fake")
  config.outer.target_batch_size = 0
  info = load_real_data(config.data).info
  sizes = {64: 64, 61: 56, 5: 5, 1437: 1024}
  for num_train, size in sizes.items():
    assert target_batch_size(config, info._replace(num_train=num_train)) == size


def test_a_network_with_fewer_features_than_prototypes_is_named():
  def remarks(width):  # a quarter of the features
    changes = {"network.name": "mlp", "network.width": width}
    return make_distiller(Case("", "frepo", changes))[0].remarks

  assert len(remarks(2)) == 1
  assert "has 4 features, fewer than the 8 prototypes" in remarks(1)[1]
