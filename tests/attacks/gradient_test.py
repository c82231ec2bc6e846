"""FGSM and PGD: inside their balls, in order of strength, and as strong as foolbox."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks import gradient, norms
from tests.attacks import victim

_EPSILON = {"linf": 0.1, "l2": 0.5}


@functools.cache
def _program(norm):
  """PGD and FGSM are one program."""
  pixels, labels = victim.test_set()

  @jax.jit
  def run(rng, epsilon, step_size, num_steps, num_restarts, start_radius):
    ascent = gradient.Ascent(epsilon, step_size, num_steps, num_restarts, start_radius)
    return gradient.ascend(victim.logits_fn(), pixels, labels, rng, ascent, norm=norm)

  return run


def _pgd(norm, epsilon, num_steps=20, num_restarts=1, start_radius=None):
  start_radius = epsilon if start_radius is None else start_radius
  return _program(norm)(
    jax.random.key(0), epsilon, epsilon / 4, num_steps, num_restarts, start_radius
  )


def _fgsm(norm, epsilon):
  return _program(norm)(jax.random.key(0), epsilon, epsilon, 1, 1, 0.0)


def _accuracy(result):
  return 1 - float(result.is_fooled.mean())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_stays_in_the_ball_and_fools_where_it_says_so(norm):
  pixels, labels = victim.test_set()
  for result in (_pgd(norm, _EPSILON[norm], num_restarts=2), _fgsm(norm, _EPSILON[norm])):
    sizes = jax.vmap(norms.find_norm(norm).size)(result.adversarial - pixels)
    assert sizes.max() <= _EPSILON[norm] + 1e-6
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    assert 0.1 < _accuracy(result) < 0.9
    assert victim.accuracy(result.adversarial, labels) == pytest.approx(_accuracy(result))
    unfooled = ~result.is_fooled
    np.testing.assert_array_equal(result.adversarial[unfooled], pixels[unfooled])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_epsilon_zero_is_no_attack(norm):
  pixels, labels = victim.test_set()
  result = _pgd(norm, 0.0)
  assert _accuracy(result) == pytest.approx(victim.accuracy(pixels, labels))
  np.testing.assert_allclose(result.adversarial, pixels, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_is_stronger(norm):
  pixels, labels = victim.test_set()
  clean, fgsm = victim.accuracy(pixels, labels), _fgsm(norm, _EPSILON[norm])
  one, two = (_pgd(norm, _EPSILON[norm], num_restarts=count) for count in (1, 2))
  assert clean > _accuracy(fgsm) > _accuracy(one) >= _accuracy(two)
  assert bool(jnp.all(two.is_fooled >= one.is_fooled))
  doubled = _pgd(norm, _EPSILON[norm], num_steps=40)
  assert bool(jnp.all(doubled.is_fooled >= one.is_fooled))  # the same path, further


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_strong_as_foolbox(norm):
  _, labels = victim.test_set()
  kinds = {"linf": victim.peer.LinfPGD, "l2": victim.peer.L2PGD}
  steps = {
    "linf": victim.peer.LinfFastGradientAttack,
    "l2": victim.peer.L2FastGradientAttack,
  }
  images = victim.foolbox_images(steps[norm](random_start=False), _EPSILON[norm])
  assert _accuracy(_fgsm(norm, _EPSILON[norm])) == pytest.approx(
    victim.accuracy(images, labels), abs=1e-6
  )
  attack = kinds[norm](steps=20, rel_stepsize=0.25, random_start=False)
  images = victim.foolbox_images(attack, _EPSILON[norm])
  from_image = _pgd(norm, _EPSILON[norm], start_radius=0.0)
  assert _accuracy(from_image) == pytest.approx(victim.accuracy(images, labels), abs=0.02)
  assert _accuracy(_pgd(norm, _EPSILON[norm])) <= victim.accuracy(images, labels) + 0.02


def test_cost_ends_with_success():
  pixels, labels = victim.test_set()
  is_wrong = np.asarray(jnp.argmax(victim.logits_fn()(pixels), axis=1) != labels)
  result = _pgd("linf", 0.1, num_steps=20, num_restarts=2)
  gradients, forwards = np.asarray(result.num_gradients), np.asarray(result.num_forwards)
  assert is_wrong.any() and not gradients[is_wrong].any() and set(forwards[is_wrong]) == {1}
  robust = ~np.asarray(result.is_fooled)
  assert set(gradients[robust]) == {40} and set(forwards[robust]) == {3}
  fooled = ~robust & ~is_wrong
  assert gradients[fooled].min() >= 1 and gradients[fooled].mean() < 20


def test_fgsm_and_pgd_are_cases_of_one_program(monkeypatch):
  monkeypatch.setattr(gradient, "ascend", lambda *args, norm: (args[-1], norm))
  ascent = gradient.Ascent(0.1, step_size=0.1, num_steps=1, num_restarts=1, start_radius=0.0)
  assert gradient.fgsm(None, None, None, epsilon=0.1) == (ascent, "linf")
  pgd = gradient.pgd(None, None, None, None, epsilon=0.2, norm="l2", num_steps=7, num_restarts=3)
  ascent = gradient.Ascent(0.2, step_size=0.05, num_steps=7, num_restarts=3, start_radius=0.2)
  assert pgd == (ascent, "l2")


def test_signed_steps_on_a_loss_raise_it_and_more_steps_raise_it_more():
  pixels, labels = victim.test_set()

  def losses(points):
    logits = victim.logits_fn()(points)
    return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]

  def moved(num_steps):
    options = dict(epsilon=0.1, step_size=0.025, num_steps=num_steps)
    return gradient.ascend_signs(losses, pixels, pixels, **options)

  np.testing.assert_array_equal(moved(0), pixels)
  one, ten = moved(1), moved(10)
  assert losses(ten).mean() > losses(one).mean() > losses(pixels).mean()
  assert np.abs(ten - pixels).max() <= 0.1 + 1e-6 and ten.min() >= 0 and ten.max() <= 1
