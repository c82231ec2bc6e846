"""Sets in every foreign layout: read back, made ours, held against pixel statistics, or refused."""

import json
import pathlib

from absl import logging
from flax import serialization
import numpy as np
from PIL import Image
import pytest

from ddjax.config import groups
from ddjax.config.foreign_group import foreign as foreign_group
from ddjax.data.load import load_real_data
from ddjax.data.preprocess import KINDS, as_pixels, fit_preprocessing
from ddjax.io import distilled
from ddjax.io.foreign.convert import as_distilled, check_statistics, load_any
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
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


@pytest.fixture(scope="module")
def fake():
  return load_real_data(groups.data("fake"))


@pytest.fixture(scope="module")
def digits():
  return load_real_data(groups.data("digits"))


@pytest.fixture
def warned(monkeypatch):
  texts = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: texts.append(text % args))
  return texts


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


def test_inverted_whitened_images_of_mtt_lie_in_pixels(tmp_path):
  assert read_foreign(files.write_mtt(tmp_path, name="zca_100")).space == "pixels"
  assert read_foreign(files.write_mtt(tmp_path, name="100")).space == "network"


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
  is_plain = {layout, written} <= {"npz", "kip", "rfad"} or (written, layout) == (
    "frepo_npz",
    "npz",
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
  with pytest.raises(ValueError, match="Name foreign.decode_factor"):
    read_foreign(files.write_idc(tmp_path))
  with pytest.raises(ValueError, match="Name foreign.space: pixels or network"):
    read_foreign(files.write_npz(tmp_path))
  np.savez(tmp_path / "soft.npz", images=files.IMAGES, labels=files.CENTRED)
  with pytest.raises(ValueError, match="Name foreign.label_kind"):
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
  if layout == "kip":  # nothing but its name tells it from any npz
    options = options._replace(layout="kip")
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


def test_labels_of_a_teacher_are_refused(tmp_path):
  write_torch(path := tmp_path / "a.pt", {"images": files.IMAGES, "labels": files.SOFT[:, None]})
  with pytest.raises(ValueError, match=r"\[8, 1, 4\]: one for each augmentation or epoch"):
    read_foreign(path, ForeignOptions(space="pixels"))


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


def test_named_classes_take_the_order_of_the_real_set(digits):
  pixels = as_pixels(digits.train_images[:50], 16)
  plain = _foreign(pixels, "pixels")
  named = digits._replace(class_names=tuple(f"Class {word}" for word in "ztrqponmlk"))
  shuffled = sorted(f"class_{word}" for word in "ztrqponmlk")
  one = as_distilled(plain._replace(class_names=tuple(shuffled)), named, "none")
  for stored, read in zip(plain.labels.argmax(axis=1), one.labels.argmax(axis=1), strict=True):
    assert named.class_names[read] == shuffled[stored].replace("_", " ").capitalize()
  for in_order in (tuple(map(str, range(10))), tuple(f"{i}_word" for i in range(10))):
    one = as_distilled(plain._replace(class_names=in_order), named, "none")
    np.testing.assert_array_equal(one.labels, plain.labels)
  wrong = plain._replace(class_names=("cat", *shuffled[1:]))
  with pytest.raises(ValueError, match="The set's classes are cat, class_l.*Class z.*by number"):
    as_distilled(wrong, named, "none")


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


def _foreign(images, space="network", **fields):
  labels = np.eye(10, dtype=np.float32)[np.arange(len(images)) % 10]
  return ForeignSet(np.asarray(images, np.float32), labels, "one_hot", space, "npz", **fields)


def test_images_in_pixels_are_mapped_and_others_are_not(digits, warned):
  pixels = as_pixels(digits.train_images[:50], 16)
  fitted = fit_preprocessing("standardise", digits.train_images, 16)
  one = as_distilled(_foreign(pixels, "pixels", learning_rate=0.5), digits, "standardise")
  np.testing.assert_allclose(one.images, fitted.forward(pixels), atol=1e-6)
  other = as_distilled(_foreign(one.images), digits, "standardise")
  np.testing.assert_array_equal(other.images, one.images)
  assert not warned
  assert set(distilled.INFO_FIELDS) <= one.info.keys() and one.info["learning_rate"] == 0.5
  assert one.info["preprocessing"].same_as(fitted) and one.info["ipc"] == 5


def test_what_as_distilled_gives_can_be_saved_and_loaded(digits, tmp_path):
  one = as_distilled(_foreign(as_pixels(digits.train_images[:20], 16), "pixels"), digits, "none")
  info = {key: value for key, value in one.info.items() if key != "preprocessing"}
  distilled.save_distilled(tmp_path, one, info, one.info["preprocessing"])
  back = distilled.load_distilled(tmp_path)
  assert {**back.info, "preprocessing": None} == {**one.info, "preprocessing": None}


_CHECKED = ("none", "standardise", "zca_kornia")


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("claimed", _CHECKED)
@pytest.mark.parametrize("true", _CHECKED)
def test_pixel_statistics_warn_of_the_wrong_kind_alone(digits, warned, true, claimed, noise):
  rng = np.random.default_rng(0)
  rows = rng.choice(len(digits.train_images), 100)
  fitted = {kind: fit_preprocessing(kind, digits.train_images, 16) for kind in _CHECKED}
  images = np.asarray(fitted[true].forward(as_pixels(digits.train_images[rows], 16)))
  images = images + noise * images.std() * rng.normal(size=images.shape)
  found = check_statistics(images, claimed, fitted[claimed], digits)
  assert found.is_doubtful == (true != claimed)
  if true != claimed:
    assert found.best == true
  as_distilled(_foreign(images), digits, claimed)
  assert len(warned) == (true != claimed)
  if warned:
    word = {"none": "pixels"}.get(true, true)
    assert f"fit {word} better" in warned[0]


def test_pixels_that_are_none_are_doubted(digits, warned):
  fitted = fit_preprocessing("standardise", digits.train_images, 16)
  images = fitted.forward(as_pixels(digits.train_images[:50], 16))
  one = as_distilled(_foreign(images, "pixels"), digits, "standardise")
  assert "taken as pixels" in warned[0] and "fit standardise better" in warned[0]
  assert warned[0] in one.info["remarks"]


def test_no_preprocessing_is_guessed(digits):
  fitted = fit_preprocessing("zca_kornia", digits.train_images, 16)
  images = fitted.forward(as_pixels(digits.train_images[:50], 16))
  with pytest.raises(
    ValueError, match="none is guessed.*so zca_kornia is the most likely"
  ) as error:
    as_distilled(_foreign(images), digits)
  known = set(KINDS) - {"published"}  # which digits have none of
  assert all(kind in str(error.value) for kind in known) and "published" not in str(error.value)
  with pytest.raises(ValueError, match="lies in pixels and its file names no preprocessing"):
    as_distilled(_foreign(images, "pixels"), digits)
  with pytest.raises(ValueError, match="Unknown preprocessing 'zca'"):
    as_distilled(_foreign(images), digits, "zca")


def test_sets_that_do_not_suit_the_real_set_name_both(digits):
  images = as_pixels(digits.train_images[:20], 16)
  with pytest.raises(ValueError, match=r"\[8, 8, 3\], but digits's \[8, 8, 1\].*another channels"):
    as_distilled(_foreign(np.tile(images, (1, 1, 1, 3)), "pixels"), digits, "none")
  with pytest.raises(ValueError, match=r"\[16, 8, 1\], but digits's \[8, 8, 1\].*another size"):
    as_distilled(_foreign(np.tile(images, (1, 2, 1, 1)), "pixels"), digits, "none")
  one = _foreign(images, "pixels")
  with pytest.raises(ValueError, match="of 7 classes; digits has 10"):
    as_distilled(one._replace(labels=one.labels[:, :7]), digits, "none")
  with pytest.raises(ValueError, match="undecoded grids"):
    as_distilled(one._replace(decode_factor=2), digits, "zca_kornia")


def test_load_any_reads_ours_and_theirs(tmp_path, fake):
  theirs = load_any(files.write_mtt(tmp_path), fake, {**foreign_group(), "preprocessing": "none"})
  assert theirs.info["layout"] == "mtt" and len(theirs.info["file_sha256"]) == 64
  np.testing.assert_array_equal(theirs.images, files.IMAGES)
  info = {key: value for key, value in theirs.info.items() if key != "preprocessing"}
  run = tmp_path / "run"
  path = distilled.save_distilled(run / "distilled", theirs, info, theirs.info["preprocessing"])
  for place in (run, run / "distilled", path):
    np.testing.assert_array_equal(load_any(place, fake, foreign_group()).images, files.IMAGES)
  with pytest.raises(ValueError, match="foreign.preprocessing='none', but .* is a set of our own"):
    load_any(run, fake, dict(preprocessing="none"))
  with pytest.raises(ValueError, match="Unknown option foreign.layuot. Did you mean 'layout'"):
    load_any(run, fake, dict(layuot="npz"))


def test_a_damaged_set_of_our_own_is_still_ours(tmp_path, fake):
  (tmp_path / "distilled").mkdir()
  (tmp_path / "distilled" / "distilled.npz").write_bytes(b"PK damaged")
  with pytest.raises(ValueError, match="distilled.npz is damaged"):
    load_any(tmp_path, fake)


def test_records_of_an_export_are_checked(tmp_path):
  one = read_foreign(files.write_export(tmp_path))
  assert one.learning_rate == 0.5 and one.preprocessing.kind == "standardise"
  arrays = dict(np.load(tmp_path / "export.npz")) | {"preprocessing/std": np.ones(3, np.float32)}
  np.savez(tmp_path / "a.npz", **arrays)
  with pytest.raises(ValueError, match=r"its preprocessing has std \[3\]"):
    read_foreign(tmp_path / "a.npz")
  for record in ("{", "[]", json.dumps({"preprocessing": {"kind": "nne"}})):
    np.savez(tmp_path / "a.npz", images=files.PIXELS, labels=files.LABELS, record=np.array(record))
    with pytest.raises(ValueError, match="a.npz: its record cannot be read"):
      read_foreign(tmp_path / "a.npz")
