"""Operations counted in the traced program: against counts by hand, and against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax import costs
from ddjax.models.build import build


def _shape(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _conv(x, kernel):
  return jax.lax.conv_general_dilated(
    x, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


@pytest.mark.parametrize(
  "fn,args,flops",
  [
    (jnp.dot, (_shape(3, 5), _shape(5, 7)), 2 * 3 * 5 * 7),
    (jax.vmap(jnp.dot), (_shape(4, 3, 5), _shape(4, 5, 7)), 4 * 2 * 3 * 5 * 7),
    (_conv, (_shape(2, 8, 8, 3), _shape(3, 3, 3, 4)), 2 * 2 * 64 * 4 * 27),
    (jax.vmap(_conv), (_shape(6, 2, 8, 8, 3), _shape(6, 3, 3, 3, 4)), 6 * 2 * 2 * 64 * 4 * 27),
    (lambda x: x + x, (_shape(4, 5),), 20),
    (jnp.sum, (_shape(4, 5),), 20),
    (jnp.transpose, (_shape(4, 5),), 0),
    (jnp.linalg.cholesky, (_shape(60, 60),), pytest.approx(60**3 / 3, rel=0.3)),
  ],
)
def test_counts_by_hand(fn, args, flops):
  assert costs.count(fn, *args).flops == flops


def test_loops_count_every_turn_and_branches_the_dearest():
  def body(_, x):
    return x @ x

  def scanned(x):
    return jax.lax.scan(lambda x, _: (x @ x, None), x, None, length=7)[0]

  def looped(x, count):
    return jax.lax.fori_loop(0, count, body, x)

  def branched(x, place):
    return jax.lax.cond(place, lambda x: x @ x, lambda x: x, x)

  product = 2 * 4**3
  square, number = _shape(4, 4), jax.ShapeDtypeStruct((), jnp.int32)
  assert costs.count(scanned, square).flops == 7 * product
  found = costs.count(looped, square, number, loop_steps=5).flops
  assert found == pytest.approx(5 * product, abs=5 * 3)  # the counter counts too
  is_true = jax.ShapeDtypeStruct((), jnp.bool_)
  assert costs.count(branched, square, is_true).flops == pytest.approx(product, abs=2)


def test_bytes_are_those_of_products_in_and_out():
  found = costs.count(jnp.dot, _shape(3, 5), _shape(5, 7))
  assert found.bytes == 4 * (3 * 5 + 5 * 7 + 3 * 7)


@pytest.mark.parametrize("name", ["convnet", "resnet18", "vit", "mlp", "vgg11"])
def test_networks_as_the_compiler_counts_them(name):
  """But for windows over padding, which the compiler leaves out: up to a quarter of VGG's."""
  network = build(name, num_classes=10)
  image = _shape(1, 32, 32, 3)
  params = jax.eval_shape(network.init, jax.random.key(0), image)
  theirs = jax.jit(network.apply).lower(params, image).cost_analysis()["flops"]
  assert costs.count(network.apply, params, image).flops == pytest.approx(theirs, rel=0.34)


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_the_count_is_the_same_on_every_backend(monkeypatch, backend):
  network = build("convnet", num_classes=10, width=16)
  image = _shape(1, 32, 32, 3)
  params = jax.eval_shape(network.init, jax.random.key(0), image)

  def flops():
    return costs.count(lambda *args: network.apply(*args), params, image).flops

  here = flops()
  jax.clear_caches()
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  there = flops()
  jax.clear_caches()
  assert np.isclose(here, there, rtol=0.03)
  assert here != there  # another form was traced
