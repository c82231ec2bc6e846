"""Optimisers against PyTorch's, step by step; `tests/reference/make_reference.py` made them."""

import math

import jax
import numpy as np
import optax

from ddjax.fitting import protocols
from ddjax.models.build import build
from tests.reference.load import load


def _assert_same_steps(reference, kind, optimizer, logits_fn):
  """Six steps on the stored batch; errors relative to how far the weights have moved."""
  labels = jax.nn.one_hot(reference["labels"], 5)
  loss_fn = protocols.make_loss("cross_entropy")

  @jax.jit
  def step(params, state):
    def mean_loss(params):
      return loss_fn(logits_fn(params, reference["images"]), labels).mean()

    updates, state = optimizer.update(jax.grad(mean_loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  start, steps = reference[kind]["start"], reference[kind]["steps"]
  params, state = start, optimizer.init(start)
  for number in range(6):
    params, state = step(params, state)
    expected = jax.tree.map(lambda leaf, number=number: leaf[number], steps)
    moved = _greatest_difference(expected, start)
    assert _greatest_difference(params, expected) <= 1e-4 * moved


def _greatest_difference(tree, other):
  return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), tree, other)))


def test_sgd_with_momentum_decay_and_a_drop_that_starts_anew():
  protocol = protocols.find_protocol("quick")._replace(num_epochs=6)
  network = build("convnet", num_classes=5, width=2, depth=1)
  _assert_same_steps(
    load("optimizers"),
    "sgd",
    protocols.make_optimizer(protocol, num_examples=8),
    lambda params, images: network.apply({"params": params}, images),
  )


def test_adam_with_a_cosine():
  protocol = protocols.find_protocol("frepo")._replace(
    learning_rate=0.01, num_steps=((math.inf, 8),), warmup_steps=0
  )
  _assert_same_steps(
    load("optimizers"),
    "adam",
    protocols.make_optimizer(protocol, num_examples=8),
    lambda kernel, images: images.reshape(len(images), -1) @ kernel,
  )
