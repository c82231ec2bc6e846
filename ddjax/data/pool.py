"""All labelled images of a real set as one pool, of which splits take their members."""

from ml_collections import ConfigDict
import numpy as np

from ddjax.data.facts import get_facts
from ddjax.data.load import RealData, count_groups, fingerprint
from ddjax.data.preprocess import fit_preprocessing
from ddjax.data.splits import stratified_rows


def make_pool(real: RealData, config: ConfigDict, max_examples: int = 0) -> RealData:
  """Train, validation and test images together as the train images of a set.

  Splits of a pool have members and non-members of one distribution, and as many of both as there
  can be. The preprocessing is fitted anew on the whole pool, once for all splits.

  Args:
    real: the real set.
    config: the group `data`, for the preprocessing.
    max_examples: a stratified cap; 0 for none.
  Returns:
    the pool; its test images are those of `real`, which are in the pool too.
  """
  images = np.concatenate([real.train_images, real.validation_images, real.test_images])
  labels = np.concatenate([real.train_labels, real.validation_labels, real.test_labels])
  of_splits = real.train_groups, real.validation_groups, real.test_groups
  parts = [part for part in of_splits if part is not None]
  groups = np.concatenate(parts) if len(parts) == len(of_splits) else None
  if max_examples and max_examples < len(labels):
    kept = stratified_rows(labels, max_examples, (config.split_seed, 2))
    images, labels = images[kept], labels[kept]
    groups = None if groups is None else groups[kept]
  facts = get_facts(real.info.name)
  digest = fingerprint(images, labels)
  return real._replace(
    info=real.info._replace(
      num_train=len(labels), group_counts=count_groups(labels, groups, real.info.num_classes)
    ),
    fingerprint=digest,
    train_images=images,
    train_labels=labels,
    validation_images=images[:0],
    validation_labels=labels[:0],
    train_groups=groups,
    validation_groups=None if groups is None else groups[:0],
    test_groups=None,
    preprocessing=fit_preprocessing(
      config.preprocessing,
      images,
      real.max_value,
      config.zca_regularisation,
      facts.published if not real.is_coloured else None,
      digest,
    ),
  )
