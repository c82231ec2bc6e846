"""DeepFool and Carlini-Wagner find perturbations as small as foolbox does, and as geometry says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks.carlini_wagner import carlini_wagner
from ddjax.attacks.deepfool import deepfool, relative_perturbation
from tests.attacks import victim

_SEARCH = dict(num_searches=2, num_steps=30, learning_rate=0.1, initial_weight=1.0)


@functools.cache
def _result(attack):
  pixels, labels = victim.test_set()
  settings = _SEARCH if attack is carlini_wagner else {}
  return jax.jit(lambda: attack(victim.logits_fn(), pixels, labels, **settings))()


def _norms(images):
  pixels, _ = victim.test_set()
  return np.sqrt(np.sum(np.square(np.asarray(images - pixels)), axis=(1, 2, 3)))


@pytest.mark.parametrize("attack", [deepfool, carlini_wagner])
def test_every_image_is_fooled_within_the_pixels(attack):
  pixels, labels = victim.test_set()
  result = _result(attack)
  assert bool(result.is_fooled.all())
  assert victim.accuracy(result.adversarial, labels) == 0
  assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
  is_wrong = jnp.argmax(victim.logits_fn()(pixels), axis=1) != labels
  np.testing.assert_array_equal(result.adversarial[is_wrong], pixels[is_wrong])


def test_deepfool_finds_what_foolbox_finds():
  pixels, _ = victim.test_set()
  images = victim.foolbox_images(victim.peer.L2DeepFoolAttack(steps=10), None)
  result = _result(deepfool)
  assert _norms(result.adversarial).mean() == pytest.approx(_norms(images).mean(), rel=0.02)
  relative = relative_perturbation(result, np.asarray(pixels))
  np.testing.assert_allclose(
    relative, _norms(result.adversarial) / np.linalg.norm(pixels.reshape(len(pixels), -1), axis=1),
    rtol=1e-4, atol=1e-6,
  )  # fmt: skip


def test_carlini_wagner_finds_what_foolbox_finds():
  attack = victim.peer.L2CarliniWagnerAttack(
    binary_search_steps=2, steps=30, stepsize=0.1, initial_const=1.0, abort_early=False
  )
  found = _norms(_result(carlini_wagner).adversarial)
  assert found.mean() == pytest.approx(_norms(victim.foolbox_images(attack, None)).mean(), rel=0.02)


def test_deepfool_on_a_linear_network_is_the_distance_to_the_plane():
  weights = jnp.array([[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
  pixels = jnp.array([[0.6, 0.3], [0.3, 0.6]]).reshape(2, 1, 2, 1)
  labels = jnp.array([0, 1])  # the second is misclassified: z = .6, .6, .9

  def logits_fn(pixels):
    return pixels.reshape(-1, 2) @ weights + jnp.array([[0.0, 0.0, -0.2]])

  result = deepfool(logits_fn, pixels, labels)
  # z = 1.2, .3, .7: to class 2 .5 / |(1, -1)|, to class 1 .9 / |(2, -1)|: the first is nearer
  distance = np.sqrt(np.sum(np.square(result.adversarial[0] - pixels[0])))
  assert distance == pytest.approx(1.02 * (0.5 / np.sqrt(2) + 1e-4), rel=1e-3)
  np.testing.assert_array_equal(result.is_fooled, [True, True])
  np.testing.assert_array_equal(result.num_gradients, [2, 0])  # two other classes, one step
  np.testing.assert_array_equal(result.num_forwards, [1, 1])


def test_cost_of_carlini_wagner():
  result = _result(carlini_wagner)
  assert set(np.unique(result.num_gradients)) == {0, 60}
  assert set(np.unique(result.num_forwards)) == {1}
