"""The unrolled student: against a Python loop, finite differences, PyTorch, and its own memory."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ddjax.augment import siamese
from ddjax.distillers import unroll
from ddjax.distillers.unroll import Learned, Student
from ddjax.models.build import build
from ddjax.models.pieces import map_each
from tests.reference.load import load

NUM_CLASSES, SHAPE = 5, (8, 8, 3)


@functools.cache
def _arrays(model, n):
  """(start, target, learned) of random networks and images."""

  @jax.jit
  def draw(rng):
    keys = jax.random.split(rng, 4)
    start, target = (model.init(key, jnp.zeros((1, *SHAPE)))["params"] for key in keys[:2])
    images = jax.random.normal(keys[2], (n, *SHAPE))
    labels = jax.nn.softmax(jax.random.normal(keys[3], (n, NUM_CLASSES)))
    return start, target, Learned(images, labels, jnp.log(jnp.float32(0.1)))

  return draw(jax.random.key(0))


@functools.cache
def _loss_of(network):
  """(the network, its loss summed over a batch)."""
  model = build(network, num_classes=NUM_CLASSES, width=4)

  def total_loss(params, images, labels, weights):
    logits = model.apply({"params": params}, images)
    return jnp.sum(weights * optax.softmax_cross_entropy(logits, labels))

  return model, total_loss


@functools.partial(jax.jit, static_argnums=1)
def _draw(rng, student):
  return unroll.draw_student(rng, student)


def _student(
  unroll_name, *, network="convnet(depth=2)", num_steps=4, n=10, b=None, ops="", at_once=3
):
  """(student, start, target, learned) of random networks and images."""
  model, total_loss = _loss_of(network)
  start, target, learned = _arrays(model, n)
  student = Student(
    total_loss, siamese.parse(ops), num_steps, b or n, n, SHAPE, at_once, unroll_name
  )
  return student, start, target, learned


def _python_loop(student, start, target, draws, learned):
  """The loss of MTT as one would write it down, a step after the other, the batch whole."""
  params = start
  for i in range(student.num_steps):
    draw = jax.tree.map(lambda leaf, i=i: leaf[i], draws)
    images, labels = learned.images, learned.labels
    if draw.index is not None:
      images, labels = images[draw.index], labels[draw.index]
    if student.augmentation.ops:
      images = siamese.apply(images, draw.augmentation, student.augmentation)

    def mean_loss(params, images=images, labels=labels, weights=draw.weights):
      return student.total_loss(params, images, labels, weights) / weights.sum()

    slopes = jax.grad(mean_loss)(params)
    params = optax.tree.add_scale(params, -jnp.exp(learned.log_rate), slopes)
  ends = [
    jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(t)]) for t in (params, target, start)
  ]
  return jnp.sum((ends[0] - ends[1]) ** 2) / jnp.sum((ends[2] - ends[1]) ** 2)


def _error(found, expected):
  """Relative error of two arrays as vectors."""
  return np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected)


@functools.partial(jax.jit, static_argnums=0)
def _match(student, start, target, learned, draws):
  return unroll.match_trajectory(student, start, target, learned, draws)


@pytest.mark.parametrize("name, batch", [("plain", None), ("checkpoint", 4)])
def test_the_unrolled_gradient_is_that_of_a_python_loop(name, batch):
  student, start, target, learned = _student(
    name, network="mlp", num_steps=3, b=batch, ops="color_crop_scale"
  )
  draws = _draw(jax.random.key(7), student)
  loss, gradient = _match(student, start, target, learned, draws)
  reference = jax.jit(jax.value_and_grad(functools.partial(_python_loop, student), argnums=3))
  expected_loss, expected = reference(start, target, draws, learned)
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
  for leaf, reference in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
    assert _error(leaf, reference) < 1e-4


def test_the_unrolled_gradient_is_the_slope_of_the_loss():
  """Finite differences in 64 bits, along a random direction of everything that is learned."""
  with jax.enable_x64(True):
    student, start, target, learned = _student("checkpoint", network="mlp", ops="crop_scale", b=4)
    as_double = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.float64))
    start, target, learned = map(as_double, (start, target, learned))
    draws = _draw(jax.random.key(7), student)
    _, gradient = _match(student, start, target, learned, draws)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), learned)

    def loss_at(distance):
      moved = jax.tree.map(lambda leaf, way: leaf + distance * way, learned, direction)
      return _match(student, start, target, moved, draws)[0]

    slope = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5
    np.testing.assert_allclose(optax.tree.vdot(gradient, direction), slope, rtol=1e-4)


@pytest.mark.parametrize(
  "name, policy",
  [
    pytest.param("plain", "nothing_saveable", marks=pytest.mark.slow),
    ("checkpoint", "nothing_saveable"),
    ("checkpoint", "convolutions"),
  ],
)
def test_loss_and_gradients_are_those_of_pytorch(name, policy):
  stored = load("trajectory")
  student, *_ = _student(name)
  student = student._replace(policy=policy)
  learned = Learned(
    jnp.asarray(stored["images"]),
    jax.nn.one_hot(stored["labels"], NUM_CLASSES),
    jnp.log(stored["rate"]),
  )
  draws = _draw(jax.random.key(0), student)
  loss, gradient = _match(student, stored["start"], stored["target"], learned, draws)
  np.testing.assert_allclose(loss, stored["loss"], rtol=1e-4)
  assert _error(gradient.images, stored["gradient_of_images"]) < 1e-3
  np.testing.assert_allclose(
    gradient.log_rate / stored["rate"], stored["gradient_of_rate"], rtol=1e-3
  )


def test_pieces_mapped_together_have_the_gradients_of_each_alone():
  student, start, target, learned = _student("checkpoint", network="convnet(depth=1)", ops="crop")
  student = student._replace(policy="convolutions")
  keys = jax.random.split(jax.random.key(5), 2)
  starts, targets = (
    jax.tree.map(lambda leaf: jnp.stack([leaf, 0.9 * leaf]), t) for t in (start, target)
  )

  def of_piece(key, start, target):
    draws = unroll.draw_student(key, student)
    return unroll.match_trajectory(student, start, target, learned, draws)

  losses, gradients = jax.jit(functools.partial(map_each, of_piece))(keys, starts, targets)
  for i, key in enumerate(keys):
    piece = [jax.tree.map(lambda leaf, i=i: leaf[i], t) for t in (starts, targets)]
    loss, gradient = jax.jit(of_piece)(key, *piece)
    np.testing.assert_allclose(losses[i], loss, rtol=1e-5)
    for leaf, expected in zip(jax.tree.leaves(gradients), jax.tree.leaves(gradient), strict=True):
      assert _error(leaf[i], expected) < 1e-4


def test_the_constant_gradient_is_exact_for_one_step():
  full, start, target, learned = _student(
    "plain", network="mlp", num_steps=1, b=4, ops="color_crop"
  )
  draws = _draw(jax.random.key(3), full)
  loss, exact = _match(full, start, target, learned, draws)
  constant_loss, constant = _match(full._replace(unroll="constant"), start, target, learned, draws)
  np.testing.assert_allclose(constant_loss, loss, rtol=1e-6)
  for a, b in zip(jax.tree.leaves(constant), jax.tree.leaves(exact), strict=True):
    assert _error(a, b) < 1e-5


@pytest.mark.parametrize("batch, ops", [(None, ""), (4, "color_crop")])
def test_the_constant_gradient_is_the_published_formula_and_near_the_full_one(batch, ops):
  """Its second pass sees the minibatches and the augmentation of the first."""
  full, start, target, learned = _student("plain", network="mlp", b=batch, ops=ops)
  draws = _draw(jax.random.key(3), full)
  _, exact = _match(full, start, target, learned, draws)
  _, constant = _match(full._replace(unroll="constant"), start, target, learned, draws)

  @jax.jit
  def slopes(params, images, draw):
    labels = learned.labels
    if batch:
      images, labels = images[draw.index], labels[draw.index]
    if ops:
      images = siamese.apply(images, draw.augmentation, full.augmentation)
    return jax.grad(full.total_loss)(params, images, labels, draw.weights / draw.weights.sum())

  each_draw = [jax.tree.map(lambda leaf, i=i: leaf[i], draws) for i in range(4)]
  path, rate = [start], jnp.exp(learned.log_rate)
  for draw in each_draw:
    moved = slopes(path[-1], learned.images, draw)
    path.append(jax.tree.map(lambda leaf, slope: leaf - rate * slope, path[-1], moved))
  residual = optax.tree.sub(path[-1], target)
  scale = 2 / optax.tree.norm(optax.tree.sub(start, target), squared=True)
  projected = jax.jit(
    jax.value_and_grad(lambda images, at, draw: optax.tree.vdot(slopes(at, images, draw), residual))
  )
  each = [projected(learned.images, at, draw) for at, draw in zip(path[:-1], each_draw)]
  of_rate, of_images = (sum(parts) for parts in zip(*each, strict=True))
  assert _error(constant.images, -scale * rate * of_images) < 1e-4
  np.testing.assert_allclose(constant.log_rate / rate, -scale * of_rate, rtol=1e-4)
  away = _error(constant.images, exact.images)
  cosine = np.vdot(constant.images, exact.images) / (
    np.linalg.norm(constant.images) * np.linalg.norm(exact.images)
  )
  assert 0.001 < away < 0.3 and cosine > 0.95  # an approximation, and a near one


def test_minibatches_follow_one_order_after_another_without_replacement():
  student, *_ = _student("plain", num_steps=7, n=10, b=4)
  draws = _draw(jax.random.key(1), student)
  assert draws.index.shape == draws.weights.shape == (7, 4)
  np.testing.assert_array_equal(draws.weights.sum(axis=1), [4, 4, 2, 4, 4, 2, 4])
  orders = [draws.index[first : first + 3].reshape(-1)[:10].tolist() for first in (0, 3)]
  assert all(sorted(order) == list(range(10)) for order in orders)
  assert orders[0] != orders[1]


def test_memory_does_not_grow_with_the_steps_in_constant_form():
  def temporary_bytes(name, num_steps):
    student, start, target, learned = _student(name, network="mlp", num_steps=num_steps)
    draws = _draw(jax.random.key(0), student)
    compiled = jax.jit(functools.partial(unroll.match_trajectory, student)).lower(
      start, target, learned, draws
    )
    return compiled.compile().memory_analysis().temp_size_in_bytes

  grown = {name: temporary_bytes(name, 40) / temporary_bytes(name, 10) for name in unroll.UNROLLS}
  assert grown["constant"] < 1.1
  assert grown["plain"] > 3
  assert grown["checkpoint"] < grown["plain"]


@pytest.mark.parametrize("num_pieces", [1, 3])
def test_keeping_convolutions_takes_memory_between_keeping_nothing_and_all(num_pieces):
  """And what is said to be kept is what the compiled programs need more than one another."""
  student, start, target, learned = _student(
    "checkpoint", network="convnet(depth=1)", num_steps=20, at_once=math.ceil(10 / num_pieces)
  )
  draws = _draw(jax.random.key(0), student)
  needed, said = [], []
  for changes in ({}, {"policy": "convolutions"}, {"unroll": "plain"}):
    changed = student._replace(**changes)
    program = jax.jit(functools.partial(unroll.match_trajectory, changed))
    compiled = program.lower(start, target, learned, draws).compile()
    needed.append(compiled.memory_analysis().temp_size_in_bytes)
    said.append(unroll.kept_bytes(changed, start, NUM_CLASSES))
  assert needed[0] < needed[1] < needed[2]
  rows = num_pieces * math.ceil(10 / num_pieces)  # what fills up a piece is kept too
  assert said[1] - said[0] >= 20 * 4 * rows * 8 * 8 * 4
  np.testing.assert_allclose(needed[1] - needed[0], said[1] - said[0], rtol=0.15)
  assert said[2] > said[1]
