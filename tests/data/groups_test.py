"""Groups of a user's own images, from the file to the devices."""

import numpy as np
import pytest

from ddjax.config import groups as config_groups
from ddjax.data.load import load_real_data, make_data_split
from ddjax.data.own import read_npz
from ddjax.data.pool import make_pool
from ddjax.data.source import DataError, Source

IMAGES = np.random.RandomState(0).randint(0, 256, (40, 4, 4, 1)).astype(np.uint8)
LABELS = np.arange(40) % 2
GROUPS = np.arange(40) // 2 % 4


def write(tmp_path, **arrays):
  path = tmp_path / "own.npz"
  np.savez(path, **({"images": IMAGES, "labels": LABELS, "groups": GROUPS} | arrays))
  return str(path)


def load(tmp_path, arrays=None, **fields):
  config = config_groups.data("npz")
  config.update(dict(path=write(tmp_path, **(arrays or {}))) | fields)
  return load_real_data(config), config


def test_groups_stay_with_their_images_through_every_cut(tmp_path):
  real, _ = load(tmp_path, validation_fraction=0.25, max_train_examples=20)
  of_image = {image.tobytes(): group for image, group in zip(IMAGES, GROUPS)}
  for images, groups in (
    (real.train_images, real.train_groups),
    (real.validation_images, real.validation_groups),
    (real.test_images, real.test_groups),
  ):
    assert len(images) == len(groups) > 0
    assert [of_image[image.tobytes()] for image in images] == groups.tolist()
  assert not real.is_coloured


def test_classes_that_are_left_out_take_their_groups_along(tmp_path):
  labels = np.arange(40) % 4
  real, _ = load(tmp_path, {"labels": labels, "groups": labels % 3}, num_classes=3)
  np.testing.assert_array_equal(real.train_groups, real.train_labels)


def test_counts_by_class_and_group_are_known_while_a_method_is_traced(tmp_path):
  real, _ = load(tmp_path)
  counts = np.array(real.info.group_counts)
  assert counts.shape == (2, 4) and counts.sum() == real.info.num_train == 32
  for label in range(2):
    for group in range(4):
      is_it = (real.train_labels == label) & (real.train_groups == group)
      assert counts[label, group] == is_it.sum()
  np.testing.assert_array_equal(make_data_split(real).groups, real.train_groups)


def test_a_pool_has_the_groups_of_all_its_images(tmp_path):
  real, config = load(tmp_path, validation_fraction=0.25)
  pool = make_pool(real, config, max_examples=30)
  of_image = {image.tobytes(): group for image, group in zip(IMAGES, GROUPS)}
  found = [of_image[image.tobytes()] for image in pool.train_images]
  assert found == pool.train_groups.tolist() and len(found) == 30
  assert np.sum(pool.info.group_counts) == 30
  without = make_pool(real._replace(test_groups=None), config)
  assert without.train_groups is None and without.info.group_counts == ()


def test_groups_may_be_names_and_of_the_train_part_alone(tmp_path):
  names = np.array(["old", "young"])[GROUPS % 2]
  test = dict(test_images=IMAGES[:4], test_labels=LABELS[:4])
  source = read_npz(write(tmp_path, groups=names, **test))
  np.testing.assert_array_equal(source.train_groups, GROUPS % 2)
  assert source.test_groups is None
  source = read_npz(write(tmp_path, groups=names, test_groups=names[:4], **test))
  np.testing.assert_array_equal(source.test_groups, GROUPS[:4] % 2)


def test_a_source_without_groups_is_cached_without_them():
  source = Source(IMAGES, LABELS, IMAGES[:0], LABELS[:0], ("a", "b"), "1")
  assert "train_groups" not in source.to_arrays()
  again = Source.from_arrays(source.to_arrays())
  assert again.train_groups is None and again.class_names == ("a", "b")
  with_groups = Source.from_arrays(source._replace(train_groups=GROUPS).to_arrays())
  np.testing.assert_array_equal(with_groups.train_groups, GROUPS)


@pytest.mark.parametrize(
  "arrays,message",
  [
    (dict(groups=GROUPS[:30]), "groups is .*30.*, not a label for each of the 40 images"),
    (dict(groups=np.where(GROUPS == 2, 3, GROUPS)), "groups run to 3, but 2 has no train example"),
    (dict(groups=GROUPS - 1), r"groups\[0\] = -1 is negative"),
    (dict(groups=GROUPS + 0.5), "groups is float64, not an integer"),
    (dict(groups=0 * GROUPS), "all images are of one group; at least 2 are needed"),
    (dict(test_groups=GROUPS), "has test_groups, but no test images"),
    (
      dict(test_images=IMAGES, test_labels=LABELS, test_groups=GROUPS.astype(str)),
      "one of groups and test_groups holds names, the other numbers",
    ),
    (
      dict(test_images=IMAGES, test_labels=LABELS, test_groups=GROUPS + 1),
      "groups run to 4, but 4 has no train example",
    ),
  ],
)
def test_impossible_groups_are_named(tmp_path, arrays, message):
  with pytest.raises(DataError, match=message):
    read_npz(write(tmp_path, **arrays))


def test_colours_and_groups_of_a_file_exclude_each_other(tmp_path):
  with pytest.raises(
    ValueError, match="colour_bias = 0.9 gives images groups of its own, and .*np"
  ):
    load(tmp_path, colour_bias=0.9)
