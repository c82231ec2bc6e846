"""The real set of a run: read, cut, fingerprinted, with its preprocessing fitted.

Everything here is NumPy on the host; `make_data_split` shapes what goes to the devices.
"""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging
import jax
from ml_collections import ConfigDict
import numpy as np

from ddjax.data import colour, fake, folders, own, pack, released, tfds_source
from ddjax.data.cache import cached, folder_stamp, has
from ddjax.data.facts import get_facts
from ddjax.data.preprocess import Preprocessing, as_pixels, fit_preprocessing
from ddjax.data.source import DataError, Source
from ddjax.data.splits import rows_by_class, stratified_rows, without_rows
from ddjax.files.plain_arrays import bytes_of
from ddjax.types import DatasetInfo, DataSplit

_NUM_DIGITS_TEST = 450
_ROWS_PER_BLOCK = 4096
_OF_OWN_DATA = {"image_size": ("folder",), "channels": ("npz",), "max_value": ("npz", "folder")}


class RealData(NamedTuple):
  """A real set after all cuts, on the host.

  Attributes:
    info: name, image shape, classes, and the number of train examples.
    class_names: one for each class.
    max_value: pixel = stored value / max_value.
    fingerprint: sha256 of the train images' bytes, then of their labels' (i32, little-endian).
    version: the publisher's, or "own".
    train_images: u8[N h w c].
    train_labels: i32[N].
    validation_images: u8[v h w c], v = 0 where nothing is held out.
    validation_labels: i32[v].
    test_images: u8[M h w c].
    test_labels: i32[M].
    preprocessing: fitted on the train images, whatever mask a split carries.
    train_groups: i32[N], the colour of each image where `colour_bias` gave them one, or the groups
      of a user's own file; else None.
    validation_groups: i32[v], likewise.
    test_groups: i32[M], likewise.
    is_coloured: whether groups are colours, each of the class of its number.
  """

  info: DatasetInfo
  class_names: tuple[str, ...]
  max_value: int
  fingerprint: str
  version: str
  train_images: np.ndarray
  train_labels: np.ndarray
  validation_images: np.ndarray
  validation_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  preprocessing: Preprocessing
  train_groups: np.ndarray | None = None
  validation_groups: np.ndarray | None = None
  test_groups: np.ndarray | None = None
  is_coloured: bool = False


def load_real_data(config: ConfigDict) -> RealData:
  """Reads the set that `config` names, cuts it, and fits its preprocessing.

  Cuts, in this order: the first `num_classes` classes; a stratified `validation_fraction` of train;
  a stratified cap of `max_train_examples` on what is left. With `colour_bias`, grey images become
  coloured ones after the first cut; the validation split is as biased as train is.

  Args:
    config: the group `ddjax.config.groups.data`.
  Returns:
    the RealData.
  Raises:
    DataError: if the set cannot be read.
    ValueError: if a cut or the preprocessing is impossible, naming the field and its value.
  """
  facts = get_facts(config.name)
  source = _first_classes(read_source(config), config.num_classes)
  groups, test_groups = source.train_groups, source.test_groups
  is_coloured = config.colour_bias is not None
  if is_coloured:
    if groups is not None or test_groups is not None:
      raise ValueError(
        f"colour_bias = {config.colour_bias} gives images groups of its own, and {config.path} has "
        "groups already: leave one of them out."
      )
    source, groups, test_groups = colour.colour_source(
      source, config.colour_bias, config.split_seed, facts.max_value
    )
  images, labels = source.train_images, source.train_labels
  num_classes = len(source.class_names)

  fraction = config.validation_fraction
  if not 0 <= fraction < 1:
    raise ValueError(f"validation_fraction = {fraction} must lie in [0, 1).")
  held_out = stratified_rows(labels, round(fraction * len(labels)), (config.split_seed, 0))
  validation_images, validation_labels = images[held_out], labels[held_out]
  validation_groups = _rows(groups, held_out)
  if len(held_out):
    kept = without_rows(len(labels), held_out)
    images, labels, groups = images[kept], labels[kept], _rows(groups, kept)

  cap = config.max_train_examples
  if cap is not None and cap < num_classes:
    raise ValueError(f"max_train_examples = {cap} is less than one for each of {num_classes}.")
  if cap is not None and cap < len(labels):
    kept = stratified_rows(labels, cap, (config.split_seed, 1))
    images, labels, groups = images[kept], labels[kept], _rows(groups, kept)

  digest = fingerprint(images, labels)
  return RealData(
    info=DatasetInfo(
      config.name,
      images.shape[1:],
      num_classes,
      len(images),
      facts.max_value,
      count_groups(labels, groups, num_classes),
    ),
    class_names=source.class_names,
    max_value=facts.max_value,
    fingerprint=digest,
    version=source.version,
    train_images=images,
    train_labels=labels,
    validation_images=validation_images,
    validation_labels=validation_labels,
    test_images=source.test_images,
    test_labels=source.test_labels,
    preprocessing=fit_preprocessing(
      config.preprocessing,
      images,
      facts.max_value,
      config.zca_regularisation,
      facts.published if not is_coloured else None,
      digest,
    ),
    train_groups=groups,
    validation_groups=validation_groups,
    test_groups=test_groups,
    is_coloured=is_coloured,
  )


def count_groups(
  labels: np.ndarray, groups: np.ndarray | None, num_classes: int
) -> tuple[tuple[int, ...], ...]:
  """How many examples each class [k] has of each group [g]; () without groups."""
  if groups is None:
    return ()
  counts = np.zeros((num_classes, int(groups.max()) + 1), int)
  np.add.at(counts, (labels, groups), 1)
  return tuple(map(tuple, counts.tolist()))


def make_data_split(
  real: RealData,
  mask: np.ndarray | None = None,
  start: np.ndarray | None = None,
  with_pixels: bool = False,
) -> DataSplit:
  """What the devices hold of a real set, as NumPy arrays ready to be placed.

  Without whitening, images stay uint8 and carry a mean and a std in stored units; whitened images
  are float32, computed once and kept in the cache folder.

  Args:
    real: the real set.
    mask: bool[N], or bool[r N] where replicas differ: the members. All by default.
    start: synthetic images to begin with, as a saved set has them.
    with_pixels: whether a whitened set carries its images before the whitening, too.
  Returns:
    the DataSplit, NumPy leaves.
  Raises:
    ValueError: if the mask does not fit, or a class has no example.
  """
  num_train, num_channels = real.info.num_train, real.info.image_shape[-1]
  mask = np.ones(num_train, bool) if mask is None else np.asarray(mask)
  if mask.dtype != bool or mask.ndim not in (1, 2) or mask.shape[-1] != num_train:
    raise ValueError(f"mask is {mask.dtype}{list(mask.shape)}, not bool for {num_train} examples.")
  class_index, class_counts = rows_by_class(real.train_labels, real.info.num_classes)
  images, preprocessing = real.train_images, real.preprocessing
  with_pixels &= preprocessing.is_whitening
  mean, std = np.zeros(num_channels, np.float32), np.ones(num_channels, np.float32)
  if preprocessing.is_whitening:
    key = f"whitened-{preprocessing.kind}-{preprocessing.regularisation}-{real.fingerprint}"
    images = cached(key, lambda: {"images": _whiten(real)})["images"]
  elif preprocessing.mean is None or preprocessing.std is None:
    std = std * np.float32(real.max_value)
  else:
    mean, std = (x * np.float32(real.max_value) for x in (preprocessing.mean, preprocessing.std))
  leaves: dict[str, Any] = dict(
    images=images,
    labels=real.train_labels,
    mask=mask,
    class_index=class_index,
    class_counts=class_counts,
    mean=mean,
    std=std,
    start=start,
    groups=real.train_groups,
    **(dict(pixels=real.train_images, whitening=preprocessing) if with_pixels else {}),
  )
  return DataSplit(**leaves)  # which says arrays of JAX: there they go


def read_source(config: ConfigDict, use_packed: bool = True) -> Source:
  """The set as published: packed, or from the cache where it has been decoded before.

  Args:
    config: the group `ddjax.config.groups.data`. A packed file in its `data_dir` comes before what
      TFDS has there.
    use_packed: False reads it from where packed files are made of.
  Returns:
    the Source, before any cut; arrays may be read-only.
  Raises:
    DataError: if it cannot be read.
  """
  name, facts = config.name, get_facts(config.name)
  for field, of in _OF_OWN_DATA.items():
    if config.get(field) is not None and name not in of:
      raise DataError(
        f"data.{field}={config[field]!r} is of data.name={' or '.join(of)}, not of {name}."
      )
  data_dir = tfds_source.tfds_dir(config.data_dir)
  packed = pack.packed_path(data_dir, name)
  if use_packed and facts.image_shape and packed.exists():
    return pack.read(packed, name, facts)
  if facts.tfds_name:
    folder = tfds_source.find_prepared(facts, data_dir)
    if folder is None:
      folder = tfds_source.prepare(name, facts, data_dir, config.download)
    source = _decoded(_tfds_key(name, folder), lambda: tfds_source.read_prepared(name, folder))
    if source.train_images.shape[1:] != facts.image_shape:
      raise DataError(
        f"{folder} holds images {source.train_images.shape[1:]}, but the row {name!r} of "
        f"ddjax.data.facts says {facts.image_shape}."
      )
    return source
  if facts.folder:
    folder = Path(config.path or Path(data_dir) / facts.folder).expanduser()
    key = f"{name}-{folder_stamp(folder)}" if folder.is_dir() else name
    return _decoded(key, lambda: released.read_released(name, facts, folder))
  if name == "digits":
    return _decoded(f"digits-{metadata.version('scikit-learn')}", _read_digits)
  if name == "fake":
    assert facts.image_shape is not None and facts.num_classes is not None
    return fake.make_fake(facts.image_shape, facts.num_classes)
  if not config.path:
    raise DataError(f"config.data.name = {name!r} needs config.data.path.")
  if name == "npz":
    source = own.read_npz(config.path, config.channels, config.max_value)
  else:
    side = config.image_size
    if side is not None and side < 1:
      raise DataError(f"data.image_size={side} must be at least 1.")
    white = config.max_value
    key = f"folder-{folder_stamp(Path(config.path).expanduser())}-{side or 'as it is'}"
    key += "" if white is None else f"-{white}"
    source = _decoded(key, lambda: folders.read_folder(config.path, side, white))
  own.check_told_apart(config.path, source)
  return own.with_test_part(source, config.split_seed)


def is_at_hand(config: ConfigDict) -> bool:
  """Whether a set can be read without a download or minutes of decoding."""
  facts = get_facts(config.name)
  data_dir = tfds_source.tfds_dir(config.data_dir)
  if not facts.tfds_name or pack.packed_path(data_dir, config.name).exists():
    return not facts.folder
  folder = tfds_source.find_prepared(facts, data_dir)
  return folder is not None and has(_tfds_key(config.name, folder))


def _tfds_key(name: str, folder: Path) -> str:
  """Of a set that TFDS has prepared, in the cache."""
  return f"{name}-{folder.name}-{folder_stamp(folder)}"


def _decoded(key: str, read) -> Source:
  """`read()`, by way of the cache."""

  def make():
    logging.info("Decoding %s for the first time.", key)
    return read().to_arrays()

  return Source.from_arrays(cached(key, make))


def _read_digits() -> Source:
  """scikit-learn's 1797 handwritten digits, values 0 to 16, in a fixed stratified split."""
  from sklearn.datasets import load_digits

  bunch: Any = load_digits()
  images, labels = bunch.images[..., None].astype(np.uint8), bunch.target.astype(np.int32)
  test = stratified_rows(labels, _NUM_DIGITS_TEST, 0)
  train = without_rows(len(labels), test)
  return Source(
    train_images=images[train],
    train_labels=labels[train],
    test_images=images[test],
    test_labels=labels[test],
    class_names=tuple(map(str, range(10))),
    version=metadata.version("scikit-learn"),
  )


def _first_classes(source: Source, num_classes: int | None) -> Source:
  """Only the examples of the first classes."""
  available = len(source.class_names)
  if num_classes is None or num_classes == available:
    return source
  if not 2 <= num_classes <= available:
    raise ValueError(f"num_classes = {num_classes} must lie between 2 and {available}.")
  train, test = source.train_labels < num_classes, source.test_labels < num_classes
  return source._replace(
    train_images=source.train_images[train],
    train_labels=source.train_labels[train],
    test_images=source.test_images[test],
    test_labels=source.test_labels[test],
    class_names=source.class_names[:num_classes],
    train_groups=None if source.train_groups is None else source.train_groups[train],
    test_groups=None if source.test_groups is None else source.test_groups[test],
  )


def _rows(array: np.ndarray | None, kept: np.ndarray) -> np.ndarray | None:
  """The rows that are kept; None stays None."""
  return None if array is None else array[kept]


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
  """sha256 of the images' bytes, then the labels'."""
  digest = hashlib.sha256(bytes_of(images))
  digest.update(bytes_of(labels.astype("<i4")))
  return digest.hexdigest()


def _whiten(real: RealData) -> np.ndarray:
  """f32[N h w c] in network space, block by block."""
  forward = jax.jit(lambda preprocessing, pixels: preprocessing.forward(pixels))
  whitened = np.empty(real.train_images.shape, np.float32)
  for start in range(0, len(whitened), _ROWS_PER_BLOCK):
    rows = slice(start, start + _ROWS_PER_BLOCK)
    pixels = as_pixels(real.train_images[rows], real.max_value)
    whitened[rows] = forward(real.preprocessing, pixels)
  return whitened
