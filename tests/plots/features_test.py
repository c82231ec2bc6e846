"""The pictures hold every point in the colour of its class, and the numbers of every class."""

import numpy as np

from ddjax.plots import features, figures
from ddjax.types import Report

CLASSES = {"real": [0, 0, 1, 1], "distilled": [0, 1], "random_subset": [1, 0]}


def _report(num_classes=2):
  rng = np.random.default_rng(0)
  coordinates = {
    kind: {name: rng.normal(size=(len(of), 2)).tolist() for name, of in CLASSES.items()}
    for kind in ("pca", "tsne")
  }
  per_class = {
    "distance": [1.5, 0.5] + [None] * (num_classes - 2),
    "p_value": [0.001, 0.4] + [None] * (num_classes - 2),
    "random_subset_distance": [0.3] * num_classes,
    "random_subset_p_value": [0.8] * num_classes,
  }
  settings = {"coordinates": coordinates, "classes": CLASSES, "explained_variance": [0.6, 0.2]}
  return Report("features", {}, {}, {}, {}, per_class, settings)


def test_points_and_numbers(tmp_path):
  report = _report()
  figure = features.draw(report, ["cat", "dog"])["features"]
  pca, tsne, numbers = figure.axes
  for axes, kind in ((pca, "pca"), (tsne, "tsne")):
    for points, name in zip(axes.collections, ("real", "random_subset", "distilled"), strict=True):
      np.testing.assert_allclose(points.get_offsets(), report.settings["coordinates"][kind][name])
  colours = pca.collections[2].get_facecolors()
  real = pca.collections[0].get_facecolors()
  np.testing.assert_allclose(colours[0, :3], real[0, :3])
  np.testing.assert_allclose(colours[1, :3], real[2, :3])
  np.testing.assert_allclose(numbers.collections[1].get_offsets()[:, 0], [1.5, 0.5])
  assert [text.get_text() for text in numbers.texts] == ["p .800", "p .800", "p .001", "p .400"]
  assert [text.get_text() for text in numbers.get_yticklabels()] == ["cat", "dog"]
  figures.save_figure(figure, tmp_path / "features.png")


def test_many_classes_have_no_names():
  numbers = features.draw(_report(30), [f"c{i}" for i in range(30)])["features"].axes[2]
  assert not numbers.texts and not numbers.get_yticklabels()


def test_nothing_is_drawn_where_nothing_was_measured():
  assert features.draw(Report("features", {}, {}, {}, {}, {}, {}), "ab") == {}
