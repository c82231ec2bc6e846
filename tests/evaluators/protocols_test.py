import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.evaluators import protocols


def test_optimizer_is_sgd_by_hand():
  """Decay enters the gradient before the momentum; a drop scales the rate and empties it."""
  protocol = protocols.Protocol(4, 8, 0.1, 0.9, 0.01, drops=((0.5, 0.1),))
  optimizer = protocols.make_optimizer(protocol, steps_per_epoch=2)
  params = jnp.array([1.0, -2.0])
  state = optimizer.init(params)
  expected, velocity, rate = np.array([1.0, -2.0]), np.zeros(2), 0.1
  for step in range(8):
    gradient = np.array([np.sin(step), 0.5])
    updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
    params = optax.apply_updates(params, updates)
    if step == 4:
      velocity, rate = np.zeros(2), 0.01
    velocity = 0.9 * velocity + gradient + 0.01 * expected
    expected = expected - rate * velocity
    np.testing.assert_allclose(params, expected, rtol=1e-5)


def test_losses_on_numbers():
  logits, labels = jnp.array([[1.0, 3.0]]), jnp.array([[0.25, 0.75]])
  np.testing.assert_allclose(protocols.make_loss("mse")(logits, labels), [(0.75**2 + 2.25**2) / 2])
  log_normaliser = np.log(np.exp(1) + np.exp(3))
  np.testing.assert_allclose(
    protocols.make_loss("cross_entropy")(logits, labels),
    [log_normaliser - 0.25 - 2.25],
    rtol=1e-6,
  )


def test_quick_is_as_stated():
  quick = protocols.find_protocol("quick")
  assert quick == (100, 256, 0.01, 0.9, 5e-4, ((0.5, 0.1),))


def test_unknown_names_are_named():
  with pytest.raises(ValueError, match="'quik'.*Did you mean 'quick'"):
    protocols.find_protocol("quik")
  with pytest.raises(ValueError, match="'onehot'.*Did you mean 'one_hot'"):
    protocols.find_loss("onehot")
