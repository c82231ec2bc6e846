"""Every form of the convolution against XLA's, to the second order, under vmap, scan and jit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax import backend, tuning
from ddjax.models import convolution
from tests.models.draws import draw

ORDERED, PATCHES, PRIMITIVE = (
  convolution.conv_ordered,
  convolution.conv_patches,
  convolution.conv_primitive,
)


def _arrays(channels, size, batch=7, networks=()):
  """Images a little larger than the kernel, not square, and a kernel that keeps their scale."""
  x = draw((*networks, batch, size + 1, size + 2, channels), 0)
  kernel = draw((*networks, size, size, channels, max(channels, 2)), 1)
  return x, kernel * np.float32((size * size * channels) ** -0.5)


def _derivatives(form, padding):
  """(x, kernel) -> value, gradients, and gradients of a function of the kernel's gradient."""

  def loss(x, kernel):
    return jnp.sin(form(x, kernel, padding)).sum()

  def matching(x, kernel):
    return (jax.grad(loss, 1)(x, kernel) ** 2).sum()

  return lambda x, kernel: (
    form(x, kernel, padding),
    jax.grad(loss, (0, 1))(x, kernel),
    jax.grad(matching, (0, 1))(x, kernel),
  )


def _assert_close(ours, theirs):
  """To rounding, relative to the greatest entry of each array."""
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    other = np.asarray(other)
    np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * np.abs(other).max())


def test_conv_is_a_sum_over_the_window():
  x, kernel = draw((1, 4, 5, 2), 0), draw((3, 3, 2, 3), 1)
  out = jax.jit(convolution.conv, static_argnums=2)(x, kernel, 1)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  expected = np.einsum("ijc,ijco->o", padded[0, 1:4, 2:5], kernel)
  assert out.shape == (1, 4, 5, 3)
  np.testing.assert_allclose(out[0, 1, 2], expected, rtol=1e-5)


def _xlas(x, kernel, padding, stride=1):
  pads = [(padding, padding)] * 2
  axes = "NHWC", "HWIO", "NHWC"
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=axes)


@pytest.mark.parametrize("size,padding,stride", [(3, 1, 1), (3, 0, 2), (4, 2, 3), (5, 6, 1)])
def test_primitive_form_is_xlas_to_the_second_order(size, padding, stride):
  x, kernel = _arrays(2, size, batch=2)
  forms = (functools.partial(form, stride=stride) for form in (PRIMITIVE, _xlas))
  ours, theirs = (jax.jit(_derivatives(form, padding))(x, kernel) for form in forms)
  _assert_close(ours, theirs)


# With one channel all convolutions go through patches, in the other cases none.
@pytest.mark.parametrize(
  "size,channels,paddings", [(3, 1, (1, 3)), (3, 8, (0, 1, 2, 3)), (5, 3, (0, 1, 2, 3))]
)
def test_ordered_form_is_xlas_to_the_second_order(size, channels, paddings):
  x, kernel = _arrays(channels, size)

  def every(form):
    return jax.jit(
      lambda x, kernel: [_derivatives(form, padding)(x, kernel) for padding in paddings]
    )

  _assert_close(every(ORDERED)(x, kernel), every(PRIMITIVE)(x, kernel))


@pytest.mark.parametrize("stride", [1, 2])
def test_patch_form_is_xlas_to_the_second_order(stride):
  x, kernel = _arrays(2, 3, batch=2)
  forms = (functools.partial(form, stride=stride) for form in (PATCHES, PRIMITIVE))
  ours, theirs = (jax.jit(_derivatives(form, 1))(x, kernel) for form in forms)
  _assert_close(ours, theirs)


IN_AXES = [(0, None), (None, 0), (0, 0)]


FORMS = {
  "one after another": {"batched_values": 0},
  "together": {"batched_values": 1 << 20},
  "accelerator": {"batched_values": 1 << 20, "has_fast_gradients": True, "patch_numbers": 0},
  "accelerator, one after another": {"batched_values": 0, "has_fast_gradients": True},
}


@pytest.mark.parametrize("traits", FORMS.values(), ids=FORMS)
def test_networks_side_by_side_are_each_their_own(traits, monkeypatch):
  """vmap of gradients and gradients of vmap, whichever of images and kernels are mapped."""
  monkeypatch.setitem(tuning.TRAITS, "cpu", backend.traits()._replace(**traits))
  x, kernel = _arrays(3, 3, batch=3, networks=(2,))

  def mapped(arrays, axes):
    return tuple(array if axis == 0 else array[0] for array, axis in zip(arrays, axes))

  def loss(x, kernel, axes):
    return jnp.sin(jax.vmap(lambda x, kernel: ORDERED(x, kernel, 1), axes)(x, kernel)).sum()

  @jax.jit
  def ours(*arrays):
    return [
      (
        jax.vmap(_derivatives(ORDERED, 1), axes)(*mapped(arrays, axes)),
        jax.grad(loss, (0, 1))(*mapped(arrays, axes), axes),
      )
      for axes in IN_AXES
    ]

  one = jax.jit(_derivatives(PRIMITIVE, 1))
  for axes, (apart, summed) in zip(IN_AXES, ours(x, kernel), strict=True):
    networks = [
      one(*(array[number if axis == 0 else 0] for array, axis in zip((x, kernel), axes)))
      for number in range(2)
    ]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *networks)
    _assert_close(apart, expected)
    gradients = [grads if axis == 0 else grads.sum(0) for grads, axis in zip(expected[1], axes)]
    _assert_close(summed, gradients)


@pytest.mark.parametrize("few_values,has_convolution", [(0, True), (1 << 20, False)])
def test_small_networks_share_one_product(few_values, has_convolution, monkeypatch):
  monkeypatch.setitem(tuning.TRAITS, "cpu", backend.traits()._replace(batched_values=few_values))
  x, kernel = _arrays(8, 3, networks=(2,))
  program = str(jax.make_jaxpr(jax.vmap(_derivatives(ORDERED, 1)))(x, kernel))
  assert ("conv_general_dilated" in program) == has_convolution


@pytest.mark.parametrize("traits", FORMS.values(), ids=FORMS)
def test_gradient_through_an_unrolled_training_of_networks(traits, monkeypatch):
  """Inside scan, jit and two vmaps: three steps on the kernel, differentiated by the images."""
  monkeypatch.setitem(tuning.TRAITS, "cpu", backend.traits()._replace(**traits))
  x, kernel = _arrays(2, 3, batch=3, networks=(2, 1))

  def trained(form, x, kernel):
    def step(kernel, _):
      grads = jax.grad(lambda kernel: jnp.sin(form(x, kernel, 1)).sum())(kernel)
      return kernel - 0.01 * grads, None

    return jax.lax.scan(step, kernel, None, 3, unroll=3 if form is PRIMITIVE else 1)[0]

  def outer(form):
    return jax.value_and_grad(lambda x, kernel: (trained(form, x, kernel) ** 2).sum(), (0, 1))

  ours = jax.jit(jax.vmap(jax.vmap(outer(ORDERED))))(x, kernel)
  one = jax.jit(outer(PRIMITIVE))
  theirs = [one(x[i, 0], kernel[i, 0]) for i in range(2)]
  _assert_close(ours, jax.tree.map(lambda *leaves: np.stack(leaves)[:, None], *theirs))


def test_average_pool_drops_an_odd_last_row():
  x = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
  np.testing.assert_array_equal(convolution.average_pool(x)[0, :, :, 0], [[3.0, 5.0]])
