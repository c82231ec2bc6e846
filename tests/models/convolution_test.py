import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.models import convolution


def _draw(shape, seed):
  return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


@pytest.mark.parametrize("channels,padding,side", [(1, 3, 28), (3, 1, 9), (8, 0, 5)])
def test_both_forms_and_their_gradients_agree(channels, padding, side):
  x, kernel = _draw((2, side, side + 1, channels), 0), _draw((3, 3, channels, 4), 1)

  def loss(form, x, kernel):
    return jnp.sin(form(x, kernel, padding)).sum()

  patches, primitive = (
    jax.jit(jax.value_and_grad(lambda x, kernel, form=form: loss(form, x, kernel), (0, 1)))
    for form in (convolution.conv_patches, convolution.conv_primitive)
  )
  for ours, theirs in zip(
    jax.tree.leaves(patches(x, kernel)), jax.tree.leaves(primitive(x, kernel)), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-4)


def test_conv_is_a_sum_over_the_window():
  x, kernel = _draw((1, 4, 5, 2), 0), _draw((3, 3, 2, 3), 1)
  out = convolution.conv(x, kernel, 1)
  padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = np.einsum("ijc,ijco->o", padded[0, 1:4, 2:5], np.asarray(kernel))
  assert out.shape == (1, 4, 5, 3)
  np.testing.assert_allclose(out[0, 1, 2], expected, rtol=1e-5)


def test_second_derivatives_of_the_patch_form():
  x, kernel = _draw((2, 5, 5, 2), 0), _draw((3, 3, 2, 3), 1)

  def gradient_norm(x, form):
    grads = jax.grad(lambda kernel: (form(x, kernel, 1) ** 3).sum())(kernel)
    return (grads**2).sum()

  second = jax.jit(jax.grad(gradient_norm), static_argnums=1)
  ours, theirs = second(x, convolution.conv_patches), second(x, convolution.conv_primitive)
  np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(jnp.abs(theirs).max()))


def test_average_pool_drops_an_odd_last_row():
  x = jnp.arange(15, dtype=jnp.float32).reshape(1, 3, 5, 1)
  np.testing.assert_array_equal(convolution.average_pool(x)[0, :, :, 0], [[3.0, 5.0]])
