"""Every export is read back: by our own readers, and by the library that it is for."""

import os
import re

import numpy as np
from PIL import Image
import pytest

from ddjax.api import get_config
from ddjax.config import groups
from ddjax.data.load import load_real_data
from ddjax.data.preprocess import fit_preprocessing
from ddjax.files import atomic
from ddjax.io import export
from ddjax.io.distilled import load_distilled, save_distilled, set_digest
from ddjax.io.foreign.convert import load_any
from ddjax.io.foreign.foreign_set import ForeignOptions
from ddjax.io.foreign.read import read_foreign
from ddjax.tasks.start import start
from ddjax.types import DistilledSet

_CLASSES = np.array([1, 0, 3, 2, 2, 3, 0, 1])
_ONE_HOT = np.eye(4, dtype=np.float32)[_CLASSES]
_INFO = {
  "label_kind": "one_hot",
  "method": "dsa",
  "dataset": "fake",
  "ipc": 2,
  "seed": 0,
  "step": 7,
  "learning_rate": 0.02,
  "member_hash": None,
  "real_data_hash": "abc",
  "decode_factor": 1,
  "config": {"method": "dsa"},
}


@pytest.fixture(scope="module")
def fake():
  return load_real_data(groups.data("fake"))


@pytest.fixture
def save(tmp_path, fake):
  """(kind, label kind, channels) -> the path of a saved set."""

  def saved(kind="standardise", label_kind="one_hot", channels=1):
    rng = np.random.default_rng(0)
    labels = _ONE_HOT if label_kind == "one_hot" else _ONE_HOT - np.float32(0.25)
    images = np.tile(fake.train_images, (1, 1, 1, channels))
    one = DistilledSet(rng.normal(size=(8, 8, 8, channels)).astype(np.float32), labels)
    preprocessing = fit_preprocessing(kind, images)
    return save_distilled(tmp_path / "set", one, _INFO | {"label_kind": label_kind}, preprocessing)

  return saved


def _pixels(path):
  one = load_distilled(path)
  return np.asarray(one.info["preprocessing"].inverse(one.images))


def _bytes(path):
  return np.round(255 * np.clip(_pixels(path), 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["none", "standardise", "zca_kornia", "zca_frepo"])
@pytest.mark.parametrize("label_kind", ["one_hot", "centred"])
def test_npz_comes_back_as_the_same_set(tmp_path, save, fake, kind, label_kind):
  path = save(kind, label_kind)
  export.export_set(path, tmp_path / "out", "npz")
  one, back = load_distilled(path), load_any(tmp_path / "out" / "dsa_fake_2ipc.npz", fake)
  np.testing.assert_allclose(back.images, one.images, atol=1e-4)
  np.testing.assert_array_equal(back.labels, one.labels)
  assert back.info["preprocessing"].same_as(one.info["preprocessing"])
  names = ("label_kind", "learning_rate", "method", "decode_factor", "ipc")
  assert [back.info[name] for name in names] == [one.info[name] for name in names]


def test_a_map_that_forgets_comes_back_nearly_and_the_card_says_so(tmp_path, save, fake):
  path = save("zca_kip")
  export.export_set(path, tmp_path / "out", "npz")
  one, back = load_distilled(path), load_any(tmp_path / "out" / "dsa_fake_2ipc.npz", fake)
  a, b = (x.images.reshape(8, -1) for x in (one, back))
  cosines = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
  assert (cosines > 0.9).all()
  assert "only nearly" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("channels", [1, 3])
def test_pngs_come_back_with_their_loss_counted(tmp_path, save, channels):
  path = save(channels=channels)
  export.export_set(path, tmp_path / "out", "png")
  back = read_foreign(tmp_path / "out")
  order = np.argsort(_CLASSES, kind="stable")
  np.testing.assert_array_equal(np.round(back.images * 255), _bytes(path)[order])
  np.testing.assert_array_equal(back.labels, _ONE_HOT[order])
  pixels = _pixels(path)
  count = int(np.sum((pixels < 0) | (pixels > 1)))
  card = (tmp_path / "out" / "README.md").read_text()
  assert 0 < count < pixels.size and f"{count} of {pixels.size} values" in card


def test_an_image_of_an_odd_number_of_channels_has_no_png(tmp_path, save):
  with pytest.raises(ValueError, match="Images of 2 channels have no PNG"):
    export.export_set(save(channels=2), tmp_path / "out", "png")
  assert not (tmp_path / "out").exists()
  assert [entry.name for entry in tmp_path.iterdir()] == ["set"]  # nothing half-made is left


def test_tfds_reads_its_export(tmp_path, save):
  import tensorflow_datasets as tfds

  path = save(label_kind="centred")
  folder = tmp_path / "dsa_fake_2ipc" / "1.0.0"
  export.export_set(path, folder, "tfds")
  for builder in (
    tfds.builder_from_directory(folder),
    tfds.builder("dsa_fake_2ipc", data_dir=tmp_path),
  ):
    source = builder.as_data_source(split="train")
    examples = [source[index] for index in range(len(source))]
    stacked = {name: np.stack([x[name] for x in examples]) for name in examples[0]}
    np.testing.assert_array_equal(stacked["image"], _bytes(path))
    np.testing.assert_array_equal(stacked["label"], _CLASSES)
    np.testing.assert_array_equal(stacked["pixels"], _pixels(path))
    np.testing.assert_array_equal(stacked["soft_label"], load_distilled(path).labels)
    assert builder.info.supervised_keys == ("image", "label")


@pytest.mark.parametrize("label_kind", ["one_hot", "centred"])
def test_hugging_face_reads_its_export(tmp_path, save, label_kind):
  os.environ.setdefault("HF_HUB_OFFLINE", "1")
  import datasets

  path = save(label_kind=label_kind)
  folder = tmp_path / "out"
  export.export_set(path, folder, "huggingface")
  table = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), split="train")
  assert isinstance(table.features["image"], datasets.Image)
  assert table.features["label"].names == ["0", "1", "2", "3"]
  np.testing.assert_array_equal(
    np.stack([np.asarray(x) for x in table["image"]]), _bytes(path)[..., 0]
  )
  np.testing.assert_array_equal(table["label"], _CLASSES)
  np.testing.assert_array_equal(np.array(table["pixels"], np.float32), _pixels(path))
  assert ("soft_label" in table.features) == (label_kind == "centred")
  if label_kind == "centred":
    soft = np.array(table["soft_label"], np.float32)
    np.testing.assert_array_equal(soft, load_distilled(path).labels)
  arrays = dict(np.load(folder / "preprocessing.npz"))
  np.testing.assert_array_equal(arrays["mean"], load_distilled(path).info["preprocessing"].mean)


@pytest.mark.parametrize("label_kind", ["one_hot", "centred"])
@pytest.mark.parametrize("channels", [1, 3])
def test_our_reader_reads_the_hugging_face_export(tmp_path, save, label_kind, channels):
  path = save(label_kind=label_kind, channels=channels)
  export.export_set(path, tmp_path / "out", "huggingface")
  back = read_foreign(tmp_path / "out", ForeignOptions(label_kind=label_kind))
  assert back.layout == "huggingface" and back.space == "pixels"
  np.testing.assert_array_equal(back.images, _pixels(path))  # neither clipped nor rounded
  np.testing.assert_array_equal(back.labels, load_distilled(path).labels)
  assert back.label_kind == label_kind and back.class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize("label_kind", ["one_hot", "centred"])
def test_pt_comes_back_in_network_space(tmp_path, save, label_kind):
  path = save(label_kind=label_kind)
  export.export_set(path, tmp_path / "out", "pt")
  back = read_foreign(
    tmp_path / "out" / "res_dsa_fake_ddjax_2ipc.pt", ForeignOptions(label_kind=label_kind)
  )
  one = load_distilled(path)
  np.testing.assert_array_equal(back.images, one.images)
  np.testing.assert_array_equal(back.labels, one.labels)
  assert back.layout == "dc" and back.space == "network"


def test_class_names_of_the_report_name_the_folders(tmp_path, save):
  path = save()
  names = ["cat", "dog", "big ship", "4"]
  atomic.write_json(path.parent / "report.json", {"run": {"class_names": names}, "reports": {}})
  export.export_set(path, tmp_path / "out", "png")
  folders = sorted(entry.name for entry in (tmp_path / "out").iterdir() if entry.is_dir())
  assert folders == ["0_cat", "1_dog", "2_big_ship", "3_4"]
  np.testing.assert_array_equal(
    read_foreign(tmp_path / "out").labels.argmax(axis=1), sorted(_CLASSES)
  )


def test_a_folder_in_use_is_never_replaced_but_an_export_on_demand(tmp_path, save):
  path, folder = save(), tmp_path / "out"
  folder.mkdir()  # an empty one will do
  export.export_set(path, folder, "pt")
  with pytest.raises(ValueError, match="holds an export; choose another folder, or --overwrite"):
    export.export_set(path, folder, "npz")
  export.export_set(path, folder, "npz", overwrite=True)
  assert not list(folder.glob("*.pt")) and list(folder.glob("*.npz"))
  (path.parent / "mine.txt").write_text("mine")
  with pytest.raises(ValueError, match="holds no export of ddjax"):
    export.export_set(path, path.parent, "npz", overwrite=True)
  assert (path.parent / "mine.txt").read_text() == "mine"


def test_wrong_arguments_are_named(tmp_path, save):
  with pytest.raises(ValueError, match="Unknown export format 'pgn'. Did you mean 'png'"):
    export.export_set(save(), tmp_path / "out", "pgn")
  with pytest.raises(FileNotFoundError, match="nothing"):
    export.export_set(tmp_path / "nothing", tmp_path / "out", "npz")


def test_a_full_disk_leaves_nothing_behind(tmp_path, save, monkeypatch):
  path = save()

  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setitem(export.FORMATS, "npz", full)
  with pytest.raises(atomic.OutputError, match="No space left"):
    export.export_set(path, tmp_path / "out", "npz")
  assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_the_task_exports_and_says_what(tmp_path, save, capsys):
  config = get_config("configs/export.py:png")
  with pytest.raises(ValueError, match="config.distilled is missing"):
    start(config, workdir=str(tmp_path / "out"))
  config.distilled = str(save())
  start(config, dry_run=True)
  assert "Estimate: seconds" in capsys.readouterr().out
  start(config, workdir=str(tmp_path / "out"))
  assert re.search(r"Exported to .*out.*CLASS/NUMBER.png", capsys.readouterr().out, re.DOTALL)
  with Image.open(tmp_path / "out" / "0" / "00001.png") as image:
    assert image.size == (8, 8)


def test_the_figures_of_an_audit_go_into_the_card(save, tmp_path):
  path = save()
  settings = {"checks": ["nothing was left out."]}
  audit = {
    "run": {"method": "dsa", "dataset": "fake", "set_sha256": [set_digest(load_distilled(path))]},
    "reports": {
      "privacy": {
        "kind": "privacy", "scalars": {"lira_auc": 0.625}, "spread": {}, "interval": {},
        "per_model": {}, "per_class": {}, "settings": settings,
      }
    },
  }  # fmt: skip
  atomic.write_json(tmp_path / "audit" / "report.json", audit)
  config = get_config("configs/export.py:png")
  config.distilled, config.report = str(path), str(tmp_path / "audit")
  start(config, workdir=str(tmp_path / "out"))
  card = (tmp_path / "out" / export.CARD_NAME).read_text()
  assert "| LiRA AUC | 0.625 |" in card and "- Privacy, by the audit: nothing was left out." in card
