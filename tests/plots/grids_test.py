"""Grids show each image at its class, clip and say so, and refuse what cannot be drawn."""

import io

import numpy as np
import pytest

from ddjax.plots import figures, grids

_NAMES = ["zero", "one", "two"]


def _shown(figure, panel=0):
  """The mosaic as it was given to the figure."""
  return np.asarray(figure.axes[panel].images[0].get_array())


def _flat(values, size=4):
  """Images of one grey each."""
  return np.array(values, np.float32)[:, None, None, None] * np.ones((1, size, size, 1), np.float32)


def test_rows_are_classes_in_order():
  figure = grids.image_grid(_flat([0.1, 0.2, 0.3, 0.4]), [2, 0, 2, 0], _NAMES)
  mosaic = _shown(figure)
  assert mosaic.shape == (10, 9, 3)
  np.testing.assert_allclose(mosaic[[1, 1, 6, 6], [0, 5, 0, 5], 0], [0.2, 0.4, 0.1, 0.3])
  assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["zero", "two"]


def test_one_image_a_class_goes_into_tiles():
  num = 23
  pixels = _flat(np.linspace(0, 1, num))
  figure = grids.image_grid(pixels, np.arange(num), [f"class_number_{i}" for i in range(num)])
  assert _shown(figure).shape == (3 * 5, 10 * 5 - 1, 3)
  np.testing.assert_allclose(_shown(figure)[11, 5, 0], 21 / 22, rtol=1e-6)
  assert [text.get_text() for text in figure.axes[0].texts][21] == "class_numb…"


def test_before_and_after_lie_at_the_same_place():
  initial, distilled = _flat([0.1, 0.2, 0.3]), _flat([0.5, 0.6, 0.7])
  labels = np.array([[-0.1, 0.9], [0.8, 0.1], [0.2, 0.1]])
  figure = grids.before_after(initial, distilled, labels, _NAMES)
  left, right = _shown(figure, 0), _shown(figure, 1)
  assert [axes.get_title() for axes in figure.axes] == ["initial", "distilled"]
  np.testing.assert_allclose(left[[1, 1, 6], [0, 5, 0], 0], [0.2, 0.3, 0.1])
  np.testing.assert_allclose(right[[1, 1, 6], [0, 5, 0], 0], [0.6, 0.7, 0.5])


def test_notes_say_what_is_left_out_and_clipped():
  pixels = np.concatenate([_flat([-0.5] * 30), _flat([0.5] * 30)])
  figure = grids.image_grid(pixels, np.arange(60) % 3, _NAMES, max_per_class=4, max_classes=2)
  note = figure.get_supxlabel()
  for part in ("first 2 of 3 classes", "first 4 of 20 images a class", "50.0%"):
    assert part in note
  assert _shown(figure).min() == 0
  assert grids.image_grid(_flat([0.0, 1.0]), [0, 0], _NAMES).get_supxlabel() == ""


@pytest.mark.parametrize(
  ("pixels", "classes", "message"),
  [
    (np.zeros((2, 4, 4, 2)), [0, 1], r"\(2, 4, 4, 2\)"),
    (np.zeros((0, 4, 4, 1)), [], "n > 0"),
    (np.zeros((2, 4, 4, 1)), [0], r"2 images have classes of shape \(1,\)"),
    (np.zeros((2, 4, 4, 1)), [0, 3], "0 to 3 do not fit 3"),
    (np.full((2, 4, 4, 1), np.nan), [0, 1], "32 pixel values are not finite"),
  ],
)
def test_refuses(pixels, classes, message):
  with pytest.raises(ValueError, match=message):
    grids.image_grid(pixels, classes, _NAMES)


def test_saved_as_png(tmp_path):
  figures.save_figure(grids.image_grid(_flat([0.1, 0.2]), [0, 1], _NAMES), tmp_path / "a" / "g.png")
  assert (tmp_path / "a" / "g.png").read_bytes().startswith(b"\x89PNG")


def test_class_names_are_no_formulas(tmp_path):
  pixels = np.random.default_rng(0).random((4, 8, 8, 3))
  names = ["$\\frac$", "<b>x</b>" * 20]
  for classes in ([0, 0, 1, 1], [0, 1, 1, 1]):
    figure = grids.image_grid(pixels, np.array(classes), names)
    figures.save_figure(figure, tmp_path / "a.png")
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == [r"\$\frac\$", ("<b>x</b>" * 5)[:39] + "…"]
  figure = grids.image_grid(pixels[:2], np.arange(2), names)
  figures.save_figure(figure, tmp_path / "a.png")


def test_a_picture_is_stored_by_a_palette_where_that_shows_the_same():
  from PIL import Image

  rng = np.random.default_rng(0)
  for channels, mode in ((1, "P"), (3, "RGB")):
    pixels = rng.random((10, 32, 32, channels)).astype(np.float32)
    png = figures.as_png(grids.image_grid(pixels, np.arange(10) % 3, _NAMES))
    with Image.open(io.BytesIO(png)) as image:
      assert image.mode == mode
