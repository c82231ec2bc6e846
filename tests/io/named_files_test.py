"""Flat folders of PNGs: the class told by one rule, or refused with both readings."""

import numpy as np
from PIL import Image
import pytest

from ddjax.config import groups
from ddjax.data.load import load_real_data
from ddjax.io.foreign.convert import as_distilled
from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import read_foreign


def _write(folder, names):
  """A PNG of each name, whose pixels are its place in the list."""
  folder.mkdir(exist_ok=True)
  for index, name in enumerate(names):
    Image.fromarray(np.full((4, 4), index, np.uint8)).save(folder / f"{name}.png")
  return folder


def _read(folder, names):
  """The set, its labels in the order of `names`."""
  one = read_foreign(_write(folder, names))
  places = np.round(one.images[:, 0, 0, 0] * 255).astype(int)
  assert sorted(places) == list(range(len(names)))
  labels = np.empty(len(names), int)
  labels[places] = one.labels.argmax(axis=1)
  return one, labels.tolist()


@pytest.mark.parametrize(
  ("names", "labels", "class_names", "rule"),
  [
    ("1_0 0_0 1_1 0_1", [1, 0, 1, 0], "0 1", "number before its first"),
    ("1-a7b 0-b7c 1-c7d 00-d7e", [1, 0, 1, 0], "0 1", "number before its first"),
    ("0_cat_0003 1_big_dog_0001 0_cat_0004", [0, 1, 0], "0_cat 1_big_dog", "number before"),
    ("class0_12 class1_12 class1_13", [0, 1, 1], "0 1", "number after 'class'"),
    ("label_1-idx_1 label_0-idx_1", [1, 0], "0 1", "number after 'class'"),
    ("0003_label_1 0004_label_0 0005_label_0", [1, 0, 0], "0 1", "number after 'class'"),
    ("img_7_Cls-1 img_7_cls-0", [1, 0], "0 1", "number after 'class'"),
    ("c0_y c1_y c2_y", [0, 1, 2], "0 1 2", "number after 'class'"),
    ("ship_001 air-plane_002 ship_003", [1, 0, 1], "air-plane ship", "letters of its name"),
    ("003_ship 004_plane 005_ship", [1, 0, 1], "plane ship", "letters of its name"),
    ("0_ship 1_plane 2_cat", [2, 1, 0], "cat plane ship", "letters of its name"),
    ("3_ship_0 3_plane_1 4_ship_2", [1, 0, 1], "plane ship", "letters of its name"),
  ],
)
def test_the_class_is_told_by_one_rule(tmp_path, names, labels, class_names, rule):
  one, found = _read(tmp_path / "set", names.split())
  assert found == labels
  assert one.class_names == tuple(class_names.split())
  assert one.layout == "png_flat" and one.space == "pixels" and one.label_kind == "one_hot"
  assert rule in one.remarks[0] and one.remarks[0].endswith(".")


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ("0_ship_0 0_plane_1 1_ship_2", r"number before .*\(2 classes\), or the letters .*\(2 cla"),
    ("a_label_0 b_label_0 a_label_1", r"number after .*, or the letters .*differ at a_label_1"),
    ("0-y1-0 0-y1-1 1-y0-0 1-y1-1", r"number after .*, or the number before .*differ at 1-y1-1"),
    ("1_0 1_1 2_0", "number before .*run to 2, but no file has 0"),
    ("0_0 0_1 2_0", "number before .*run to 2, but no file has 1"),
    ("0_0 0_1", "number before .*all are 0"),
    ("0_0 1_0 2_0", "no two files share one, so it may only count them"),
    ("0 1 2", "number before .*0 has none"),
    ("img_1 img_2", "letters of its name: all are 'img'"),
    ("label_0-y_1 label_1-y_0", "number after .*label_0-y_1 has 2"),
    ("0_a_0 1_b_0 plot", "number before .*plot has none"),
    ("0_a_0 1_b_0 plot", "letters of its name: plot has its numbers elsewhere"),
    ("label_0 label_99999999999", "label_99999999999 has none"),
    ("a_1_2 b_1_2", "letters of its name: a_1_2 has other signs"),
  ],
)
def test_what_names_do_not_tell_is_refused(tmp_path, names, message):
  with pytest.raises(ValueError, match=message) as error:
    read_foreign(_write(tmp_path / "set", names.split()))
  assert str(error.value).startswith(str(tmp_path / "set"))
  assert "CLASS/*.png" in str(error.value)


def test_files_lie_by_class_then_by_number(tmp_path):
  names = ["1_10", "1_9", "0_10", "0_9"]
  one = read_foreign(_write(tmp_path / "set", names))
  places = np.round(one.images[:, 0, 0, 0] * 255).astype(int)
  assert [names[place] for place in places] == ["0_9", "0_10", "1_9", "1_10"]
  first = read_foreign(tmp_path / "set", ForeignOptions(ipc=1))
  np.testing.assert_array_equal(first.images, one.images[[0, 2]])


def test_ten_classes_keep_the_order_of_numbers(tmp_path):
  _, labels = _read(tmp_path / "set", [f"{i % 12}_{i}" for i in range(24)])
  assert labels == [i % 12 for i in range(24)]


def test_other_files_and_hidden_ones_are_left_out(tmp_path):
  folder = _write(tmp_path / "set", ["0_0", "0_1", "1_0"])
  (folder / "README.md").write_text("of these images")
  (folder / "._0_0.png").write_bytes(b"of a Mac")
  assert len(read_foreign(folder).images) == 3


def test_files_that_are_no_pngs_are_named(tmp_path):
  folder = _write(tmp_path / "set", ["0_0", "0_1", "1_0"])
  Image.fromarray(np.zeros((4, 8), np.uint8)).save(folder / "1_1.png")
  with pytest.raises(ValueError, match=r"several sizes: \[\(4, 4\), \(4, 8\)\]"):
    read_foreign(folder)
  Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "1_1.png", "GIF")
  with pytest.raises(ValueError, match="1_1.png is no readable PNG or JPEG"):
    read_foreign(folder)
  with pytest.raises(ValueError, match="needs a folder of pictures, not a file"):
    read_foreign(folder / "0_0.png", ForeignOptions(layout="png_flat"))
  with pytest.raises(ValueError, match="needs PNGs or JPEGs in the folder; found 0"):
    read_foreign(tmp_path, ForeignOptions(layout="png_flat"))


@pytest.mark.parametrize("ending", ["jpg", "JPEG"])
def test_jpegs_are_read_as_pngs_are(tmp_path, ending):
  flat, nested = tmp_path / "flat", tmp_path / "nested"
  for label, name in enumerate(("cat", "dog")):
    (nested / name).mkdir(parents=True)
    flat.mkdir(exist_ok=True)
    picture = Image.fromarray(np.full((8, 8, 3), 100 + 50 * label, np.uint8))
    picture.save(flat / f"{name}_0.{ending}", "JPEG", quality=100)
    picture.save(nested / name / f"0.{ending}", "JPEG", quality=100)
  for folder in (flat, nested):
    one = read_foreign(folder)
    assert one.images.shape == (2, 8, 8, 3) and one.class_names == ("cat", "dog")
    np.testing.assert_allclose(255 * one.images[:, 0, 0, 0], [100, 150], atol=2)


def test_classes_by_letters_take_the_order_of_the_real_set(tmp_path):
  """In alphabetical order cat is 0; of the real set it is 1."""
  fake = load_real_data(groups.data("fake"))
  names = ("ship", "cat", *(f"z{'abcdefgh'[i]}" for i in range(fake.info.num_classes - 2)))
  real = fake._replace(class_names=names)
  height, width, channels = fake.info.image_shape
  for index, name in enumerate(names):
    image = np.full((height, width, channels), index, np.uint8)
    (tmp_path / "set").mkdir(exist_ok=True)
    Image.fromarray(image.squeeze()).save(tmp_path / "set" / f"{9 - index}_{name}.png")
  one = as_distilled(read_foreign(tmp_path / "set"), real, "none")
  places = np.round(one.images[:, 0, 0, 0] * 255).astype(int)
  np.testing.assert_array_equal(one.labels.argmax(axis=1), places)
  with pytest.raises(ValueError, match="The set's classes are cat, ship"):
    as_distilled(read_foreign(tmp_path / "set"), fake, "none")
