"""DP-DM against a loop over examples, its sensitivity, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.augment import siamese
from ddjax.data.batches import standardise
from ddjax.distillers import dp_dm
from ddjax.models.build import build
from ddjax.privacy import mechanism
from tests.distillers.cases import (
  Case,
  initial_state,
  initial_variables,
  make_config,
  make_distiller,
)

_CHANGES = {"network.name": "convnet(depth=1)", "guarantee.clip_norm": 0.5}


@pytest.mark.parametrize("classes_at_once", [4, 3])
def test_a_step_is_that_of_a_slow_loop(classes_at_once):
  case = Case("dp_dm", "dp_dm", _CHANGES | {"classes_at_once": classes_at_once})
  distiller, data, info = make_distiller(case)
  data = data.replace(mask=np.arange(64) % 8 < 6)
  state, own = initial_state(distiller, data), distiller.guarantee
  after, metrics = jax.jit(distiller.step)(state, data, jnp.int32(0))

  network_rng, augment_rng = jax.random.split(jax.random.fold_in(state.rng, 0))
  network = build("convnet(depth=1)", num_classes=4, width=4)
  variables = initial_variables(network, network_rng, info.image_shape)
  augmentation = siamese.parse("color_crop_cutout_scale_rotate")
  draws = siamese.draw(augment_rng, augmentation, height=8, width=8)

  @jax.jit
  def clipped(image):
    seen = siamese.apply(image[None], draws, augmentation)
    feature = network.apply(variables, seen, return_features=True)[1].ravel()
    return feature * jnp.minimum(1, 0.5 / jnp.linalg.norm(feature))

  keys = mechanism.step_keys(state.extra, 0)
  sample = mechanism.draw_sample(keys.sample, data.mask, own["sampling_rate"], own["capacity"])
  rows = np.asarray(sample.index)[np.asarray(sample.weights) > 0]
  sums = np.zeros((4, len(clipped(state.synthetic.images[0]))))
  for row in rows:
    sums[data.labels[row]] += np.asarray(clipped(standardise(data.images[row], data)))
  scale = own["noise_multiplier"] * 0.5
  noise = mechanism.add_noise(keys.noise, jnp.zeros(sums.shape), scale)
  target = (sums + np.asarray(noise)) / 8  # as many of each class as expected

  def loss(images):
    made = jax.lax.map(clipped, images).reshape(4, 2, -1).mean(axis=1)
    return jnp.sum((made - target.astype(np.float32)) ** 2)

  expected, gradient = jax.jit(jax.value_and_grad(loss))(state.synthetic.images)
  np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-3)
  moved = np.asarray(after.synthetic.images - state.synthetic.images)
  np.testing.assert_allclose(moved, -gradient, rtol=1e-2, atol=1e-3 * np.abs(gradient).max())
  assert np.std(np.asarray(noise)) == pytest.approx(scale, rel=0.1)


def test_no_example_moves_the_sums_of_all_classes_by_more_than_the_clip_norm():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(40, 16)).astype(np.float32) * 10.0 ** rng.uniform(-3, 3, (40, 1))
  features = features.astype(np.float32)
  features[4], features[5] = np.inf, np.nan
  classes = np.eye(3, dtype=np.float32)[rng.integers(3, size=40)]
  ones = np.ones(40, np.float32)
  whole, moved = dp_dm.class_sums(features, classes, ones, 0.5), []
  for i in range(40):
    weights = np.where(np.arange(40) == i, 0, ones).astype(np.float32)
    change = np.asarray(whole - dp_dm.class_sums(features, classes, weights, 0.5), np.float64)
    assert (np.abs(change).sum(axis=1) > 0).sum() <= 1  # its own class alone
    moved.append(np.linalg.norm(change))
  assert max(moved) <= 0.5 + 1e-5 and max(moved) > 0.49 and moved[4] == moved[5] == 0


def test_class_sums_are_those_of_a_loop():
  rng = np.random.default_rng(1)
  features = rng.normal(size=(20, 6)).astype(np.float32)
  labels, weights = rng.integers(3, size=20), (np.arange(20) % 3 > 0).astype(np.float32)
  expected = np.zeros((3, 6))
  for row, label, weight in zip(features, labels, weights, strict=True):
    expected[label] += weight * row * min(1, 2.0 / np.linalg.norm(row))
  found = dp_dm.class_sums(features, np.eye(3, dtype=np.float32)[labels], weights, 2.0)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"network.name": "convnet(depth=1,norm=batch)"}, "norm=batch.*batch norm.*without noise"),
    ({"synthetic.learn_labels": True}, "does not depend on the labels"),
    ({"outer.real_batch_size": 0}, "real_batch_size=0"),
  ],
)
def test_what_it_refuses(changes, message):
  with pytest.raises(ValueError, match=message):
    make_distiller(Case("dp_dm", "dp_dm", changes))


def test_a_batch_larger_than_the_train_set_is_the_whole_of_it():
  distiller, _, _ = make_distiller(Case("dp_dm", "dp_dm", {"outer.real_batch_size": 1000}))
  assert distiller.guarantee["sampling_rate"] == 1.0 and distiller.guarantee["capacity"] == 64
  assert make_config(Case("", "dp_dm", {})).outer.real_batch_size == 8
