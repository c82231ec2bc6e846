import numpy as np
from PIL import Image
import pytest

from ddjax.data.folders import read_folder
from ddjax.data.own import check_told_apart, read_npz, with_test_part
from ddjax.data.source import DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 5, 4, 3)).astype(np.uint8)
LABELS = np.arange(20) % 2


def write(tmp_path, **arrays):
  path = tmp_path / "own.npz"
  np.savez(path, **({"images": IMAGES, "labels": LABELS} | arrays))
  return str(path)


def test_npz_with_its_own_test_part(tmp_path):
  path = write(tmp_path, test_images=IMAGES[:4], test_labels=LABELS[:4], class_names=["a", "b"])
  source = with_test_part(read_npz(path), 0)
  np.testing.assert_array_equal(source.train_images, IMAGES)
  np.testing.assert_array_equal(source.test_labels, LABELS[:4])
  assert source.class_names == ("a", "b") and source.train_labels.dtype == np.int32


def test_missing_test_part_is_a_stratified_fifth(tmp_path):
  source = with_test_part(read_npz(write(tmp_path)), 0)
  np.testing.assert_array_equal(np.bincount(source.test_labels), [2, 2])
  both = np.concatenate([source.train_images, source.test_images])
  assert {image.tobytes() for image in both} == {image.tobytes() for image in IMAGES}
  other = with_test_part(read_npz(write(tmp_path)), 1)
  assert not np.array_equal(source.test_images, other.test_images)


def test_float_and_grey_images(tmp_path):
  source = read_npz(write(tmp_path, images=(IMAGES[..., 0] / 255).astype(np.float32)))
  np.testing.assert_array_equal(source.train_images, IMAGES[..., :1])


def spoiled(index, value):
  images = IMAGES / 255
  images[index, 1, 2, 0] = value
  return images


@pytest.mark.parametrize(
  "arrays, message",
  [
    (dict(images=spoiled(7, np.nan)), r"images\[7\] holds nan, which is not finite"),
    (dict(images=spoiled(3, np.inf)), r"images\[3\] holds inf"),
    (dict(images=spoiled(5, 1.5)), r"images\[5\] holds 1.5, which lies outside \[0, 1\]"),
    (
      dict(images=IMAGES.astype(np.int64) + 1),
      r"holds 256, which lies outside \[0, 255\]",
    ),
    (dict(images=IMAGES.astype(np.int64) - 1), r"holds -1, which lies outside \[0, 255\]"),
    (dict(images=IMAGES.astype("c8")), "complex64, neither whole numbers nor float"),
    (
      dict(images=np.zeros((20, 5, 4, 2), np.uint8)),
      "2 channels; 1 .grey. or 3 .colour.",
    ),
    (
      dict(images=np.zeros((20, 8, 8, 4), np.uint8)),
      r"4 channels.*save images\[\.\.\., :3\]",
    ),
    (
      dict(images=np.zeros((20, 3, 32, 3), np.uint8)),
      "3 x 32 px with 3 channels .data.channels=last., or of 32 x 3 px with 3",
    ),
    (dict(labels=np.zeros(20, int)), "all 20 examples are of one class"),
    (dict(labels=np.eye(2)[LABELS] * 0.9), r"labels\[0\] = \[0.9 0. \] is no one-hot row"),
    (dict(images=IMAGES[0, 0]), r"shape \(4, 3\)"),
    (
      dict(images=np.array([None] * 20)),
      r"images is an array of Python objects.*never loaded. Save numpy.stack",
    ),
    (dict(labels=LABELS.astype(object)), r"Save labels.astype\(str\)"),
    (dict(class_names=np.array(["a", "b"], object)), r"Save class_names.astype\(str\)"),
    (dict(labels=LABELS * 2**40), r"labels\[1\] = 1099511627776 is too large"),
    (dict(labels=LABELS * 1e300), r"labels\[1\] = 1e\+300 is too large"),
    (dict(labels=LABELS * (2**31 - 1)), "labels run to 2147483647, but 1 has no example"),
    (dict(labels=np.eye(3)[LABELS]), "labels run to 2, but 2 has no example"),
    (
      dict(labels=np.eye(3)[LABELS], class_names=["a", "b", "c"]),
      r"labels run to 2, but 2 \('c'\) has no example",
    ),
    (
      dict(labels=np.array(["a", "b"])[LABELS], class_names=["a", "b", "c"]),
      r"labels run to 2, but 2 \('c'\) has no example",
    ),
    (
      dict(test_images=IMAGES, test_labels=np.eye(3)[LABELS]),
      "test_labels are of 3 classes, labels of 2",
    ),
    (dict(class_names=["a", "a"]), "class_names has 'a' 2 times"),
    (dict(class_names="a"), "class_names is <U1.., no list of names"),
    (
      dict(test_images=IMAGES, test_labels=np.array(["a", "b"])[LABELS]),
      "labels are numbers and test_labels names of classes. An array class_names",
    ),
    (
      dict(labels=np.array(["a", "b"])[LABELS], test_images=IMAGES, test_labels=LABELS),
      "labels are names and test_labels numbers of classes. An array class_names",
    ),
    (
      dict(images=IMAGES.astype(np.uint16)),
      r"uint16, and its greatest value is 25\d. White is 255 \(data.max_value=255\), or it is 65",
    ),
    (
      dict(images=(IMAGES > 127).astype(np.int64)),
      r"int64, and its greatest value is 1. White is 1 \(data.max_value=1\), or it is 255 and",
    ),
    (dict(images=IMAGES // 128), r"uint8, and its greatest value is 1. White is 1 "),
    (dict(images=IMAGES.astype(np.uint16) * 16), "greatest value is 40\\d+. White is 4095 "),
    (dict(images=IMAGES / 255**2), r"float64.* White is 0.00392\d .*, or it is 1 and all"),
    (dict(images=IMAGES * 1.0), r"outside \[0, 1\]; data.max_value names another"),
    (dict(images=np.full((20, 4, 4), 7, "f4")), r"outside \[0, 1\]"),
    (dict(labels=LABELS - 1), r"labels\[0\] = -1 is negative"),
    (dict(labels=LABELS * 2), "labels run to 2, but 1 has no example"),
    (dict(labels=LABELS[:9]), "not a label for each of the 20 images"),
    (dict(labels=LABELS / 2), "float64"),
    (dict(class_names=["a"]), "1 class_names for 2 classes"),
    (dict(test_images=IMAGES), "only one of test_images and test_labels"),
    (dict(test_images=IMAGES[:, 1:], test_labels=LABELS), r"\(4, 4, 3\)"),
    (dict(test_images=IMAGES, test_labels=LABELS + 1), "test label 2"),
  ],
)
def test_bad_npz_names_the_value(tmp_path, arrays, message):
  path = write(tmp_path, **arrays)
  with pytest.raises(DataError, match=message) as error:
    read_npz(path)
  assert path in str(error.value)


def test_missing_or_damaged_npz(tmp_path):
  with pytest.raises(DataError, match="no file .*absent.npz"):
    read_npz(str(tmp_path / "absent.npz"))
  np.savez(tmp_path / "odd.npz", x=LABELS)
  with pytest.raises(DataError, match="no array 'images'; it holds x"):
    read_npz(str(tmp_path / "odd.npz"))
  path = write(tmp_path)
  content = (tmp_path / "own.npz").read_bytes()
  for damaged in (content[:100], content[:200] + b"?" + content[201:]):
    (tmp_path / "own.npz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"own\.npz"):
      read_npz(path)


def save(path, image):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(path)


def test_folder_with_train_and_test(tmp_path):
  for part, count in (("train", 3), ("test", 2)):
    for label, name in enumerate(["cat", "dog"]):
      for i in range(count):
        save(tmp_path / part / name / f"{i}.png", IMAGES[10 * label + i + 5 * (part == "test")])
  (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
  source = read_folder(str(tmp_path))
  assert source.class_names == ("cat", "dog")
  np.testing.assert_array_equal(source.train_images, IMAGES[[0, 1, 2, 10, 11, 12]])
  np.testing.assert_array_equal(source.train_labels, [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(source.test_images, IMAGES[[5, 6, 15, 16]])
  np.testing.assert_array_equal(source.test_labels, [0, 0, 1, 1])


def test_folder_without_parts_is_split(tmp_path):
  for i in range(20):
    save(tmp_path / "ab"[i % 2] / f"{i:02}.png", IMAGES[i, ..., 0])
  whole = read_folder(str(tmp_path))
  assert whole.train_images.shape == (20, 5, 4, 1) and len(whole.test_labels) == 0
  assert len(with_test_part(whole, 0).test_labels) == 4


def test_one_colour_image_makes_all_rgb(tmp_path):
  save(tmp_path / "a" / "0.png", IMAGES[0, ..., 0])
  save(tmp_path / "b" / "0.png", IMAGES[1])
  images = read_folder(str(tmp_path)).train_images
  np.testing.assert_array_equal(images[0], IMAGES[0, ..., :1].repeat(3, -1))
  np.testing.assert_array_equal(images[1], IMAGES[1])


def test_bad_folders_name_the_file(tmp_path):
  with pytest.raises(DataError, match="no folder .*absent"):
    read_folder(str(tmp_path / "absent"))
  save(tmp_path / "a" / "0.png", IMAGES[0])
  with pytest.raises(DataError, match="holds 1 folders"):
    read_folder(str(tmp_path))
  (tmp_path / "b").mkdir()
  with pytest.raises(DataError, match="b holds no image"):
    read_folder(str(tmp_path))
  save(tmp_path / "b" / "odd.png", IMAGES[0, 1:])
  with pytest.raises(DataError, match=r"odd.png is \(4, 4\), but .*0.png is \(4, 5\)"):
    read_folder(str(tmp_path))
  (tmp_path / "b" / "odd.png").write_bytes(b"no image")
  with pytest.raises(DataError, match="odd.png is not a readable image"):
    read_folder(str(tmp_path))
  Image.fromarray(IMAGES[0, ..., 0].astype(np.float32)).save(tmp_path / "b" / "float.tif")
  (tmp_path / "b" / "odd.png").unlink()
  with pytest.raises(DataError, match="float.tif has mode 'F'"):
    read_folder(str(tmp_path))


def test_channels_first_are_told_by_the_shape_or_by_name(tmp_path):
  colour = np.random.RandomState(1).randint(0, 256, (20, 6, 5, 3)).astype(np.uint8)
  first = colour.transpose(0, 3, 1, 2)
  np.testing.assert_array_equal(read_npz(write(tmp_path, images=first)).train_images, colour)
  both = colour[:, :3]  # 3 x 5 px of 3 channels, or 5 x 3 px of 3
  named = read_npz(write(tmp_path, images=both), channels="last").train_images
  np.testing.assert_array_equal(named, both)
  named = read_npz(write(tmp_path, images=both), channels="first").train_images
  np.testing.assert_array_equal(named, both.transpose(0, 2, 3, 1))
  with pytest.raises(DataError, match="data.channels='middle'"):
    read_npz(write(tmp_path), channels="middle")
  grey = read_npz(write(tmp_path, images=colour[:, None, :, :, 0])).train_images
  np.testing.assert_array_equal(grey, colour[..., :1])


def test_names_of_keras_and_columns_of_labels(tmp_path):
  path = tmp_path / "keras.npz"
  np.savez(path, x_train=IMAGES, y_train=LABELS[:, None], x_test=IMAGES[:4], y_test=LABELS[:4])
  source = read_npz(str(path))
  np.testing.assert_array_equal(source.train_images, IMAGES)
  np.testing.assert_array_equal(source.train_labels, LABELS)
  np.testing.assert_array_equal(source.test_labels, LABELS[:4])


@pytest.mark.parametrize("labels", [np.eye(2)[LABELS], np.eye(2, dtype=bool)[LABELS], LABELS * 1.0])
def test_labels_in_other_forms(tmp_path, labels):
  np.testing.assert_array_equal(read_npz(write(tmp_path, labels=labels)).train_labels, LABELS)


def test_labels_by_name(tmp_path):
  names = np.array(["zebra", "ant"])[LABELS]
  source = read_npz(write(tmp_path, labels=names, test_images=IMAGES[:4], test_labels=names[:4]))
  assert source.class_names == ("ant", "zebra")
  np.testing.assert_array_equal(source.train_labels, 1 - LABELS)
  np.testing.assert_array_equal(source.test_labels, 1 - LABELS[:4])
  source = read_npz(write(tmp_path, labels=names, class_names=["zebra", "ant"]))
  np.testing.assert_array_equal(source.train_labels, LABELS)
  with pytest.raises(DataError, match="test_labels holds 'cat', which is no name of a class"):
    read_npz(write(tmp_path, labels=names, test_images=IMAGES[:1], test_labels=["cat"]))


@pytest.mark.parametrize(
  "images, expected",
  [
    (IMAGES.astype(np.int64), IMAGES),
    (IMAGES.astype(np.uint16) * 257, IMAGES),
    (IMAGES > 127, np.where(IMAGES > 127, 255, 0)),
    ((IMAGES / 255).astype(np.float16), IMAGES),
  ],
)
def test_images_of_other_types(tmp_path, images, expected):
  source = read_npz(write(tmp_path, images=images))
  assert source.train_images.dtype == np.uint8
  np.testing.assert_array_equal(source.train_images, expected)


@pytest.mark.parametrize(
  "images, white",
  [
    (IMAGES.astype(np.uint16), 255),
    (IMAGES.astype(np.uint16) * 16, 255 * 16),
    (IMAGES.astype(np.float32), 255),
    (IMAGES.astype(np.int64) * 257, 65535),
    (IMAGES, 255),
  ],
)
def test_white_by_its_name(tmp_path, images, white):
  path = write(tmp_path, images=images, test_images=images[:2], test_labels=LABELS[:2])
  source = read_npz(path, max_value=white)
  np.testing.assert_array_equal(source.train_images, IMAGES)
  np.testing.assert_array_equal(source.test_images, IMAGES[:2])


def test_white_of_two_values_is_what_the_field_says(tmp_path):
  masks = (IMAGES > 127).astype(np.int64)
  np.testing.assert_array_equal(
    read_npz(write(tmp_path, images=masks), max_value=1).train_images, masks * 255
  )
  np.testing.assert_array_equal(
    read_npz(write(tmp_path, images=masks), max_value=255).train_images, masks
  )
  for wrong in (0, -1, float("nan")):
    with pytest.raises(DataError, match="data.max_value="):
      read_npz(write(tmp_path), max_value=wrong)


def test_dark_test_images_are_as_bright_as_those_of_train(tmp_path):
  dark = (IMAGES[:4] // 16).astype(np.int64)
  path = write(tmp_path, images=IMAGES.astype(np.int64), test_images=dark, test_labels=LABELS[:4])
  np.testing.assert_array_equal(read_npz(path).test_images, dark)


@pytest.mark.parametrize("labels", [LABELS, np.eye(2)[LABELS]])
def test_labels_of_test_by_name_follow_class_names(tmp_path, labels):
  """Alphabetical order, cat before dog, is not that of the numbers."""
  names = np.array(["dog", "cat"])[LABELS]
  of_test = dict(test_images=IMAGES, class_names=["dog", "cat"])
  for train, test in ((labels, names), (names, labels), (labels, names.astype("S"))):
    source = read_npz(write(tmp_path, labels=train, test_labels=test, **of_test))
    np.testing.assert_array_equal(source.train_labels, LABELS)
    np.testing.assert_array_equal(source.test_labels, LABELS)
    assert source.class_names == ("dog", "cat")
  source = read_npz(write(tmp_path, class_names=np.array(["dog", "cat"], "S")))
  assert source.class_names == ("dog", "cat")


def test_other_arrays_of_a_file_are_left_alone(tmp_path):
  path = write(tmp_path, notes=np.array([{"by": "me"}], object))
  np.testing.assert_array_equal(read_npz(path).train_images, IMAGES)


def test_images_that_tell_nothing_apart(tmp_path):
  source = read_npz(write(tmp_path))
  check_told_apart("own.npz", source)
  equal = source._replace(train_images=np.full_like(IMAGES, 7))
  with pytest.raises(DataError, match="own.npz: all 20 train images are equal"):
    check_told_apart("own.npz", equal)
  images = IMAGES[np.arange(20) // 2 % 3]  # both classes have the same three
  with pytest.raises(DataError, match="classes '0' and '1' have the same images"):
    check_told_apart("own.npz", source._replace(train_images=images))
  check_told_apart("own.npz", source._replace(train_images=IMAGES[LABELS]))


def test_names_with_a_dot_and_other_files_are_left_out(tmp_path):
  for label, name in enumerate("ab"):
    save(tmp_path / name / "0.png", IMAGES[label])
    (tmp_path / name / ".hidden.png").write_bytes(b"no image")
    (tmp_path / name / "Thumbs.db").write_bytes(b"no image")
    (tmp_path / name / ".DS_Store").write_bytes(b"no image")
  np.testing.assert_array_equal(read_folder(str(tmp_path)).train_images, IMAGES[:2])


def test_sixteen_bits_are_divided_by_65535(tmp_path):
  for label, name in enumerate("ab"):
    save(tmp_path / name / "0.png", IMAGES[label, ..., 0].astype(np.uint16) * 257)
  np.testing.assert_array_equal(read_folder(str(tmp_path)).train_images, IMAGES[:2, ..., :1])


def test_sixteen_bits_that_are_dark_are_asked_for(tmp_path):
  for label, name in enumerate("ab"):
    save(tmp_path / name / "0.png", IMAGES[label, ..., 0].astype(np.uint16))
  with pytest.raises(
    DataError, match="16 bits.*as 0.png.*White is 255 .data.max_value=255., or it"
  ):
    read_folder(str(tmp_path))
  np.testing.assert_array_equal(
    read_folder(str(tmp_path), max_value=255).train_images, IMAGES[:2, ..., :1]
  )
  np.testing.assert_array_equal(read_folder(str(tmp_path), max_value=65535).train_images <= 1, True)


def test_photographs_of_unequal_sizes_become_central_squares(tmp_path):
  wide = np.zeros((8, 24, 3), np.uint8)
  wide[:, 8:16] = 200  # the central square
  tall = np.full((40, 20, 3), 90, np.uint8)
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[::2] = 255  # antialiased to grey
  save(tmp_path / "a" / "wide.png", wide)
  save(tmp_path / "b" / "0.png", tall)
  save(tmp_path / "b" / "1.png", stripes)
  with pytest.raises(DataError, match="data.image_size=32"):
    read_folder(str(tmp_path))
  source = read_folder(str(tmp_path), 8)
  assert source.train_images.shape == (3, 8, 8, 3)
  assert (source.train_images[0] == 200).all() and (source.train_images[1] == 90).all()
  assert abs(source.train_images[2].astype(int)[1:-1] - 127).max() < 12
  assert source.version == "own, central squares resized to 8 x 8 px"


def test_classes_of_train_and_test_must_agree(tmp_path):
  for path in ("train/a", "train/b", "test/a", "test/c"):
    save(tmp_path / path / "0.png", IMAGES[0])
  with pytest.raises(DataError, match="Class 'b' stands in only one"):
    read_folder(str(tmp_path))
