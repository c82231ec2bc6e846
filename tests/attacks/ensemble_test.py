"""Several attacks in a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.attacks.ensemble import autoattack, worst_case
from ddjax.attacks.search import AttackResult
from tests.attacks import victim


def _result(fooled, gradients, forwards, value):
  images = jnp.full((len(fooled), 1, 1, 1), value)
  return AttackResult(images, *map(jnp.array, (fooled, gradients, forwards)))


def test_an_image_pays_up_to_the_first_success():
  first = _result([True, False, False], [1, 9, 9], [1, 1, 1], 0.1)
  second = _result([True, True, False], [5, 5, 5], [2, 2, 2], 0.2)
  worst = worst_case([first, second])
  np.testing.assert_array_equal(worst.is_fooled, [True, True, False])
  np.testing.assert_array_equal(worst.num_gradients, [1, 14, 14])
  np.testing.assert_array_equal(worst.num_forwards, [1, 3, 3])
  np.testing.assert_allclose(worst.adversarial[:, 0, 0, 0], [0.1, 0.2, 0.2])


@pytest.mark.slow  # three attacks to compile
def test_autoattack():
  pixels, labels = victim.test_set()
  pixels, labels = pixels[:20], labels[:20]
  result = jax.jit(
    lambda rng: autoattack(
      victim.logits_fn(), pixels, labels, rng, epsilon=0.1, num_steps=5, num_queries=20
    )
  )(jax.random.key(0))
  assert 0.1 < float(result.is_fooled.mean()) < 1
  accuracy = 1 - float(result.is_fooled.mean())
  assert victim.accuracy(result.adversarial, labels) == pytest.approx(accuracy)
  assert jnp.abs(result.adversarial - pixels).max() <= 0.1 + 1e-6
