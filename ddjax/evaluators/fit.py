"""Trains networks on small sets: all seeds of all sets in one compiled program.

Network j of entry i (a distillation, or a random subset) draws its initial values and its order
of examples from (rng, network, i, j) alone, whatever the set, so sets are compared seed by seed.
"""

import math
from typing import Any, Callable, Mapping, NamedTuple
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax

from ddjax.evaluators import protocols
from ddjax.models.build import build
from ddjax.types import Array, DatasetInfo, DistilledSet, Models

NETWORKS_AT_ONCE = {"cpu": 8}
"""How many networks are vmapped, by backend; more are trained group after group, in the same
program. On CPUs groups of 8 stay in the cache: 35 ConvNets on digits took .6 of the time of 40 at
once. Elsewhere 64."""

Fit = Callable[[Mapping[str, DistilledSet], Array], dict[str, dict[str, Models]]]


class _Row(NamedTuple):
  """One network to train: whose it is, and which seed of which entry."""

  set_name: str
  entry: int
  seed: int


def make_fit(config: ConfigDict, info: DatasetInfo, preprocessing: Any) -> Fit:
  """Networks by the config's protocol, fitted on any number of sets at once.

  Args:
    config: the group `accuracy_evaluation`: networks, width, num_seeds, protocol.
    info: image shape and class count that every set must have.
    preprocessing: with `forward`, pixels f32[b h w c] in [0, 1] -> what the networks see.
  Returns:
    fit(sets, rng) -> {set name: {network name: Models}}. Sets carry images f32[r n h w c] (already
    preprocessed), labels f32[r n k] and `info["label_kind"]`, whose loss `protocols.LOSSES` names.
    Each of the r entries gets `num_seeds` networks, or one in the set `random_subset`;
    `Models.group` is the entry. Sets of equal n and loss train together; a second call on equal
    shapes compiles nothing.
  Raises:
    ValueError: for an unknown network or protocol; by fit, for labels of an unknown kind, or
      images or labels that do not suit `info`.
  """
  protocol = protocols.find_protocol(config.protocol)
  num_seeds = config.num_seeds
  networks = {
    name: build(name, num_classes=info.num_classes, width=config.width) for name in config.networks
  }
  train = {name: make_train(network, protocol) for name, network in networks.items()}
  predict = {name: _make_predict(network, preprocessing) for name, network in networks.items()}

  def fit(sets: Mapping[str, DistilledSet], rng: Array) -> dict[str, dict[str, Models]]:
    models = {name: {} for name in sets}
    for (_, loss), names in _alike(sets, info).items():
      rows = [
        _Row(name, entry, seed)
        for name in names
        for entry in range(len(sets[name].images))
        for seed in range(1 if name == "random_subset" else num_seeds)
      ]
      starts = dict(zip(names, np.cumsum([0] + [len(sets[name].images) for name in names])))
      images = jnp.concatenate([jnp.asarray(sets[name].images) for name in names])
      labels = jnp.concatenate([jnp.asarray(sets[name].labels) for name in names])
      of_set = np.array([row.set_name for row in rows])
      entries = np.array([row.entry for row in rows])
      indices = np.array([starts[row.set_name] + row.entry for row in rows])
      seeds = np.array([[row.entry, row.seed] for row in rows], np.uint32)
      for network in networks:
        stream = jax.random.fold_in(rng, np.uint32(zlib.crc32(network.encode())))
        params = train[network](stream, seeds, indices, images, labels, loss=loss)
        for name in names:
          mine = np.flatnonzero(of_set == name)
          own = jax.tree.map(lambda leaf, mine=mine: leaf[mine], params)
          models[name][network] = Models(predict[network], own, entries[mine])
    return models

  return fit


def make_train(
  network: nn.Module, protocol: protocols.Protocol, networks_at_once: int | None = None
) -> Callable[..., Any]:
  """The whole training of m networks as one compiled function.

  Args:
    network: f32[b h w c] -> logits f32[b k].
    protocol: the recipe.
    networks_at_once: how many are vmapped; None for `NETWORKS_AT_ONCE`.
  Returns:
    train(rng, seeds u32[m 2], indices i32[m], images f32[s n h w c], labels f32[s n k], loss=name)
    -> parameters with a leading [m]. Network i learns entry indices[i] of the s, with a key folded
    with both its seeds. The order of examples is drawn anew every epoch and the last, smaller
    minibatch of an epoch counts as it is.
  """

  at_once = networks_at_once or NETWORKS_AT_ONCE.get(jax.default_backend(), 64)

  def train(rng, seeds, indices, images, labels, *, loss):
    loss_fn = protocols.make_loss(loss)
    num_examples = labels.shape[1]
    batch_size = min(protocol.batch_size, num_examples)
    steps_per_epoch = math.ceil(num_examples / batch_size)
    padding = steps_per_epoch * batch_size - num_examples
    weights = jnp.pad(jnp.ones(num_examples), (0, padding)).reshape(steps_per_epoch, -1)
    optimizer = protocols.make_optimizer(protocol, steps_per_epoch)

    def train_one(seed, index):
      init_rng, order_rng = jax.random.split(
        jax.random.fold_in(jax.random.fold_in(rng, seed[0]), seed[1])
      )
      params = network.init(init_rng, images[0, :1])

      def step(carry, batch):
        params, opt_state = carry
        examples, weight = batch

        def mean_loss(params):
          losses = loss_fn(network.apply(params, images[index, examples]), labels[index, examples])
          return (weight * losses).sum() / weight.sum()

        updates, opt_state = optimizer.update(jax.grad(mean_loss)(params), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

      def epoch(carry, number):
        epoch_rng = jax.random.fold_in(order_rng, number)
        order = jnp.pad(jax.random.permutation(epoch_rng, num_examples), (0, padding))
        return jax.lax.scan(step, carry, (order.reshape(steps_per_epoch, -1), weights))

      start = (params, optimizer.init(params))
      (params, _), _ = jax.lax.scan(epoch, start, jnp.arange(protocol.num_epochs))
      return params

    return _map_in_groups(train_one, (seeds, indices), at_once)

  return jax.jit(train, static_argnames="loss")


def _map_in_groups(fn: Callable[..., Any], args: tuple[Array, ...], at_most: int) -> Any:
  """vmap over the leading axis, group after group of equal size; the last row fills up."""
  count = len(args[0])
  num_groups = math.ceil(count / at_most)
  size = math.ceil(count / num_groups)
  rows = np.minimum(np.arange(num_groups * size), count - 1).reshape(num_groups, size)
  out = jax.lax.map(lambda group: jax.vmap(fn)(*group), tuple(arg[rows] for arg in args))
  return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], out)


def _make_predict(network: nn.Module, preprocessing: Any) -> Callable[[Any, Array], Array]:
  """(parameters of one network, pixels f32[b h w c] in [0, 1]) -> logits f32[b k]."""
  return lambda params, pixels: network.apply(params, preprocessing.forward(pixels))


def _alike(sets: Mapping[str, DistilledSet], info: DatasetInfo) -> dict[tuple[int, str], list[str]]:
  """Checks every set; {(n, loss): names of the sets that train together}."""
  groups: dict[tuple[int, str], list[str]] = {}
  for name, distilled in sets.items():
    images, labels = distilled.images.shape, distilled.labels.shape
    if len(images) != 5 or images[2:] != tuple(info.image_shape):
      raise ValueError(
        f"Set {name!r} has images of shape {images}; {info.name} needs [r, n, "
        f"{', '.join(map(str, info.image_shape))}]."
      )
    if labels != (*images[:2], info.num_classes):
      raise ValueError(
        f"Set {name!r} has labels of shape {labels}; with these images {info.name} needs "
        f"{(*images[:2], info.num_classes)}."
      )
    loss = protocols.find_loss((distilled.info or {}).get("label_kind"))
    groups.setdefault((images[1], loss), []).append(name)
  return groups
