"""Batches in pieces whose activations stay in the cache, and classes in groups that fit in memory.

On CPUs a layer that reads its input from the cache is up to twice as fast as one that reads it from
memory. Sums over a batch (of gradients, of features) are the same to rounding in pieces.
"""

import math
from typing import Any, Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddjax.backend import traits
from ddjax.memory import device_budget
from ddjax.tuning import LIVE_ACTIVATIONS


def activation_bytes(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
  """Bytes of the largest activation of one image in a network, f32."""

  def run(rng, image):
    variables = network.init(rng, image)
    return network.apply(variables, image, capture_intermediates=True, mutable=["intermediates"])

  shapes = jax.eval_shape(run, jax.random.key(0), jnp.zeros((1, *image_shape)))
  return max(4 * math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def best_images_at_once(network: nn.Module, image_shape: tuple[int, int, int]) -> int | None:
  """Images whose activations stay in the cache of this backend; None where it does not matter."""
  piece_bytes = traits().piece_bytes
  return piece_bytes and max(1, piece_bytes // activation_bytes(network, image_shape))


def passes_at_once(image_bytes: int) -> int:
  """Images that one call may send through networks, gradients included, whatever the network's own
  share of them: so many networks times images fit in the budget of a device.

  Args:
    image_bytes: see `activation_bytes`.
  """
  return max(1, device_budget() // (LIVE_ACTIVATIONS * image_bytes))


def sum_over_pieces(fn: Callable[..., Any], operands: tuple[Any, ...], num_pieces: int) -> Any:
  """`fn(*operands)`, a sum over the rows of the leading axes, piece by piece.

  Args:
    fn: rows filled up with zeros must add nothing to its result, a tree of arrays.
    operands: trees of arrays with one leading axis [b ...].
    num_pieces: 1 calls `fn` once, on everything.
  """
  if num_pieces == 1:
    return fn(*operands)
  pieces = jax.tree.map(lambda leaf: _pieces(leaf, num_pieces), operands)
  shapes = jax.eval_shape(fn, *jax.tree.map(lambda leaf: leaf[0], pieces))
  zero = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

  def add(total, piece):
    return jax.tree.map(jnp.add, total, fn(*piece)), None

  return jax.lax.scan(add, zero, pieces)[0]


def map_pieces(
  fn: Callable[[jax.Array], jax.Array], rows: jax.Array, at_once: int | None
) -> jax.Array:
  """`fn(rows)`, a result for each row, piece by piece.

  Args:
    fn: of rows [q ...], giving [q ...].
    rows: [b ...].
    at_once: q; the last piece may be smaller. None, or b and more, calls `fn` once, on everything.
  """
  count = len(rows)
  if at_once is None or at_once >= count:
    return fn(rows)
  whole = count - count % at_once
  results = jax.lax.map(fn, rows[:whole].reshape(-1, at_once, *rows.shape[1:]))
  results = results.reshape(whole, *results.shape[2:])
  return results if whole == count else jnp.concatenate([results, fn(rows[whole:])])


def _pieces(leaf: jax.Array, num_pieces: int) -> jax.Array:
  """[b ...] -> [pieces q ...], filled up with zeros."""
  size = math.ceil(leaf.shape[0] / num_pieces)
  missing = num_pieces * size - leaf.shape[0]
  leaf = jnp.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1))
  return leaf.reshape(num_pieces, size, *leaf.shape[1:])


def choose_classes_at_once(
  wanted: int, num_classes: int, images_per_class: int, image_bytes: int, budget_bytes: float
) -> int:
  """How many classes to take together.

  Args:
    wanted: 0 for as many as memory allows, or a number to be taken as it is.
    num_classes: k.
    images_per_class: real and synthetic images of one class in a step.
    image_bytes: see `activation_bytes`.
    budget_bytes: that one call may need. On CPUs small groups are at least as fast, so there the
      cache sets a limit too, as a rule the lower one.
  Returns:
    A divisor of k, or where the largest that fits is less than half of what would, groups that are
    as even as can be: then the last one is smaller, which compiles twice.
  Raises:
    ValueError: for a number outside 0 to k.
  """
  if not 0 <= wanted <= num_classes:
    raise ValueError(f"classes_at_once={wanted} must lie between 0 and the {num_classes} classes.")
  if wanted:
    return wanted
  limit = min(budget_bytes / LIVE_ACTIVATIONS, traits().group_bytes)
  most = min(max(int(limit // (images_per_class * image_bytes)), 1), num_classes)
  divisor = max(d for d in range(1, most + 1) if num_classes % d == 0)
  num_groups = -(-num_classes // most)
  return divisor if 2 * divisor >= most else -(-num_classes // num_groups)


def over_classes(fn: Callable[..., Any], operands: tuple[Any, ...], at_once: int) -> Any:
  """`fn` of every group of classes, one group after another.

  Args:
    fn: of operands [q ...], a tree of results [q ...].
    operands: trees of arrays with one leading axis [k ...].
    at_once: q; k calls `fn` once, on everything. Where q does not divide k the last group is
      smaller.
  """
  count = jax.tree.leaves(operands)[0].shape[0]
  if at_once == count:
    return fn(*operands)
  whole = count // at_once * at_once

  def grouped(leaf):
    return leaf[:whole].reshape(whole // at_once, at_once, *leaf.shape[1:])

  results = jax.lax.map(lambda group: fn(*group), jax.tree.map(grouped, operands))
  results = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), results)
  if whole == count:
    return results
  rest = fn(*jax.tree.map(lambda leaf: leaf[whole:], operands))
  return jax.tree.map(lambda *parts: jnp.concatenate(parts), results, rest)


def map_each(fn: Callable[..., Any], *operands: Any) -> Any:
  """`vmap(fn)(*operands)`; a single entry goes without, which would cost batched products."""
  if jax.tree.leaves(operands)[0].shape[0] == 1:
    result = fn(*jax.tree.map(lambda leaf: leaf[0], operands))
    return jax.tree.map(lambda leaf: leaf[None], result)
  return jax.vmap(fn)(*operands)
