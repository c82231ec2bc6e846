"""Sets in every foreign layout: read back, made ours, held against pixel statistics, or refused."""

import pathlib

from flax import serialization
import numpy as np
from PIL import Image
import pytest

from ddjax.config.foreign_group import foreign as foreign_group
from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import LAYOUTS, read_foreign
from ddjax.io.torch_file import write_torch
from tests.io import foreign_files as files

_RFAD = pathlib.Path("../shared/foreign/rfad_cifar10_ipc1.npz")
_OWN_SPACE = {"png": "pixels", "png_flat": "pixels", "huggingface": "pixels", "idc": "pixels"}
_SPECIAL = {
  "idc": dict(decode_factor=2),
  "npz": dict(space="network"),
  "tensors": dict(space="network"),
  "safetensors": dict(space="network"),
}
_WRITERS = {
  "npz": (files.write_npz, files.LABELS),
  "png": (files.write_png, files.LABELS),
  "png_flat": (files.write_png_flat, files.LABELS),
  "huggingface": (files.write_huggingface, files.LABELS),
  "dc": (files.write_dc, files.LABELS),
  "mtt": (files.write_mtt, files.LABELS),
  "tensors": (files.write_tensors, files.LABELS),
  "safetensors": (files.write_safetensors, files.LABELS),
  "idc": (files.write_idc, files.LABELS),
  "kip": (files.write_kip, files.CENTRED),
  "rfad": (files.write_rfad, files.CENTRED),
  "frepo_npz": (files.write_frepo_npz, files.CENTRED),
  "checkpoint": (files.write_checkpoint, files.CENTRED),
}


def test_every_layout_has_a_writer():
  assert set(_WRITERS) == set(LAYOUTS)
  assert set(foreign_group()) == set(ForeignOptions._fields)


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "found"])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_comes_back(tmp_path, layout, is_named):
  write, labels = _WRITERS[layout]
  name = layout if is_named else None
  one = read_foreign(write(tmp_path), ForeignOptions(layout=name, **_SPECIAL.get(layout, {})))
  expected = files.PIXELS if layout in _OWN_SPACE else files.IMAGES
  np.testing.assert_array_equal(one.images, expected)
  np.testing.assert_array_equal(one.labels, files.ONE_HOT if labels.ndim == 1 else labels)
  assert one.images.dtype == one.labels.dtype == np.float32
  assert one.layout == layout and one.space == _OWN_SPACE.get(layout, "network")
  assert one.label_kind == ("one_hot" if labels.ndim == 1 else "centred")
  assert one.decode_factor == (2 if layout == "idc" else 1)
  assert one.learning_rate is None and one.preprocessing is None


def test_soft_labels_and_a_learned_rate_of_datm(tmp_path):
  files.write_datm(tmp_path)
  one = read_foreign(tmp_path)  # the folder
  np.testing.assert_array_equal(one.labels, files.SOFT)
  assert one.label_kind == "probabilities" and one.learning_rate == pytest.approx(0.02)
  files.write_mtt(tmp_path, files.SOFT * 3)
  assert read_foreign(tmp_path).label_kind == "logits"
  assert read_foreign(tmp_path, ForeignOptions(label_kind="centred")).label_kind == "centred"
  write_torch(tmp_path / "lr_best.pt", np.array(-0.02, np.float32))
  with pytest.raises(ValueError, match="lr_best.pt holds .*, not one positive"):
    read_foreign(tmp_path)


def test_one_of_several_experiments(tmp_path):
  path = files.write_dc(tmp_path)
  one = read_foreign(path, ForeignOptions(experiment=2))
  np.testing.assert_array_equal(one.images, files.IMAGES + 2)
  assert one.method == "dsa"
  with pytest.raises(ValueError, match="experiment=3.*holds 3"):
    read_foreign(path, ForeignOptions(experiment=3))


def test_the_averaged_copy_of_a_checkpoint(tmp_path):
  path = files.write_checkpoint(tmp_path)
  one = read_foreign(path, ForeignOptions(use_average=True))
  np.testing.assert_array_equal(one.images, files.IMAGES + 1)
  path.write_bytes(serialization.msgpack_serialize({"params": {"x_proto": files.IMAGES}}))
  with pytest.raises(
    ValueError, match="needs params/x_proto and params/y_proto; found a dict of x"
  ):
    read_foreign(path)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("written", sorted(LAYOUTS))
def test_a_wrong_layout_is_a_clear_error(tmp_path, layout, written):
  """A file of arrays `images` and `labels` is one in three layouts: their names alone differ."""
  path = _WRITERS[written][0](tmp_path)
  kind = None if _WRITERS[written][1].ndim == 1 else "centred"
  options = ForeignOptions(layout=layout, space="network", decode_factor=2, label_kind=kind)
  is_plain = {layout, written} <= {"npz", "kip", "rfad"} or (written, layout) in (
    ("frepo_npz", "npz"),
    ("idc", "tensors"),
  )
  if layout == written or is_plain:
    read_foreign(path, options)
    return
  needed = "needs|no readable|is no|is a|damaged|no file .*(best|data)"
  with pytest.raises((ValueError, FileNotFoundError), match=f"{path.name}.*({needed})|{needed}"):
    read_foreign(path, options)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(layout="mttt"), "Unknown layout 'mttt'. Did you mean 'mtt'"),
    (dict(space="pixel"), "unknown space 'pixel'. Did you mean 'pixels'"),
    (dict(label_kind="centered"), "Unknown label_kind 'centered'. Did you mean 'centred'"),
    (dict(label_kind="logits"), "numbers of classes"),
    (dict(decode_factor=3), "decode_factor=3 does not divide images of 8 x 8"),
  ],
)
def test_wrong_options_are_named(tmp_path, options, message):
  with pytest.raises(ValueError, match=message):
    read_foreign(files.write_mtt(tmp_path), ForeignOptions(**options))


def test_what_a_file_does_not_say_is_asked_for(tmp_path):
  with pytest.raises(ValueError, match="name foreign.decode_factor"):
    read_foreign(files.write_idc(tmp_path))
  with pytest.raises(ValueError, match="Name foreign.space: pixels or network"):
    read_foreign(files.write_npz(tmp_path))
  np.savez(tmp_path / "soft.npz", images=files.IMAGES, labels=files.CENTRED * 3)
  with pytest.raises(ValueError, match="foreign.layout=kip.*foreign.label_kind"):
    read_foreign(tmp_path / "soft.npz", ForeignOptions(space="network"))


@pytest.mark.parametrize(
  ("images", "labels", "message"),
  [
    (files.IMAGES[0], files.LABELS, r"images are \[8, 8, 1\]"),
    (files.IMAGES, files.LABELS[:3], "8 images, but labels"),
    (files.IMAGES, files.LABELS - 1, "labels run from -1"),
    (files.IMAGES, files.LABELS * 10**6, "labels run from 0 to 3000000"),
    (files.IMAGES, files.LABELS * 0.5, "neither classes .n. nor .n k."),
    (np.full_like(files.IMAGES, np.nan), files.LABELS, r"hold nan at \(0, 0, 0, 0\)"),
    (files.IMAGES.astype(str), files.LABELS, "no array of numbers"),
  ],
)
def test_arrays_that_are_no_set_are_refused(tmp_path, images, labels, message):
  np.savez(tmp_path / "a.npz", images=images, labels=labels)
  with pytest.raises(ValueError, match=message):
    read_foreign(tmp_path / "a.npz", ForeignOptions(space="network"))


def test_unknown_files_name_what_is_known(tmp_path):
  (tmp_path / "a.txt").write_text("hello")
  with pytest.raises(ValueError, match="begins with the bytes b'hell'.*Known: npz"):
    read_foreign(tmp_path / "a.txt")
  with pytest.raises(ValueError, match="a folder without images_best.pt"):
    read_foreign(tmp_path)
  with pytest.raises(FileNotFoundError, match="nothing"):
    read_foreign(tmp_path / "nothing")
  write_torch(tmp_path / "a.pt", {"weights": np.zeros(2)})
  with pytest.raises(ValueError, match="a.pt is a .pt file of a dict"):
    read_foreign(tmp_path / "a.pt")


def test_pngs_of_two_sizes_or_of_16_bits_are_refused(tmp_path):
  folder = files.write_png(tmp_path)
  Image.fromarray(np.zeros((4, 8), np.uint8)).save(folder / "0" / "z.png")
  with pytest.raises(ValueError, match=r"several sizes: \[\(4, 8\), \(8, 8\)\]"):
    read_foreign(folder)
  Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "0" / "z.png")
  np.testing.assert_array_equal(read_foreign(folder).images[2], 0)  # 16 bits are divided by 65535
  Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(folder / "0" / "z.png")
  np.testing.assert_array_equal(read_foreign(folder).images[2], 1)


def test_channels_are_told_by_the_shape_whatever_the_layout_says(tmp_path):
  """RFAD's released file has them first; tensors of other projects have them last."""
  first = files.first_channels(files.IMAGES)
  scalars = dict(k=np.array(4), jit=np.array(0.1), valid_loss=np.array(0.2))
  np.savez(tmp_path / "any_name.npz", images=first, labels=files.CENTRED, **scalars)
  one = read_foreign(tmp_path / "any_name.npz")
  assert one.layout == "rfad"
  np.testing.assert_array_equal(one.images, files.IMAGES)
  assert any("put last" in remark for remark in one.remarks)
  write_torch(tmp_path / "images_best.pt", files.IMAGES)
  write_torch(tmp_path / "labels_best.pt", files.LABELS)
  one = read_foreign(tmp_path / "images_best.pt")
  np.testing.assert_array_equal(one.images, files.IMAGES)
  assert any("come last" in remark for remark in one.remarks)


@pytest.mark.skipif(not _RFAD.exists(), reason="the file is not part of the project")
def test_the_released_file_of_rfad_is_read():
  one = read_foreign(_RFAD)
  assert one.layout == "rfad" and one.images.shape == (10, 32, 32, 3)
  np.testing.assert_array_equal(one.labels.argmax(1), np.arange(10))


def test_a_renamed_file_finds_its_labels_by_what_they_hold(tmp_path):
  files.write_datm(tmp_path)
  (tmp_path / "images_best.pt").rename(path := tmp_path / "mine.pt")
  (tmp_path / "labels_best.pt").rename(tmp_path / "whose.pt")
  (tmp_path / "lr_best.pt").rename(tmp_path / "rate.pt")
  write_torch(tmp_path / "weights.pt", {"weights": np.zeros(2)})
  one = read_foreign(path)
  np.testing.assert_array_equal(one.labels, files.SOFT)
  assert one.learning_rate == pytest.approx(0.02)
  np.testing.assert_array_equal(read_foreign(tmp_path).images, one.images)
  write_torch(tmp_path / "other.pt", files.LABELS)
  with pytest.raises(ValueError, match="could be its labels: other.pt, whose.pt"):
    read_foreign(path)


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"png", "png_flat", "mtt"}))
def test_a_folder_stands_for_the_one_set_in_it(tmp_path, layout):
  path = _WRITERS[layout][0](tmp_path)
  path.rename(tmp_path / f"renamed{path.suffix}")
  (tmp_path / ".hidden.npz").write_bytes(b"no set")
  (tmp_path / "README").write_text("of these images")
  options = ForeignOptions(**_SPECIAL.get(layout, {}))
  assert read_foreign(tmp_path, options).layout == layout


def test_two_sets_in_a_folder_are_named(tmp_path):
  files.write_frepo_npz(tmp_path)
  files.write_checkpoint(tmp_path)
  with pytest.raises(ValueError, match="several sets: checkpoint_3, saved.npz. Name the file"):
    read_foreign(tmp_path)


@pytest.mark.parametrize(
  ("images", "labels"), [("images", "labels"), ("image_syn", "label_syn"), ("data", "targets")]
)
def test_tensors_under_the_names_that_people_give(tmp_path, images, labels):
  write_torch(path := tmp_path / "a.pt", {images: files.IMAGES, labels: files.SOFT, "lr": 0.5})
  one = read_foreign(path, ForeignOptions(space="pixels"))
  np.testing.assert_array_equal(one.images, files.IMAGES)
  assert one.label_kind == "probabilities" and one.learning_rate == 0.5
  with pytest.raises(ValueError, match="Name foreign.space"):
    read_foreign(path)
  write_torch(path, {images: (files.PIXELS * 255).round().astype(np.uint8), labels: files.LABELS})
  np.testing.assert_allclose(read_foreign(path).images, files.PIXELS, atol=1e-6)
  write_torch(path, {images: files.IMAGES, labels: files.SOFT, "lr": -1.0})
  with pytest.raises(ValueError, match="lr is .*not one positive learning rate"):
    read_foreign(path, ForeignOptions(space="pixels"))


def test_lists_of_tensors_are_stacked(tmp_path):
  write_torch(path := tmp_path / "a.pt", (list(files.first_channels(files.PIXELS)), [0, 1] * 4))
  one = read_foreign(path, ForeignOptions(decode_factor=1))
  np.testing.assert_array_equal(one.images, files.PIXELS)
  np.testing.assert_array_equal(one.labels.argmax(1), [0, 1] * 4)


def test_names_with_a_dot_are_no_pictures(tmp_path):
  for folder in (files.write_png(tmp_path), files.write_png_flat(tmp_path)):
    expected = read_foreign(folder).images
    for place in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
      (place / "._00.png").write_bytes(b"no image")
      (place / ".DS_Store").write_bytes(b"no image")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "a.png").write_bytes(b"no image")
    np.testing.assert_array_equal(read_foreign(folder).images, expected)
  only = tmp_path / "only"
  (only / ".trash").mkdir(parents=True)
  (only / ".trash" / "a.png").write_bytes(b"no image")
  files.write_npz(only)
  assert read_foreign(only, ForeignOptions(space="network")).layout == "npz"
  files.write_mtt(only / ".trash").rename(only / "mine.pt")
  (only / "._labels.pt").write_bytes(b"no tensor")
  (only / ".trash" / "labels_best.pt").rename(only / "theirs.pt")
  assert read_foreign(only / "mine.pt").layout == "mtt"


def test_the_first_images_of_each_class(tmp_path):
  path = files.write_mtt(tmp_path)
  one = read_foreign(path, ForeignOptions(ipc=1))
  np.testing.assert_array_equal(one.images, files.IMAGES[::2])
  np.testing.assert_array_equal(one.labels, np.eye(4))
  for ipc in (0, 3):
    with pytest.raises(ValueError, match=f"foreign.ipc={ipc} must lie between 1 and 2"):
      read_foreign(path, ForeignOptions(ipc=ipc))


def test_pngs_by_number_keep_the_order_of_numbers_and_colour_wins(tmp_path):
  for label in range(11):
    (tmp_path / str(label)).mkdir()
    shape = (4, 4, 3) if label == 5 else (4, 4)
    Image.fromarray(np.full(shape, label, np.uint8)).save(tmp_path / str(label) / "a.png")
  one = read_foreign(tmp_path)
  assert one.images.shape == (11, 4, 4, 3)
  np.testing.assert_array_equal(np.round(one.images[:, 0, 0, 0] * 255), np.arange(11))
  np.testing.assert_array_equal(one.labels.argmax(axis=1), np.arange(11))


def test_numbers_in_front_of_names_are_the_order_of_folders(tmp_path):
  for label in range(12):
    (tmp_path / f"{label}_{'lkjihgfedcba'[label]}").mkdir()
    Image.fromarray(np.full((4, 4), label, np.uint8)).save(
      next(tmp_path.glob(f"{label}_*")) / "a.png"
    )
  one = read_foreign(tmp_path)
  np.testing.assert_array_equal(np.round(one.images[:, 0, 0, 0] * 255), np.arange(12))
  np.testing.assert_array_equal(one.labels.argmax(axis=1), np.arange(12))
  (tmp_path / "7_other").mkdir()
  Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "7_other" / "a.png")
  with pytest.raises(ValueError, match="two folders of one number"):
    read_foreign(tmp_path)
