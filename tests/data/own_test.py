import numpy as np
from PIL import Image
import pytest

from ddjax.data.own import read_folder, read_npz, with_test_part
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
    (dict(images=IMAGES.astype(np.int64)), "int64, neither uint8 nor float"),
    (dict(images=IMAGES[0, 0]), r"shape \(4, 3\)"),
    (dict(images=np.array([None] * 20)), "Object arrays cannot be loaded"),
    (dict(labels=LABELS - 1), r"labels\[0\] = -1 is negative"),
    (dict(labels=LABELS * 2), "labels run to 2, but 1 has no example"),
    (dict(labels=LABELS[:9]), "not an integer for each of the 20 images"),
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
  save(tmp_path / "b" / "odd.png", IMAGES[0, ..., 0].astype(np.uint16))
  with pytest.raises(DataError, match="odd.png has mode 'I;16'"):
    read_folder(str(tmp_path))


def test_classes_of_train_and_test_must_agree(tmp_path):
  for path in ("train/a", "train/b", "test/a", "test/c"):
    save(tmp_path / path / "0.png", IMAGES[0])
  with pytest.raises(DataError, match="Class 'b' stands in only one"):
    read_folder(str(tmp_path))
