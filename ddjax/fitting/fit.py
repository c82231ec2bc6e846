"""Networks trained on small sets, by the protocol of the config: every seed of every set.

Network j of entry i (a distillation, or a random subset) draws its initial values, its order of
examples and its augmentation from (rng, network, i, j) alone, whatever the set, so sets are
compared seed by seed.
"""

import hashlib
import json
from typing import Any, Callable, Iterable, Mapping, NamedTuple
import zlib

from flax import traverse_util
import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.augment.multiformation import decode_set
from ddjax.data import cache
from ddjax.data.load import RealData, make_data_split
from ddjax.files.plain_arrays import bytes_of
from ddjax.fitting import feature_ridge, host, protocols, recipes, train
from ddjax.fitting.host import Watch
from ddjax.fitting.protocols import of_steps
from ddjax.models.build import logits_of
from ddjax.types import Array, DatasetInfo, Device, DistilledSet, Models

Fit = Callable[..., dict[str, dict[str, Models]]]

RANDOM_SUBSET = "random_subset"
"""The set whose entries are the seeds, so that each has `random_subset_seeds` networks."""
_FORMAT = 1  # of cached networks: raise it when equal keys would mean other numbers


class _Row(NamedTuple):
  """One network to train: whose it is, which seed of which entry, and the rate to begin with."""

  set_name: str
  entry: int
  seed: int
  learning_rate: float


def make_fit(
  config: ConfigDict,
  info: DatasetInfo,
  preprocessing: Any,
  *,
  use_flip: bool = True,
  devices: tuple[Device, ...] | None = None,
  cached_sets: Iterable[str] = (),
) -> Fit:
  """Networks by the config's protocol, fitted on any number of sets at once.

  Args:
    config: the group `accuracy_evaluation`.
    info: image shape and class count that every set must have.
    preprocessing: with `forward`, pixels f32[b h w c] in [0, 1] -> what the networks see.
    use_flip: whether a mirrored image is still an image of its class.
    devices: of this host, over which the networks are dealt out; None for all.
    cached_sets: names of sets whose networks are kept in the cache folder, by content.
  Returns:
    fit(sets, rng, watch=Watch()) -> {set name: {network name: Models}}, and with
    `config.feature_ridge` the predictors on each network's features besides. Sets carry images
    f32[r n h w c] (already preprocessed), labels f32[r n k] and in `info` the label kind, which
    decides the loss, and where they are given a `learning_rate` and a `decode_factor`. Each of the
    r entries gets `num_seeds` networks, or `random_subset_seeds` in the set `random_subset`;
    `Models.group` is the entry. Sets of equal n and loss train together; a second call on equal
    shapes compiles nothing.
  Raises:
    ValueError: for an unknown network or protocol; by fit, for labels of an unknown kind, or
      images or labels that do not suit `info`.
  """
  made = recipes.of_config(config, info, use_flip)
  predict = {name: make_predict(recipe.build(), preprocessing) for name, recipe in made.items()}
  predict_ridge = {
    name: feature_ridge.make_predict(recipe.build(), preprocessing) for name, recipe in made.items()
  }
  programs: dict[tuple, host.Program] = {}

  def program_of(name: str, loss: str, num_examples: int) -> host.Program:
    key = name, loss, num_examples
    if key not in programs:
      programs[key] = recipes.compile_recipe(made[name], loss, num_examples, devices)
    return programs[key]

  def fit(sets: Mapping[str, DistilledSet], rng: Array, watch: Watch = Watch()):
    models = {name: {} for name in sets}
    protocol = protocols.configure(config, use_flip)
    groups = _alike(sets, info, protocol)
    decoded = {name: _prepared(distilled, protocol) for name, distilled in sets.items()}
    for (num_examples, loss), names in groups.items():
      rows = {name: _rows(name, decoded[name], config) for name in names}
      for network, recipe in made.items():
        stream = jax.random.fold_in(rng, np.uint32(zlib.crc32(network.encode())))
        keys = {
          name: _content_key(recipe, loss, stream, decoded[name], rows[name]) for name in names
        }
        kept = {name: cache.find(keys[name]) for name in names if name in cached_sets}
        variables = {name: _nested(arrays) for name, arrays in kept.items() if arrays is not None}
        missing = [name for name in names if name not in variables]
        num_entries = max(len(decoded[name].images) for name in names)
        size = None
        for together in _calls(names, cached_sets):
          wanted = [name for name in together if name in missing]
          program = program_of(network, loss, num_examples)
          num_rows = sum(len(rows[name]) for name in together)
          size = host.group_size(program, num_rows, size)
          if wanted:
            label = f"{network} on {', '.join(name.replace('_', ' ') for name in wanted)}"
            own = {name: decoded[name] for name in wanted}
            call = _Call(own, rows, keys, label, num_entries, size)
            variables |= _train(program, stream, call, watch)
        for name in names:
          if name in cached_sets and name in missing:
            cache.keep(keys[name], _flat(variables[name]))
          entries = np.array([row.entry for row in rows[name]])
          trained = Models(predict[network], variables[name], entries, *recipe.at_once())
          models[name][network] = trained
          if config.feature_ridge is not None:
            models[name][network + feature_ridge.SUFFIX] = feature_ridge.fit(
              recipe.build(), predict_ridge[network], trained, decoded[name], config.feature_ridge
            )
    return models

  return fit


def fit_full(
  config: ConfigDict,
  real: RealData,
  rng: Array,
  *,
  use_flip: bool = True,
  is_trained: bool,
  devices: tuple[Device, ...] | None = None,
  watch: Watch = Watch(),
) -> dict[str, Models]:
  """Networks trained on the whole train set by the same protocol, from the cache where they are.

  The set lies on the devices as it is stored, and every batch is drawn there.

  Args:
    config: the group `accuracy_evaluation`; `full_epochs` and `full_seeds` are its own.
    real: the real set.
    rng: a key.
    use_flip: whether a mirrored image is still an image of its class.
    is_trained: whether networks that the cache lacks are trained.
    devices: of this host; None for all.
    watch: progress, stop request, folder.
  Returns:
    {network name: Models} of those that the cache had or that were trained.
  """
  config = config.copy_and_resolve_references()
  if config.full_epochs is not None:
    config.num_epochs = config.full_epochs
  made = recipes.of_config(config, real.info, use_flip)
  if config.get("full_steps") is not None:  # sets from disk may not know the field
    made = {
      name: recipe._replace(protocol=of_steps(recipe.protocol, config.full_steps))
      for name, recipe in made.items()
    }
  data = None
  models = {}
  for name, recipe in made.items():
    stream = jax.random.fold_in(rng, np.uint32(zlib.crc32(name.encode())))
    loss = protocols.find_loss("one_hot", recipe.protocol)
    rate = recipe.protocol.learning_rate or protocols.FALLBACK_RATE
    rows = [_Row("full", 0, seed, rate) for seed in range(config.full_seeds)]
    identity = [real.fingerprint, real.preprocessing.digest()]
    key = _key(recipe, loss, stream, identity, rows)
    arrays = cache.find(key)
    if arrays is None and not is_trained:
      continue
    if arrays is None:
      if data is None:
        data = make_data_split(real)
        labels = np.eye(real.info.num_classes, dtype=np.float32)[real.train_labels]
        data = train.Source(
          *map(jnp.asarray, (data.images[None], labels[None], data.mean, data.std))
        )
      program = recipes.compile_recipe(recipe, loss, real.info.num_train, devices)
      variables = host.fit_networks(
        program, stream, _as_rows(rows, {"full": 0}), data,
        key=key, label=f"{name} on the full set", watch=watch,
      )  # fmt: skip
      cache.keep(key, _flat(variables))
    else:
      variables = _nested(arrays)
    predict = make_predict(recipe.build(), real.preprocessing)
    models[name] = Models(predict, variables, np.zeros(len(rows), np.int32), *recipe.at_once())
  return models


def _calls(names: list[str], cached_sets: Iterable[str]) -> list[list[str]]:
  """Which sets train in one call: those that are made anew in every run, and each other alone.

  A set whose networks the cache may hold shares no call: where it is found there, the shapes of the
  others stay what they were, so a second start compiles nothing.
  """
  fresh = [name for name in names if name not in cached_sets]
  return [fresh] * bool(fresh) + [[name] for name in names if name in cached_sets]


class _Call(NamedTuple):
  """Sets whose networks train together.

  Attributes:
    sets: by name, decoded.
    rows: {name: networks}; of other sets too, as are the keys.
    keys: {name: what determines its networks}.
    label: for the progress line.
    num_entries: to which the source is filled up at least, so that calls on other sets have its
      shape.
    size: networks of each device at once.
  """

  sets: dict[str, DistilledSet]
  rows: Mapping[str, list[_Row]]
  keys: Mapping[str, str]
  label: str
  num_entries: int
  size: int


def _train(program: host.Program, stream: Array, call: _Call, watch: Watch) -> dict[str, Any]:
  """{set name: variables} of the rows of all these sets."""
  names, sets = list(call.sets), call.sets
  counts = [len(sets[name].images) for name in names]
  starts = dict(zip(names, np.cumsum([0] + counts)))
  filled = np.minimum(np.arange(max(call.num_entries, sum(counts))), sum(counts) - 1)
  source = train.as_source(
    np.concatenate([np.asarray(sets[name].images, np.float32) for name in names])[filled],
    np.concatenate([np.asarray(sets[name].labels, np.float32) for name in names])[filled],
  )
  chosen = [row for name in names for row in call.rows[name]]
  variables = host.fit_networks(
    program,
    stream,
    _as_rows(chosen, starts),
    source,
    key=_digest("fit", *(call.keys[name] for name in names)),
    label=call.label,
    watch=watch,
    size=call.size,
  )
  of_set = np.array([row.set_name for row in chosen])
  return {
    name: jax.tree.map(lambda leaf, mine=of_set == name: leaf[mine], variables) for name in names
  }


def _rows(name: str, distilled: DistilledSet, config: ConfigDict) -> list[_Row]:
  """The networks of a set: `num_seeds` for each entry, one where the entries are the seeds."""
  rate = protocols.find_protocol(config.protocol).learning_rate
  if config.learning_rate is not None:
    rate = config.learning_rate
  if rate is None:
    rate = distilled.info.get("learning_rate")  # one for all, or one for each entry
  if rate is None:
    rate = protocols.FALLBACK_RATE
  rates = np.broadcast_to(np.float32(rate), len(distilled.images))
  return [
    _Row(name, entry, seed, float(rates[entry]))
    for entry in range(len(distilled.images))
    for seed in range(config.random_subset_seeds if name == RANDOM_SUBSET else config.num_seeds)
  ]


def _as_rows(rows: list[_Row], starts: Mapping[str, int]) -> train.Rows:
  """Rows as arrays; `starts` says where the entries of each set begin in the source."""
  return train.Rows(
    seeds=np.array([[row.entry, row.seed] for row in rows], np.uint32),
    indices=np.array([starts[row.set_name] + row.entry for row in rows], np.int32),
    learning_rates=np.array([row.learning_rate for row in rows], np.float32),
  )


def _prepared(distilled: DistilledSet, protocol: protocols.Protocol) -> DistilledSet:
  """The set as it is trained on: hard labels where the protocol wants them, grids decoded."""
  if protocol.labels == "hard":
    labels = np.asarray(distilled.labels)
    labels = np.eye(labels.shape[-1], dtype=np.float32)[labels.argmax(-1)]
    distilled = distilled.replace(labels=labels)
  return decode_set(distilled)


def _content_key(
  recipe: recipes.Recipe, loss: str, stream: Array, distilled: DistilledSet, rows: list[_Row]
) -> str:
  """Determines the networks of a set, whatever the set is called."""
  content = [
    hashlib.sha256(bytes_of(np.asarray(array, np.float32))).hexdigest()
    for array in (distilled.images, distilled.labels)
  ]
  return _key(recipe, loss, stream, content, rows)


def _key(
  recipe: recipes.Recipe, loss: str, stream: Array, content: list[str], rows: list[_Row]
) -> str:
  numbers = [(row.entry, row.seed, row.learning_rate) for row in rows]
  key = jax.random.key_data(stream).tolist()
  return _digest("networks", _FORMAT, recipe, loss, key, content, numbers)


def _digest(kind: str, *parts: Any) -> str:
  """A file name that the parts determine."""
  text = json.dumps(parts, default=str)
  return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _flat(variables: Any) -> Any:
  """{path: array} of variables."""
  return traverse_util.flatten_dict(variables, sep="/")


def _nested(arrays: Mapping[str, np.ndarray]) -> Any:
  """Variables again from what `flatten_dict` made of them."""
  return traverse_util.unflatten_dict(dict(arrays), sep="/")


def make_predict(network: nn.Module, preprocessing: Any) -> Callable[[Any, Array], Array]:
  """(variables of one network, pixels f32[b h w c] in [0, 1]) -> logits f32[b k]."""
  return lambda variables, pixels: logits_of(network, variables, preprocessing.forward(pixels))


def _alike(
  sets: Mapping[str, DistilledSet], info: DatasetInfo, protocol: protocols.Protocol
) -> dict[tuple[int, str], list[str]]:
  """Checks every set; {(n, loss): names of the sets that train together}."""
  groups: dict[tuple[int, str], list[str]] = {}
  for name, distilled in sets.items():
    images, labels = np.shape(distilled.images), np.shape(distilled.labels)
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
    loss = protocols.find_loss(distilled.info.get("label_kind"), protocol)
    factor = distilled.info.get("decode_factor") or 1
    groups.setdefault((images[1] * factor**2, loss), []).append(name)
  return groups
