"""Files of two readings: told by what they hold, or asked for by the field that decides."""

import numpy as np
import pytest

from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import read_foreign
from ddjax.io.torch_file import write_torch
from tests.io import foreign_files as files


@pytest.mark.parametrize(
  "name", ["images_zca_100.pt", "images_100.pt", "images_best.pt", "mine.pt"]
)
def test_the_space_of_mtt_is_told_by_values_whatever_the_name(tmp_path, name):
  """Its project inverts whitened images into files called images_zca, which may be renamed."""
  labels = name.replace("zca_", "").replace("images", "labels")
  write_torch(tmp_path / (labels if labels != name else "theirs.pt"), files.LABELS)
  write_torch(path := tmp_path / name, files.first_channels(files.PIXELS * 1.2 - 0.03))
  one = read_foreign(path)
  assert one.space == "pixels" and any("those of pixels" in remark for remark in one.remarks)
  assert read_foreign(path, ForeignOptions(space="network")).space == "network"
  write_torch(path, files.first_channels(files.PIXELS - 0.35))  # of both
  with pytest.raises(ValueError, match="mtt.*images_zca.*Name foreign.space: network or pixels"):
    read_foreign(path)
  write_torch(path, files.first_channels(files.IMAGES))
  if "zca" in name:  # which says pixels
    with pytest.raises(ValueError, match="its name is that of pixels.*Name foreign.space"):
      read_foreign(path)
  else:
    assert read_foreign(path).space == "network"


def test_a_file_of_kip_is_told_by_what_it_holds(tmp_path):
  """Centred labels beside images in network space; its name says nothing but a remark."""
  path = files.write_kip(tmp_path)
  for name in (path.name, "mine.npz", "a.npz"):
    path = path.rename(tmp_path / name)
    one = read_foreign(path)
    assert one.layout == "kip" and one.label_kind == "centred" and one.space == "network"
    assert any("is whitened" in remark for remark in one.remarks) == ("ckpt" in name)
  called = tmp_path / "ConvNet_ssize8_nozca_ckpt1.npz"
  np.savez(called, images=(files.PIXELS * 255).astype(np.uint8), labels=files.LABELS)
  assert read_foreign(called).layout == "npz" and read_foreign(called).space == "pixels"
  learned = files.CENTRED * 1.7 + 0.01  # by KIP, or of anyone's
  np.savez(called, images=files.IMAGES, labels=learned)
  with pytest.raises(ValueError, match="foreign.layout=kip.*or others.*foreign.label_kind"):
    read_foreign(called)
  one = read_foreign(called, ForeignOptions(layout="kip"))
  np.testing.assert_array_equal(one.labels, np.float32(learned))
  one = read_foreign(called, ForeignOptions(space="pixels", label_kind="logits"))
  assert one.layout == "npz" and one.label_kind == "logits"


def test_tensors_under_other_names_are_told_by_their_shapes(tmp_path):
  path = tmp_path / "a.pt"
  tensors = {"epoch": np.array([3]), "mine": files.IMAGES, "theirs": files.SOFT, "note": "x"}
  write_torch(path, tensors)
  one = read_foreign(path, ForeignOptions(space="network"))
  np.testing.assert_array_equal(one.labels, files.SOFT)
  assert "Arrays mine and theirs." in one.remarks
  np.savez(tmp_path / "a.npz", mine=files.IMAGES, theirs=files.LABELS)
  one = read_foreign(tmp_path / "a.npz", ForeignOptions(space="network"))
  np.testing.assert_array_equal(one.labels, files.ONE_HOT)
  weights = {"conv.weight": np.zeros((8, 3, 7, 7)), "conv.bias": np.zeros(8)}
  for others in ({"more": files.SOFT}, {"more": files.IMAGES}):
    for found in (tensors | others, weights):
      write_torch(path, found)
      with pytest.raises(ValueError, match="a .pt file of a dict of .*no layout that is known"):
        read_foreign(path)


def test_a_pair_is_whole_images_or_grids_and_the_message_names_both(tmp_path):
  for pair in ([files.IMAGES, files.LABELS], (list(files.IMAGES), list(files.SOFT))):
    write_torch(path := tmp_path / "a.pt", pair)
    with pytest.raises(ValueError, match="foreign.decode_factor.*Or.*foreign.layout=tensors"):
      read_foreign(path)
    one = read_foreign(path, ForeignOptions(layout="tensors", space="network"))
    np.testing.assert_array_equal(one.images, files.IMAGES)
    assert one.label_kind == ("one_hot" if pair[1] is files.LABELS else "probabilities")
    with pytest.raises(ValueError, match="Name foreign.space"):
      read_foreign(path, ForeignOptions(layout="tensors"))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int16])
@pytest.mark.parametrize("space", ["pixels", None])
def test_whole_numbers_are_pixels_of_255(tmp_path, dtype, space):
  stored = np.round(files.first_channels(files.PIXELS) * 255).astype(dtype)
  write_torch(path := tmp_path / "a.pt", {"images": stored, "labels": files.LABELS})
  one = read_foreign(path, ForeignOptions(space=space))
  np.testing.assert_allclose(one.images, files.PIXELS, atol=1e-6)
  assert one.space == "pixels"
  one = read_foreign(path, ForeignOptions(space=space, max_value=510))
  np.testing.assert_allclose(one.images, files.PIXELS / 2, atol=1e-6)


@pytest.mark.parametrize("labels", [files.LABELS * 1.0, files.LABELS[:, None], files.LABELS == 1])
def test_labels_of_classes_in_other_forms(tmp_path, labels):
  write_torch(path := tmp_path / "a.pt", {"images": files.IMAGES, "labels": labels})
  if labels.dtype == bool:
    with pytest.raises(ValueError, match="neither classes .n. nor .n k."):
      read_foreign(path, ForeignOptions(space="network"))
    return
  one = read_foreign(path, ForeignOptions(space="network"))
  np.testing.assert_array_equal(one.labels, files.ONE_HOT)
  assert one.label_kind == "one_hot"


def test_labels_that_are_names(tmp_path):
  names = np.array(["d", "a", "c", "b"])
  np.savez(path := tmp_path / "a.npz", images=files.IMAGES, labels=names[files.LABELS])
  one = read_foreign(path, ForeignOptions(space="network"))
  assert one.class_names == ("a", "b", "c", "d")
  np.testing.assert_array_equal(one.labels.argmax(1), np.array([3, 0, 2, 1])[files.LABELS])


def test_whole_numbers_of_a_layout_of_network_space_are_pixels(tmp_path):
  stored = np.round(files.first_channels(files.PIXELS) * 255).astype(np.uint8)
  write_torch(path := tmp_path / "res_DC_a.pt", {"data": [[stored, files.LABELS]]})
  one = read_foreign(path)
  assert one.layout == "dc" and one.space == "pixels"
  np.testing.assert_allclose(one.images, files.PIXELS, atol=1e-6)


def test_images_whose_white_is_open_are_asked_for(tmp_path):
  path = tmp_path / "a.npz"
  for images, message in (
    (
      (files.PIXELS > 0.5).astype(np.int64),
      "greatest value is 1. White is 1 .foreign.max_value=1.",
    ),
    (
      (files.PIXELS * 255).astype(np.uint16),
      "White is 255 .foreign.max_value=255., or it is 65535",
    ),
    ((files.PIXELS * 300).astype(np.int64), "from 1 to 300, not within 0 to 255"),
    ((files.PIXELS * 255), "where pixels .* run from 0 to 1.*foreign.max_value=255"),
  ):
    np.savez(path, images=images, labels=files.LABELS)
    with pytest.raises(ValueError, match=message):
      read_foreign(path, ForeignOptions(space="pixels"))
  one = read_foreign(path, ForeignOptions(space="pixels", max_value=255))
  np.testing.assert_allclose(one.images, files.PIXELS, atol=1e-6)
  with pytest.raises(ValueError, match="foreign.max_value=255 is of pixels, not of network"):
    read_foreign(path, ForeignOptions(space="network", max_value=255))


def test_files_of_usual_names_in_a_folder_are_what_they_hold(tmp_path):
  write_torch(tmp_path / "data.pt", {"images": files.IMAGES, "labels": files.LABELS})
  (tmp_path / "log.txt").write_text("of its training")
  np.savez(tmp_path / "more.npz", images=files.IMAGES, labels=files.LABELS)
  assert read_foreign(tmp_path, ForeignOptions(space="network")).layout == "tensors"


def test_names_of_classes_in_a_file_are_kept(tmp_path):
  names = np.array(["d", "c", "b", "a"])
  np.savez(path := tmp_path / "a.npz", images=files.IMAGES, labels=files.LABELS, class_names=names)
  assert read_foreign(path, ForeignOptions(space="network")).class_names == ("d", "c", "b", "a")
  np.savez(path, images=files.IMAGES, labels=files.LABELS, class_names=names[[0, 0, 1, 2]])
  with pytest.raises(ValueError, match="class_names are 3 names in 4 places"):
    read_foreign(path, ForeignOptions(space="network"))


@pytest.mark.parametrize("shape", [(3, 8, 4), (8, 3, 4), (2, 3, 8, 4)])
def test_labels_of_a_teacher_say_why_whatever_their_length(tmp_path, shape):
  labels = np.full(shape, 0.25, np.float32)
  write_torch(path := tmp_path / "a.pt", {"images": files.IMAGES, "labels": labels})
  with pytest.raises(ValueError, match="one for each augmentation or epoch of a teacher"):
    read_foreign(path)
  np.savez(tmp_path / "a.npz", images=files.IMAGES, labels=labels)
  with pytest.raises(ValueError, match="one for each augmentation or epoch of a teacher"):
    read_foreign(tmp_path / "a.npz")
  write_torch(tmp_path / "images_best.pt", files.first_channels(files.IMAGES))
  write_torch(tmp_path / "labels_best.pt", labels)
  with pytest.raises(ValueError, match="one for each augmentation or epoch of a teacher"):
    read_foreign(tmp_path / "images_best.pt")


def test_labels_of_a_teacher_are_refused(tmp_path):
  write_torch(path := tmp_path / "a.pt", {"images": files.IMAGES, "labels": files.SOFT[:, None]})
  with pytest.raises(ValueError, match=r"\[8, 1, 4\]: one for each augmentation or epoch"):
    read_foreign(path, ForeignOptions(space="pixels"))
