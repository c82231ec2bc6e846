"""Experts that are trained on attacked images."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import ncfm
from ddjax.data.load import load_real_data
from ddjax.distillers.adversaries import adversary_of
from ddjax.distillers.settings import build_network
from ddjax.fitting import train
from ddjax.random_streams import stream
from ddjax.stages import experts
from tests.experts.train_test import _config, _ensure


def test_one_epoch_is_that_of_a_slow_loop(tmp_path):
  """Whole batches: each image up the loss of the present network, then a step of descent."""
  config = _config(tmp_path, batch_size=40, adversarial_epsilon=0.1, adversarial_steps=3)
  buffer = _ensure(config, 1, 1)
  real = load_real_data(config.data)
  network, source = build_network(config, real.info), experts.real_source(real)
  own = jax.random.fold_in(jax.random.fold_in(stream(config.experts.seed, "experts"), 0), 0)
  order = jax.random.permutation(jax.random.fold_in(jax.random.split(own)[1], 0), 40)
  draw_rng = jax.random.fold_in(jax.random.fold_in(own, train._AUGMENT_STREAM), 0)
  attack_rng = jax.random.fold_in(draw_rng, train._ATTACK_STREAM)
  pixels = np.asarray(source.images[0])[order] / np.float32(255)
  labels = np.asarray(source.labels[0])[order]
  variables = network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
  _, unravel = jax.flatten_util.ravel_pytree(variables["params"])
  start = buffer.read(0, 0)

  def loss(flat, pixels):
    images = (pixels * 255 - source.mean.reshape(1, 1, 1, -1)) / source.std.reshape(1, 1, 1, -1)
    logits = network.apply({"params": unravel(flat)}, images)
    return optax.softmax_cross_entropy(logits, labels).mean()

  uphill, downhill = (jax.jit(jax.grad(loss, place)) for place in (1, 0))
  noise = jax.random.uniform(attack_rng, pixels.shape, jnp.float32, -0.1, 0.1)
  points = np.clip(pixels + noise, 0, 1)
  for _ in range(3):
    points = points + 0.025 * np.sign(uphill(start, points))
    points = np.clip(points, np.maximum(pixels - 0.1, 0), np.minimum(pixels + 0.1, 1))
  expected = start - config.experts.learning_rate * np.asarray(downhill(start, points))
  np.testing.assert_allclose(buffer.read(0, 1), expected, rtol=1e-4, atol=1e-6)
  plain = start - config.experts.learning_rate * np.asarray(downhill(start, pixels))
  assert np.abs(plain - expected).max() > 1e-4


@pytest.mark.parametrize("kind", ["standardise", "zca_kornia"])
def test_a_tiny_ball_gives_the_plain_experts_through_whitening_and_augmentation(tmp_path, kind):
  ends = []
  for epsilon in (None, 1e-7):
    config = _config(tmp_path / str(epsilon), adversarial_epsilon=epsilon, adversarial_steps=1)
    config.augmentation, config.data.preprocessing = "crop_scale", kind
    ends.append(_ensure(config, 2, 1).read(1, 1))
  np.testing.assert_allclose(*ends, rtol=1e-3, atol=1e-4)


def test_attacked_experts_have_a_buffer_of_their_own(tmp_path):
  config = _config(tmp_path)
  real = load_real_data(config.data)
  plain = experts.identity(config, real, None)
  assert not any("adversarial" in name for name in plain)
  config.experts.adversarial_epsilon = 0.1
  attacked = experts.identity(config, real, None)
  assert attacked == plain | {"adversarial_epsilon": 0.1, "adversarial_steps": 10}
  assert experts.describe(config)["adversarial_steps"] == 10


@pytest.mark.parametrize(
  "fields,message",
  [
    (dict(adversarial_epsilon=-0.1), "experts.adversarial_epsilon=-0.1 must lie above 0"),
    (dict(adversarial_epsilon=8.0), "experts.adversarial_epsilon=8.0 must lie.*8/255 are 0.0314"),
    (
      dict(adversarial_epsilon=0.1, adversarial_steps=0),
      "experts.adversarial_steps=0 must be at least 1",
    ),
  ],
)
def test_impossible_adversaries_are_named(tmp_path, fields, message):
  with pytest.raises(ValueError, match=message):
    adversary_of(_config(tmp_path, **fields))


def test_mixed_images_are_not_attacked(tmp_path):
  config = ncfm.get_config("fake")
  config.experts.adversarial_epsilon = 0.1
  with pytest.raises(ValueError, match="mix_probability=0.5 mixes them"):
    adversary_of(config)
