"""Another project's set, in whatever layout and preprocessing, as pictures of its true pixels."""

import numpy as np
from PIL import Image
import pytest

from ddjax.api import get_config
from ddjax.config import groups
from ddjax.data.load import load_real_data
from ddjax.data.preprocess import KINDS, fit_preprocessing
from ddjax.io import export
from ddjax.tasks.start import start
from tests.io import foreign_files as files

_IN_NETWORK_SPACE = {
  "dc": files.write_dc,
  "mtt": files.write_datm,
  "tensors": files.write_tensors,
  "safetensors": files.write_safetensors,
  "kip": files.write_kip,
  "rfad": files.write_rfad,
  "frepo_npz": files.write_frepo_npz,
  "checkpoint": files.write_checkpoint,
  "npz": files.write_npz,
  "huggingface": files.write_huggingface_lists,
}
_IN_PIXELS = {
  "idc": files.write_idc,
  "png": files.write_png,
  "png_flat": files.write_png_flat,
  "huggingface": files.write_huggingface,
}
_KINDS = [kind for kind in KINDS if kind != "published"]  # the made-up set has no constants


@pytest.fixture(scope="module")
def fake():
  return load_real_data(groups.data("fake"))


def _exported(path, folder, real, **options):
  """The PNGs of an export, u8[8 8 8 1], in the order of the set: two of each class."""
  export.export_set(path, folder, "png", real=real, options=options)
  pictures = sorted(folder.glob("*/*.png"))
  assert [picture.parent.name for picture in pictures] == sorted(real.class_names * 2)
  return np.stack([np.asarray(Image.open(picture))[..., None] for picture in pictures])


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("layout", _IN_NETWORK_SPACE)
def test_sets_in_network_space(tmp_path, monkeypatch, fake, layout, kind):
  true = np.round(255 * files.PIXELS)
  fitted = fit_preprocessing(kind, fake.train_images, fake.max_value)
  monkeypatch.setattr(files, "IMAGES", np.asarray(fitted.forward(files.PIXELS), np.float32))
  path = _IN_NETWORK_SPACE[layout](tmp_path)
  options = dict(layout=layout, space="network", preprocessing=kind, label_kind=None)
  pixels = _exported(path, tmp_path / "out", fake, **options)
  if kind == "zca_kip":  # each image's own mean and norm are forgotten; see Preprocessing.inverse
    for image, expected in zip(pixels, true, strict=True):
      assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.97
  else:
    np.testing.assert_allclose(pixels.astype(float), true, atol=1)


@pytest.mark.parametrize("kind", ["none", "standardise", "zca_kornia", "zca_frepo"])
@pytest.mark.parametrize("layout", _IN_PIXELS)
def test_sets_in_pixels(tmp_path, fake, layout, kind):
  path = _IN_PIXELS[layout](tmp_path)
  options = dict(layout=layout, preprocessing=kind)
  if layout == "idc":
    options["decode_factor"] = 1
  pixels = _exported(path, tmp_path / "out", fake, **options)
  np.testing.assert_allclose(pixels.astype(float), np.round(255 * files.PIXELS), atol=1)


@pytest.mark.parametrize("format_name", export.FORMATS)
def test_every_format_takes_another_projects_set(tmp_path, fake, format_name):
  path, options = files.write_kip(tmp_path), dict(preprocessing="standardise")
  export.export_set(path, tmp_path / "out", format_name, real=fake, options=options)
  card = (tmp_path / "out" / export.CARD_NAME).read_text()
  assert "Its name says that it is whitened" in card and "standardise" in card


def test_the_command_asks_for_the_real_set(tmp_path, capsys):
  config = get_config("configs/export.py:png")
  config.distilled = str(files.write_npz(tmp_path))
  with pytest.raises(ValueError, match="another project's set. Name the real set .*data.name="):
    start(config, workdir=str(tmp_path / "out"))
  config.data.name, config.foreign.space = "fake", "network"
  with pytest.raises(ValueError, match="Name foreign.preprocessing"):
    start(config, workdir=str(tmp_path / "out"))
  config.foreign.preprocessing = "standardise"
  start(config, workdir=str(tmp_path / "out"))
  assert len(list((tmp_path / "out").glob("*/*.png"))) == 8
  config.distilled = str(tmp_path / "absent.npz")
  with pytest.raises(FileNotFoundError, match="absent.npz"):
    start(config, workdir=str(tmp_path / "other"))
