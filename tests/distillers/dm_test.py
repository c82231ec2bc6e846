"""DM against its closed form on a linear map, a slow loop, and itself on many splits at once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers import class_batches, settings
from ddjax.models.build import build
from ddjax.training import parallel, trainer
from tests.distillers.cases import Case, initial_state, initial_variables, make_distiller


class _Linear(nn.Module):
  """Features are a linear map of the pixels."""

  num_classes: int

  @nn.compact
  def __call__(self, x, *, is_training=False, mask=None, return_features=False):
    features = nn.Dense(5, use_bias=False, name="map")(x.reshape(len(x), -1))
    logits = nn.Dense(self.num_classes)(features)
    return (logits, features) if return_features else logits


def _step_keys(state):
  return jax.random.split(jax.random.fold_in(state.rng, state.step), 3)


@pytest.mark.parametrize("num_networks", [1, 2])
def test_a_linear_map_has_a_closed_form(monkeypatch, num_networks):
  monkeypatch.setattr(settings, "build", lambda name, num_classes, **options: _Linear(num_classes))
  changes = {"augmentation": "none", "outer.num_networks": num_networks}
  distiller, data, info = make_distiller(Case("dm", "dm", changes))
  state = initial_state(distiller, data)
  after, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  network_rng, _, _ = _step_keys(state)
  rngs = [network_rng] if num_networks == 1 else jax.random.split(network_rng, num_networks)
  real = np.asarray(standardise(data.images, data), np.float64).reshape(64, -1)
  images = np.asarray(state.synthetic.images, np.float64).reshape(4, 2, -1)
  loss, gradient = 0.0, np.zeros_like(images)
  for rng in rngs:
    init_rng, _ = jax.random.split(rng)
    variables = initial_variables(_Linear(4), init_rng, info.image_shape)
    matrix = np.asarray(variables["params"]["map"]["kernel"], np.float64)
    for label in range(4):
      missed = images[label].mean(0) - real[np.asarray(data.labels) == label].mean(0)
      loss += np.sum((missed @ matrix) ** 2) / num_networks
      gradient[label] += 2 / 2 * (missed @ matrix @ matrix.T) / num_networks
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
  moved = np.asarray(after.synthetic.images - state.synthetic.images).reshape(4, 2, -1)
  np.testing.assert_allclose(
    moved, -1.0 * gradient, rtol=1e-3, atol=1e-5
  )  # rate 1, no momentum yet


def test_a_subset_of_the_classes_is_matched_alone():
  changes = {"data.num_classes": 2, "outer.real_batch_size": 8, "network.name": "mlp"}
  distiller, data, info = make_distiller(Case("dm", "dm", changes))
  state = initial_state(distiller, data)
  after, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  assert info.num_classes == 2 and after.synthetic.images.shape[0] == 4
  assert after.synthetic.labels.argmax(axis=1).tolist() == [0, 0, 1, 1]
  assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize("classes_at_once", [1, 3, 4])
def test_the_loss_is_that_of_a_slow_loop(classes_at_once):
  changes = {"classes_at_once": classes_at_once, "outer.real_batch_size": 8}
  changes |= {"network.name": "convnet(depth=1)", "synthetic.init": "noise"}
  distiller, data, info = make_distiller(Case("dm", "dm", changes))
  data = data.replace(mask=np.arange(64) % 8 < 6)
  state = initial_state(distiller, data)
  _, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))
  network_rng, batch_rng, augment_rng = _step_keys(state)
  network = build("convnet(depth=1)", num_classes=4, width=4)
  init_rng, _ = jax.random.split(network_rng)
  variables = initial_variables(network, init_rng, info.image_shape)
  augmentation = siamese.parse("color_crop_cutout_scale_rotate")

  @jax.jit
  def drawn(data, batch_rng, augment_rng):
    batch = class_batches.draw_class_batches(batch_rng, data, 8)
    return batch, class_batches.draw_siamese(augment_rng, augmentation, 4, info.image_shape)

  batch, draws = drawn(data, batch_rng, augment_rng)

  @jax.jit
  def feature(image, own):
    image = siamese.apply(image[None], own, augmentation)
    return network.apply(variables, image, return_features=True)[1][0]

  loss = 0.0
  for label in range(4):
    own = jax.tree.map(lambda leaf, label=label: leaf[label], draws)
    rows = [int(i) for i, w in zip(batch.index[label], batch.weights[label]) if w > 0]
    real = [feature(standardise(data.images[row], data), own) for row in rows]
    made = [feature(image, own) for image in state.synthetic.images[2 * label : 2 * label + 2]]
    loss += np.sum((np.mean(real, axis=0) - np.mean(made, axis=0)) ** 2)
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)


def test_labels_that_the_loss_does_not_see_are_not_learned():
  with pytest.raises(ValueError, match="does not depend on the labels"):
    make_distiller(Case("dm", "dm", {"synthetic.learn_labels": True}))


_SPLIT = {"outer.real_batch_size": 16, "network.name": "mlp", "augmentation": "crop_scale"}


def _splits(count):
  rng = np.random.default_rng(0)
  return np.stack([rng.permuted(np.arange(64) % 8 < 4) for _ in range(count)])


def _advance(layout, masks, rngs, num_steps=3):
  """(state after some steps, cost of a step) of DM on these splits."""
  distiller, data, _ = make_distiller(Case("dm", "dm", _SPLIT))
  data = data.replace(mask=masks)
  state = trainer.initialise(distiller, data, rngs, layout)
  state, data = parallel.place_state(state, layout), parallel.replicate(data, layout)
  program = parallel.make_program(distiller.step, layout, steps_per_call=num_steps)
  state, metrics = program(state, data, num_steps, parallel.device_numbers(layout))
  return jax.device_get(parallel.collect_state(state, layout)), metrics


def _keys():
  return jax.random.split(jax.random.key(3), 6)


@pytest.fixture(scope="module")
def alone_and_apart():
  """Images of the fifth of six splits: alone with the draws of the first; and with its own."""
  apart, _ = _advance(parallel.make_layout(1, 6), _splits(6), _keys())
  layout = parallel.make_layout(1)
  distiller, data, _ = make_distiller(Case("dm", "dm", _SPLIT))
  data = data.replace(mask=_splits(6)[4])
  init = jax.jit(distiller.init)
  first = init(_keys()[0], data)
  alone = init(_keys()[4], data).replace(rng=first.rng)
  program = parallel.make_program(distiller.step, layout, steps_per_call=3)
  placed = parallel.place_state(alone, layout), parallel.replicate(data, layout)
  alone, _ = program(*placed, 3, parallel.device_numbers(layout))
  return np.asarray(alone.synthetic.images), np.asarray(apart.synthetic.images[4])


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_a_split_among_many_equals_the_same_split_alone_with_the_same_draws(
  num_devices, alone_and_apart
):
  together = parallel.make_layout(num_devices, 6, shares_draws=True)
  assert together.split == ("replicas" if num_devices == 2 else "rows")  # 4 do not divide 6
  many, metrics = _advance(together, _splits(6), _keys())
  assert metrics["loss"].shape == (3, 6)
  images, apart = alone_and_apart
  np.testing.assert_allclose(many.synthetic.images[4], images, rtol=1e-3, atol=1e-4)
  assert np.abs(apart - images).max() > 1e-2  # its own draws are others
  assert np.abs(many.synthetic.images[4] - many.synthetic.images[3]).max() > 1e-2


def test_shared_draws_embed_the_real_set_once():
  def cost(count, shares_draws):
    layout = parallel.make_layout(1, count, shares_draws)
    distiller, data, _ = make_distiller(Case("dm", "dm", {"augmentation": "none"}))
    data = data.replace(mask=_splits(count) if count else data.mask)
    rngs = jax.random.split(jax.random.key(0), max(count, 1))
    state = jax.eval_shape(
      lambda: trainer.initialise(distiller, data, rngs if count else rngs[0], layout)
    )
    if not count:
      return jax.jit(distiller.step).lower(state, data, 0).cost_analysis()["flops"]
    step = parallel.one_step(distiller.step, layout)
    return jax.jit(step).lower(state, data, 0).cost_analysis()["flops"]

  alone, apart, shared = cost(0, False), cost(16, False), cost(16, True)
  assert apart > 14 * alone
  # 64 real images once and not 16 times, beside the 8 synthetic ones of each, forward and back: 1/3
  assert shared < 0.4 * apart


def test_an_estimate_counts_a_shared_real_batch_once():
  def passes(**changes):
    changes |= {"num_replicas": 16, "outer.real_batch_size": 256}
    return make_distiller(Case("dm", "dm", changes))[0].image_passes

  # Of 4 classes: 16 real images each, all there are, and 2 synthetic ones, forward and back.
  assert passes() == 4 * (16 + 3 * 2)
  assert passes(shares_draws=True) == 4 * (16 / 16 + 3 * 2)
  # The statistics of batch norm are of a split's own members, so nothing can be shared.
  batch_norm = {"network.name": "convnet(depth=1,norm=batch)"}
  assert passes(shares_draws=True, **batch_norm) == passes(**batch_norm)
