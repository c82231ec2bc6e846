"""Pieces of batches and groups of classes against the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddjax.models import pieces
from ddjax.models.build import build
from tests.models.draws import draw


def test_size_of_the_largest_activation():
  network = build("convnet(depth=1)", num_classes=3, width=5)
  assert pieces.activation_bytes(network, (4, 4, 1)) == 4 * 4 * 4 * 5


@pytest.mark.parametrize("num_pieces", [1, 2, 3, 7])
def test_a_sum_in_pieces_is_the_sum(num_pieces):
  rows, weights = draw((7, 3), seed=0), draw((7,), seed=1)

  def total(rows, weights):
    return {"mean": weights @ jnp.sin(rows), "count": weights.sum()}

  got = jax.jit(lambda *args: pieces.sum_over_pieces(total, args, num_pieces))(rows, weights)
  np.testing.assert_allclose(got["mean"], weights @ np.sin(rows), rtol=1e-5)
  np.testing.assert_allclose(got["count"], weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("at_once", [None, 1, 2, 3, 7, 9])
def test_rows_in_pieces_are_the_rows(at_once):
  rows, calls = draw((7, 3), seed=0), []

  def fn(piece):
    calls.append(len(piece))
    return jnp.sin(piece)[:, :2]

  np.testing.assert_array_equal(pieces.map_pieces(fn, rows, at_once), fn(rows))
  assert max(calls[:-1]) == min(at_once or 7, 7)


@pytest.mark.parametrize("at_once", [1, 2, 3, 4, 5, 6])
def test_groups_of_classes_give_what_all_give(at_once):
  numbers, offset = draw((6, 2), seed=0), np.arange(6, dtype=np.float32)

  def of_group(numbers, offset):
    assert len(numbers) in (at_once, 6 % at_once)
    return numbers * 2, offset + numbers.sum(axis=1)

  doubled, moved = pieces.over_classes(of_group, (numbers, offset), at_once)
  np.testing.assert_array_equal(doubled, numbers * 2)
  np.testing.assert_allclose(moved, offset + numbers.sum(axis=1), rtol=1e-6)


def test_memory_decides_how_many_classes_go_together():
  def choose(budget, wanted=0, num_classes=10):
    return pieces.choose_classes_at_once(wanted, num_classes, 4, 1000, budget)

  per_class = 8 * 4 * 1000
  assert [choose(n * per_class) for n in (0, 1, 2, 4, 5, 9, 10, 99)] == [1, 1, 2, 2, 5, 5, 10, 10]
  # Where no divisor comes near, the last group is smaller.
  assert [choose(n * per_class, num_classes=7) for n in (1, 2, 4, 6, 7)] == [1, 1, 4, 4, 7]
  assert choose(0, wanted=5) == 5
  assert choose(0, wanted=3) == 3
  for wanted in (-1, 11):
    with pytest.raises(ValueError, match=f"classes_at_once={wanted}"):
      choose(0, wanted=wanted)


def test_each_of_one_entry_is_not_vmapped():
  def fn(x):
    return jnp.sin(x).sum()

  assert pieces.map_each(fn, jnp.ones((1, 3))).shape == (1,)
  assert "dot_general" not in str(
    jax.make_jaxpr(lambda x: pieces.map_each(jnp.sin, x))(jnp.ones((1, 3)))
  )
  np.testing.assert_allclose(
    pieces.map_each(fn, jnp.ones((2, 3))), np.full(2, 3 * np.sin(1)), rtol=1e-6
  )
