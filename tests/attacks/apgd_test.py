"""APGD against a plain reference, and no weaker than PGD."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks import apgd as apgd_lib
from ddjax.attacks import norms, objectives
from tests.attacks import victim

_EPSILON = 0.1
_NUM_STEPS = 20
_NAMES = ("cross_entropy", "dlr", "targeted_dlr")


@functools.cache
def _program():
  pixels, labels = victim.test_set()

  @jax.jit
  def run(objective, num_runs):
    return apgd_lib.apgd(
      victim.logits_fn(), pixels, labels, jax.random.key(0), epsilon=_EPSILON,
      objective=objectives.by_index(objective, _NAMES), num_steps=_NUM_STEPS, num_runs=num_runs,
    )  # fmt: skip

  return run


def _accuracy(result):
  return 1 - float(result.is_fooled.mean())


def test_checkpoints_of_the_paper():
  """Of 100 steps: p = .22, .41, .57, .70, .80, .87, .93, .99."""
  windows = apgd_lib.checkpoint_windows(100)
  ends = np.flatnonzero(windows) + 1
  np.testing.assert_array_equal(ends, [22, 41, 57, 70, 80, 87, 93, 99])
  np.testing.assert_array_equal(windows[ends - 1], np.diff(ends, prepend=0))
  assert apgd_lib.checkpoint_windows(1).sum() == 1


def _reference(image, label, start, gradient_fn):
  """Algorithm 1 for one image, in a plain loop: the first point that fools, or None."""

  def project(point):
    return np.clip(np.clip(point, image - _EPSILON, image + _EPSILON), 0, 1)

  ends = [5, 9, 12, 14, 16, 18, 19, 20]  # ceil(20 p)
  step = 2 * _EPSILON
  values = []
  value, gradient, is_fooled = gradient_fn(start, label)
  if is_fooled:
    return start
  values.append(value)
  best = (value, start, gradient)
  last_best, last_step, last_end = value, None, 0
  point, previous = start, start
  for k in range(_NUM_STEPS):
    straight = project(point + step * np.sign(gradient))
    weight = 0.75 if k else 1.0
    new = project(point + weight * (straight - point) + (1 - weight) * (point - previous))
    previous, point = point, new
    value, gradient, is_fooled = gradient_fn(point, label)
    if is_fooled:
      return point
    values.append(value)
    if value > best[0]:
      best = value, point, gradient
    if k + 1 in ends:
      rises = sum(b > a for a, b in zip(values[last_end:], values[last_end + 1 :], strict=False))
      window = k + 1 - last_end
      is_halved = rises < 0.75 * window or (last_step == step and last_best == best[0])
      last_step, last_best, last_end = step, best[0], k + 1
      if is_halved:
        step /= 2
        value, point, gradient = best
        values[-1] = value
  return None


@pytest.mark.parametrize("name", _NAMES)
def test_against_a_plain_loop(name):
  """Of one run; a targeted one aims at the likeliest wrong class."""
  pixels, labels = victim.test_set()
  result = _program()(_NAMES.index(name), 1)
  starts = norms.LINF.draw(jax.random.fold_in(jax.random.key(0), 1), pixels, _EPSILON)

  logits = np.array(victim.logits_fn()(pixels))
  logits[np.arange(len(labels)), labels] = -np.inf
  targets = logits.argmax(axis=1)

  def value_of(logits, label, target):
    others = jnp.where(jnp.arange(10) == label, -jnp.inf, logits)
    first, _, third, fourth = jnp.sort(logits)[::-1][:4]
    return {
      "cross_entropy": -jax.nn.log_softmax(logits)[label],
      "dlr": -(logits[label] - others.max()) / (first - third),
      "targeted_dlr": -(logits[label] - logits[target]) / (first - (third + fourth) / 2),
    }[name]

  @jax.jit
  def look(point, label, target):
    def objective(point):
      logits = victim.logits_fn()(point[None])[0]
      return value_of(logits, label, target), jnp.argmax(logits) != label

    (value, is_fooled), gradient = jax.value_and_grad(objective, has_aux=True)(point)
    return value, gradient, is_fooled

  agree, is_fooled = [], []
  for i in range(victim.NUM_IMAGES):

    def gradient_fn(point, label, i=i):
      value, gradient, is_fooled = look(jnp.float32(point), label, targets[i])
      return float(value), np.asarray(gradient), bool(is_fooled)

    found = _reference(np.asarray(pixels[i]), labels[i], np.asarray(starts[i]), gradient_fn)
    if look(pixels[i], labels[i], targets[i])[2]:
      found = pixels[i]
    is_fooled.append(found is not None)
    agree.append(is_fooled[-1] == bool(result.is_fooled[i]))
    if found is not None and agree[-1]:
      agree.append(np.abs(found - result.adversarial[i]).max() < 1e-4)
  assert np.mean(is_fooled) == pytest.approx(float(result.is_fooled.mean()), abs=0.02)
  assert np.mean(agree) >= 0.95  # rounding may turn a sign of the gradient


def test_stays_in_the_ball():
  pixels, labels = victim.test_set()
  result = _program()(2, 9)
  assert jnp.abs(result.adversarial - pixels).max() <= _EPSILON + 1e-6
  assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
  assert victim.accuracy(result.adversarial, labels) == pytest.approx(_accuracy(result))


def test_no_weaker_than_pgd_and_targets_are_stronger():
  _, labels = victim.test_set()
  images = victim.foolbox_images(victim.peer.LinfPGD(steps=20, rel_stepsize=0.25), _EPSILON)
  pgd = victim.accuracy(images, labels)
  accuracies = {name: _accuracy(_program()(i, 1)) for i, name in enumerate(_NAMES[:2])}
  targeted = _accuracy(_program()(2, 9))
  assert accuracies["cross_entropy"] <= pgd and accuracies["dlr"] <= pgd
  assert targeted <= min(accuracies.values()) < 0.9


@pytest.mark.slow  # a program of its own
def test_in_l2_too():
  pixels, labels = victim.test_set()
  result = jax.jit(
    lambda rng: apgd_lib.apgd(
      victim.logits_fn(), pixels, labels, rng, epsilon=0.5, norm="l2", num_steps=_NUM_STEPS
    )
  )(jax.random.key(0))
  assert jax.vmap(norms.L2.size)(result.adversarial - pixels).max() <= 0.5 + 1e-6
  images = victim.foolbox_images(victim.peer.L2PGD(steps=20, rel_stepsize=0.25), 0.5)
  assert _accuracy(result) <= victim.accuracy(images, labels)


def test_each_run_aims_at_the_next_class():
  logits = jnp.array([[3.0, 1.0, 4.0, 2.0], [0.0, 5.0, 1.0, 2.0]])
  np.testing.assert_array_equal(
    apgd_lib._wrong_classes(logits, jnp.array([2, 0])), [[0, 3, 1], [1, 3, 2]]
  )


def test_refuses_no_steps():
  pixels, labels = victim.test_set()
  with pytest.raises(ValueError, match="num_steps=0 must be at least 1"):
    apgd_lib.apgd(victim.logits_fn(), pixels, labels, jax.random.key(0), epsilon=0.1, num_steps=0)
