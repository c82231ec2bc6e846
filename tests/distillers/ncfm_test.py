"""NCFM: characteristic functions, the classes' steps, and the networks it reads, by hand."""

import jax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers import class_batches, ncfm
from ddjax.models.build import build
from tests.distillers.cases import (
  Case,
  Experts,
  initial_state,
  initial_variables,
  make_distiller,
)

_NETWORK = "convnet(depth=1)"
_PLAIN = {"network.name": "mlp", "augmentation": "none", "synthetic.factor": 1}


def _case(**changes):
  return Case("ncfm", "ncfm", {"network.name": _NETWORK} | changes)


def _advance(case, num_steps=1):
  """(distiller, data, info, [state before every step and after the last], metrics, batches)."""
  distiller, data, info = make_distiller(case)
  states, metrics, batches = [initial_state(distiller, data)], [], []
  seed = np.asarray(jax.random.key_data(states[0].rng))
  step = jax.jit(distiller.step)
  for number in range(num_steps):
    batches.append(distiller.batch_at(Experts(case), seed, number))
    state, one = step(states[-1], data, batches[-1])
    states.append(state)
    metrics.append(jax.device_get(one))
  return distiller, data, info, states, metrics, batches


def _complex(features, frequencies):
  """The empirical characteristic function, complex128[t]."""
  return np.exp(1j * features.astype(np.float64) @ frequencies.astype(np.float64).T).mean(axis=0)


def _draw_features(count, seed):
  features = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
  return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.1, 0.9), (1.0, 0.0), (0.0, 1.0)])
def test_the_distance_is_that_of_complex_numbers(weights):
  frequencies = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
  sets = [_draw_features(9, 0), _draw_features(4, 1)]
  sums = [
    ncfm.characteristic_sum(x, np.full(len(x), 1 / len(x), np.float32), frequencies) for x in sets
  ]
  a, b = (_complex(x, frequencies) for x in sets)
  np.testing.assert_allclose(sums[0][0] + 1j * sums[0][1], a, atol=1e-6)
  alpha, beta = weights
  amplitude = (abs(a) - abs(b)) ** 2
  phase = np.maximum(2 * (abs(a) * abs(b) - (a * b.conj()).real), 1e-12)
  expected = np.sqrt(alpha * amplitude + beta * phase).mean()
  found = ncfm.characteristic_distance(*sums, alpha, beta)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  swapped = ncfm.characteristic_distance(*sums, beta, alpha)
  assert alpha == beta or abs(float(swapped) - expected) > 1e-2 * expected


def test_equal_sets_are_at_the_least_distance_and_have_a_finite_gradient():
  frequencies = np.random.default_rng(2).normal(size=(40, 6)).astype(np.float32)
  features, even = _draw_features(5, 0), np.full(5, 0.2, np.float32)
  target = ncfm.characteristic_sum(features, even, frequencies)

  def loss(features):
    found = ncfm.characteristic_sum(features, even, frequencies)
    return ncfm.characteristic_distance(target, found, 0.5, 0.5)

  value, gradient = jax.value_and_grad(loss)(jnp.asarray(features))
  np.testing.assert_allclose(value, np.sqrt(0.5e-12), rtol=1e-4)
  assert np.isfinite(gradient).all()


def test_the_gradient_is_that_of_finite_differences():
  """In float64 by NumPy, along random directions."""
  rng = np.random.default_rng(3)
  frequencies = rng.normal(size=(60, 6))
  real, own = _draw_features(9, 0), _draw_features(4, 1)

  def slow(own):
    a, b = _complex(real, frequencies), np.exp(1j * own @ frequencies.T).mean(axis=0)
    phase = 2 * (abs(a) * abs(b) - (a * b.conj()).real)
    return np.sqrt(0.3 * (abs(a) - abs(b)) ** 2 + 0.7 * phase).mean()

  def ours(own):
    sums = [
      ncfm.characteristic_sum(x, jnp.full(len(x), 1 / len(x)), frequencies.astype(np.float32))
      for x in (real, own)
    ]
    return ncfm.characteristic_distance(*sums, 0.3, 0.7)

  gradient = np.asarray(jax.grad(ours)(jnp.asarray(own)))
  for _ in range(3):
    direction = rng.normal(size=own.shape)
    ahead, behind = (slow(own.astype(np.float64) + h * direction) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(np.vdot(gradient, direction), (ahead - behind) / 2e-5, rtol=1e-3)


@pytest.mark.parametrize("augmentation", ["none", "color_crop_cutout"])
def test_two_steps_are_those_of_a_slow_loop(augmentation):
  """Decode, augment pixels, normalise, embed; class by class, with AdamW written out."""
  case = _case(augmentation=augmentation, **{"outer.amplitude_weight": 0.2})
  _, data, info, states, metrics, batches = _advance(case, 2)
  network = build(_NETWORK, num_classes=4, width=4)
  augmentation = siamese.parse(augmentation, "idc")
  variables = initial_variables(network, jax.random.key(0), info.image_shape)
  _, unravel = ravel_pytree(variables["params"])
  (mean,), (std,) = data.mean.tolist(), data.std.tolist()  # of the one channel

  def see(pixels, draws):
    return (siamese.apply(pixels, draws, augmentation) * 255 - mean) / std

  def decode(grids):
    cells = jnp.concatenate([grids[:, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)])
    return jax.image.resize(cells, (len(cells), 8, 8, 1), "bilinear")

  def transform(params, images, frequencies):
    _, features = network.apply({"params": params}, images, return_features=True)
    features = features / jnp.linalg.norm(features, axis=1, keepdims=True)
    return jnp.exp(1j * (features @ frequencies.T)).mean(axis=0)

  @jax.jit
  def match(pixels, params, real, draws, frequencies):
    def loss(pixels):
      a = transform(params, see(real, draws), frequencies)
      b = transform(params, see(decode(pixels), draws), frequencies)
      amplitude = (abs(a) - abs(b)) ** 2
      phase = jnp.maximum(2 * (abs(a) * abs(b) - jnp.real(a * b.conj())), 1e-12)
      return 300 * jnp.sqrt(0.2 * amplitude + 0.5 * phase).mean()

    return jax.value_and_grad(loss)(pixels)

  @jax.jit
  def calibrate(pixels, params, label, draws):
    def loss(pixels):
      logits = network.apply({"params": params}, see(decode(pixels), draws))
      targets = jnp.full(len(logits), label)
      return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    return jax.value_and_grad(loss)(pixels)

  @jax.jit
  def drawn(data, rng, step):
    rngs = list(jax.random.split(jax.random.fold_in(rng, step), 7))
    share = jax.random.uniform(rngs[0], (), jnp.float32)
    batch = class_batches.draw_class_batches(rngs[1], data, 16)
    own = [jax.random.fold_in(rngs[2], label) for label in range(4)]
    frequencies = [jax.random.normal(rng, (32, 8 * 8), jnp.float32) for rng in own]
    draws = [
      class_batches.draw_siamese(rng, augmentation, 4, info.image_shape) for rng in rngs[3:5]
    ]
    return share, batch, frequencies, draws

  first = second = np.zeros((8, 8, 8, 1))
  count = 0

  def adamw(pixels, label, gradient):
    """AdamW by hand, over all images, of which one class has a gradient."""
    nonlocal first, second, count
    whole = np.zeros_like(first)
    whole[2 * label : 2 * label + 2] = gradient
    first, second = 0.9 * first + 0.1 * whole, 0.999 * second + 0.001 * whole**2
    count += 1
    scaled = first / (1 - 0.9**count) / (np.sqrt(second / (1 - 0.999**count)) + 1e-8)
    return pixels - 0.01 * scaled - 0.01 * 5e-4 * pixels

  pixels = np.asarray(states[0].synthetic.images, np.float64)
  for number in range(2):
    state, before = states[number], np.float64(states[number].synthetic.images)
    share, batch, frequencies, draws = drawn(data, state.rng, state.step)
    initial, trained = (batches[number][name][0] for name in ("initial", "trained"))
    mixed = unravel(share * initial + (1 - share) * trained)
    pixels = np.clip(pixels, 0, 1)
    sums = np.zeros(2)
    for label in range(4):
      real = data.images[batch.index[label]] / np.float32(255)
      own = jax.tree.map(lambda leaf, label=label: leaf[label], draws[0])
      part = np.float32(pixels[2 * label : 2 * label + 2])
      loss, gradient = match(part, mixed, real, own, frequencies[label])
      pixels, sums[0] = adamw(pixels, label, np.float64(gradient)), sums[0] + loss
    for label in range(4):
      own = jax.tree.map(lambda leaf, label=label: leaf[label], draws[1])
      part = np.float32(pixels[2 * label : 2 * label + 2])
      loss, gradient = calibrate(part, unravel(trained), label, own)
      pixels, sums[1] = adamw(pixels, label, np.float64(gradient)), sums[1] + loss
    np.testing.assert_allclose(metrics[number]["loss"], sums[0] / 4, rtol=1e-3)
    np.testing.assert_allclose(metrics[number]["calibration_loss"], sums[1] / 4, rtol=1e-3)
    ours = np.float64(states[number + 1].synthetic.images)
    moved = np.linalg.norm(ours - before)
    assert np.linalg.norm(ours - pixels) < 0.01 * moved, (number, moved)
    pixels = ours  # what a pixel of hardly any gradient was worth does not add up


def test_a_step_reads_one_network_before_and_after_its_training():
  case = _case(**_PLAIN, **{"outer.network_epochs": 2, "experts.num_epochs": 3})
  distiller, _, _ = make_distiller(case)
  assert distiller.experts == (2, 3)
  experts, seen = Experts(case), set()
  for step in range(20):
    batch = distiller.batch_at(experts, np.uint32([1, 2]), step)
    again = distiller.batch_at(experts, np.uint32([1, 2]), step)
    for name, epoch in (("initial", 0), ("trained", 2)):
      np.testing.assert_array_equal(batch[name], again[name])
      numbers = [i for i in range(2) if np.array_equal(batch[name][0], experts.read(i, epoch))]
      assert len(numbers) == 1
      seen.add((step, numbers[0]))
  assert len(seen) == 20  # the two of a step are of one network
  assert {number for _, number in seen} == {0, 1}


def test_every_device_gets_the_network():
  distiller, _, _ = make_distiller(_case(**_PLAIN), "devices")
  batch = distiller.batch_at(Experts(_case(**_PLAIN)), np.uint32([0, 0]), 0)
  assert len(batch["trained"]) == jax.device_count() == 4
  assert (batch["trained"] == batch["trained"][0]).all()


def test_the_rate_falls_after_steps_without_a_lower_loss():
  """The rule of PyTorch's ReduceLROnPlateau, written out."""
  changes = {"outer.patience": 2, "outer.rate_factor": 0.3, "outer.learning_rate": 1e-6}
  *_, metrics, _ = _advance(_case(**_PLAIN, **changes), 14)
  best, bad, rate = np.inf, 0, 1e-6
  for one in metrics:
    np.testing.assert_allclose(one["learning_rate"], rate, rtol=1e-5)
    value = one["loss"] + one["calibration_loss"]
    best, bad = (value, 0) if value < best * (1 - 1e-4) else (best, bad + 1)
    if bad > 2:
      rate, bad = rate * 0.3, 0
  assert rate < 0.1 * 1e-6  # it fell at least twice


def test_without_calibration_only_the_matching_moves_images():
  changes = {"outer.weight_decay": 0.0, "outer.calibration_weight": 0.0, "outer.phase_weight": 0.9}
  _, _, _, states, metrics, _ = _advance(_case(**_PLAIN, **changes))
  assert metrics[0]["calibration_loss"] == 0
  assert int(states[1].opt_state[0].count) == 4  # one AdamW step a class
  *_, states, _, _ = _advance(_case(**_PLAIN))
  assert int(states[1].opt_state[0].count) == 8


def test_a_published_image_is_the_clamped_pixels_as_the_networks_see_them():
  distiller, data, _, states, _, _ = _advance(_case())
  wild = states[1].synthetic.replace(images=states[1].synthetic.images * 3 - 1)
  published = np.asarray(distiller.extract(states[1].replace(synthetic=wild)).images)
  expected = np.clip(np.asarray(wild.images), 0, 1) * 255
  np.testing.assert_allclose(published, standardise(expected, data), rtol=1e-4, atol=1e-5)
  assert distiller.decode_factor == 2 and distiller.label_kind == "one_hot"


@pytest.mark.parametrize(
  "changes,message",
  [
    ({"outer.num_frequencies": 0}, "outer.num_frequencies=0 must be positive"),
    ({"outer.amplitude_weight": 1.5}, r"outer.amplitude_weight=1.5 must lie in \[0, 1\]"),
    ({"outer.amplitude_weight": -0.1}, "outer.amplitude_weight=-0.1"),
    ({"outer.phase_weight": 2.0}, "outer.phase_weight=2.0"),
    ({"outer.amplitude_weight": 0.0, "outer.phase_weight": 0.0}, "one must be above 0"),
    ({"experts.num_experts": 0}, "experts.num_experts=0 must be at least 1"),
    ({"experts.num_epochs": 1}, "experts.num_epochs=1, but outer.network_epochs=3"),
    ({"outer.network_epochs": 0}, "outer.network_epochs=0"),
    ({"outer.real_batch_size": 0}, "outer.real_batch_size=0"),
    ({"outer.learning_rate": 0.0}, "outer.learning_rate=0.0"),
    ({"outer.weight_decay": -1.0}, "outer.weight_decay=-1.0 must not be negative"),
    ({"outer.calibration_weight": -1.0}, "outer.calibration_weight=-1.0"),
    ({"outer.loss_scale": 0.0}, "outer.loss_scale=0.0"),
    ({"outer.patience": -1}, "outer.patience=-1"),
    ({"outer.rate_factor": 1.0}, "outer.rate_factor=1.0 must lie between 0 and 1"),
    ({"synthetic.factor": 3}, "factor 3"),
    ({"synthetic.init": "kmeans"}, "'kmeans'"),
    ({"data.preprocessing": "zca_kornia"}, "'zca_kornia'"),
    ({"augmentation": "colr"}, "'colr'"),
  ],
)
def test_impossible_settings_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    make_distiller(_case(**changes))
