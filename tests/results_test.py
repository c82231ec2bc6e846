"""What the Python interface hands out: as tables, as pictures, and as a notebook shows it."""

from html.parser import HTMLParser
import pathlib
import sys

import jax
import numpy as np
import pytest

import ddjax
from ddjax import types
from ddjax.data.preprocess import Preprocessing
from ddjax.io.report import report_to_json
from ddjax.results import DistilledSet, Report, Reports, Result
from ddjax.tasks.task import Outcome

_RUN = {"method": "kip", "dataset": "<digits>", "ipc": 2, "seed": 0, "num_steps": 20}


def _report(kind="accuracy", **changes):
  fields = dict(
    kind=kind,
    scalars={"convnet": 0.9, "random_subset_convnet": 0.5, "gain_over_random_convnet": 0.4,
             "mlp": None},
    spread={"convnet": 0.02},
    interval={"convnet": [0.85, 0.95], "gain_over_random_convnet": [0.3, 0.5]},
    per_model={"convnet": [0.88, 0.92]},
    per_class={},
    settings={"not_measured": {"mlp": "no time"}, "checks": ["Mind the <gap>."]},
  )  # fmt: skip
  return Report(**(fields | changes))


def _result(reports=None, sets=()):
  reports = {"accuracy": _report()} if reports is None else reports
  report = report_to_json(_RUN, reports, dict(sets))
  return Result(pathlib.Path("runs/kip"), report, "the summary")


def _set(**info):
  images = np.linspace(-1, 1, 4 * 16, dtype=np.float32).reshape(4, 4, 4, 1)
  labels = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]], np.float32)
  known = {"method": "kip", "dataset": "digits", "ipc": 2, "seed": 0, "step": 20}
  known |= {"label_kind": "probabilities", "preprocessing": Preprocessing()}
  return DistilledSet(images, labels, known | info)


class _Words(HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.words, self.images, self.links, self._open = [], [], [], []
    self.feed(text)
    assert not self._open
    self.text = " ".join(" ".join(self.words).split())

  def handle_starttag(self, tag, attrs):
    assert tag not in ("script", "style", "gap", "digits")
    if tag == "img":
      self.images.append(dict(attrs))
    else:
      self._open.append(tag)
    if tag == "a":
      self.links.append(dict(attrs)["href"])

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.words.append(data)


def test_they_are_the_nouns_of_the_project():
  assert issubclass(Result, Outcome) and issubclass(Report, types.Report)
  assert ddjax.Result is Result and ddjax.Report is Report and ddjax.DistilledSet is DistilledSet
  report = _report()
  assert report == types.Report(*report) and report._replace(kind="x").to_pandas().shape == (4, 8)
  one = _set()
  doubled = jax.tree.map(lambda leaf: 2 * leaf, one)
  assert isinstance(doubled, DistilledSet) and doubled.info is one.info
  assert isinstance(one.replace(labels=one.labels[:, ::-1]), DistilledSet)


def test_a_table_has_a_row_for_every_figure_and_baseline():
  frame = _result().to_pandas()
  assert list(frame.columns) == [
    "report", "figure", "of", "value", "low", "high", "std", "num_models",
  ]  # fmt: skip
  convnet = frame[frame.figure == "convnet"].set_index("of")
  assert list(convnet.index) == ["distilled", "random subset", "gain over random subset"]
  assert list(convnet.loc["distilled"]) == ["accuracy", "convnet", 0.9, 0.85, 0.95, 0.02, 2]
  assert convnet.loc["gain over random subset", "low"] == 0.3
  assert frame[frame.figure == "mlp"].value.isna().all()
  assert _report().to_pandas().equals(Reports(accuracy=_report()).to_pandas())


def test_several_sets_have_a_column():
  both = {"ours": {"accuracy": _report()}, "theirs": {"accuracy": _report(scalars={"mlp": 0.1})}}
  result = _result(sets=both)
  assert list(result.to_pandas()["set"]) == ["ours"] * 4 + ["theirs"]
  text = _Words(result._repr_html_()).text
  assert "ours figure" in text and "theirs figure" in text


def test_a_study_is_a_table_of_its_cells():
  cells = [
    {"name": "a", "role": "method", "state": "done", "factors": {"method": "kip", "ipc": 1},
     "seconds": 3.0, "figures": [["accuracy", "mlp", 0.5, 0.4, 0.6, 3]]},
    {"name": "b", "role": "method", "state": "waiting", "factors": {"method": "dm", "ipc": 1},
     "seconds": None, "figures": []},
  ]  # fmt: skip
  sections = [{"question": "Who <is> best?", "answer": "Nobody."}]
  study = {"title": "A study", "progress": "1 of 2", "cells": cells, "sections": sections}
  result = Result(pathlib.Path("runs/study"), study, "")
  frame = result.to_pandas()
  assert list(frame.method) == ["kip", "dm"] and list(frame.state) == ["done", "waiting"]
  assert frame.value[0] == 0.5 and np.isnan(frame.value[1]) and frame.seconds[0] == 3.0
  shown = _Words(result._repr_html_())
  assert shown.text.startswith("A study 1 of 2 Who <is> best? Nobody.")
  assert shown.links == ["runs/study/study.html"]
  with pytest.raises(ValueError, match="pictures of its own: see runs/study/study.html"):
    result.plot()


def test_a_run_without_a_report_says_so():
  result = Result(pathlib.Path("runs/pack"), None, "digits: <all>")
  assert _Words(result._repr_html_()).text == "digits: <all>"
  for method in (result.plot, result.to_pandas):
    with pytest.raises(ValueError, match="The run in runs/pack makes no report"):
      method()


def test_a_notebook_shows_figures_with_their_intervals():
  shown = _Words(_result()._repr_html_())
  assert shown.text.startswith("kip on <digits>, 2 images a class, seed 0, 20 steps figure")
  row = "accuracy: ConvNet 0.900 [0.850, 0.950] 0.500 +0.400 [0.300, 0.500]"
  assert row in shown.text and "accuracy: MLP –" in shown.text
  assert "accuracy: Mind the <gap>." in shown.text and shown.links == ["runs/kip/report.html"]
  assert _Words(_report()._repr_html_()).text.startswith("accuracy figure distilled 95 % interval")
  assert row in _Words(Reports(accuracy=_report())._repr_html_()).text


def test_a_terminal_shows_a_table_and_no_arrays():
  assert repr(_result()) == "the summary"
  assert repr(Result(pathlib.Path("runs/pack"), None, "")) == "a run in runs/pack"
  head, convnet, _, check = repr(_report()).splitlines()
  assert head.split() == "figure value 95 % interval random subset gain over random".split()
  assert (
    convnet.split() == "accuracy ConvNet 0.900 [0.850, 0.950] 0.500 +0.400 [0.300, 0.500]".split()
  )
  assert check == "accuracy: Mind the <gap>."
  assert repr(Reports(accuracy=_report())) == repr(_report())
  assert repr(_set()) == (
    "kip on digits, 2 images a class, seed 0, 20 steps: images 4 of 4x4x1, classes 2, "
    "labels probabilities, preprocessing none"
  )
  assert repr(jax.tree.map(lambda leaf: None, _set())) == "DistilledSet(images=None, labels=None)"


def test_pictures_show_what_stands_for_a_report_or_what_is_named():
  axes = _result().plot().axes
  assert [ax.get_title(loc="left") for ax in axes] == ["ConvNet"]
  assert [label.get_text() for label in axes[0].get_yticklabels()] == ["distilled", "random subset"]
  both = Reports(accuracy=_report(), kernel=_report("kernel", scalars={"test_accuracy": 0.5}))
  titles = [ax.get_title(loc="left") for ax in both.plot("test_accuracy").axes]
  assert titles == ["kernel: test accuracy"]
  assert len(both.plot().axes) == 2
  with pytest.raises(ValueError, match="Unknown figure 'convet'. Did you mean 'convnet'"):
    _report().plot("convet")
  with pytest.raises(ValueError, match="nothing to draw"):
    _report().plot("mlp")


def test_the_labels_of_a_set_as_a_table():
  frame = _set(class_names=["cat", "dog"]).to_pandas()
  assert list(frame["class"]) == ["cat", "cat", "dog", "dog"] and frame.index.name == "image"
  np.testing.assert_allclose(frame["label of dog"], [0.1, 0.2, 0.7, 0.9])
  assert list(_set().to_pandas()["class"]) == ["0", "0", "1", "1"]
  assert _set(class_names=["one of other length"]).class_names() == ["0", "1"]


def test_the_images_of_a_set_are_drawn_in_pixels():
  figure = _set(class_names=["cat", "dog"]).plot()
  (ax,) = figure.axes
  assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
  mosaic = np.asarray(ax.images[0].get_array())
  pixels = np.clip(np.linspace(-1, 1, 64).reshape(4, 4, 4), 0, 1)
  np.testing.assert_allclose(mosaic[1:5, :4, 0], pixels[0], atol=1e-6)
  np.testing.assert_allclose(mosaic[6:10, 5:9, 0], pixels[3], atol=1e-6)
  with pytest.raises(ValueError, match="no preprocessing"):
    DistilledSet(figure, np.ones((1, 2))).plot()


def test_a_notebook_shows_a_set_with_its_images():
  shown = _Words(_set()._repr_html_())
  assert shown.text == (
    "kip on digits, 2 images a class, seed 0, 20 steps images 4 of 4x4x1 classes 2 "
    "labels probabilities preprocessing none"
  )
  (image,) = shown.images
  assert image["alt"] == "4 distilled images by class"
  assert image["src"].startswith("data:image/png;base64,iVBOR")
  bare = _Words(_set(preprocessing=None)._repr_html_())
  assert not bare.images and "No picture: The set has no preprocessing" in bare.text


def test_pandas_is_asked_for_by_name(monkeypatch):
  monkeypatch.setitem(sys.modules, "pandas", None)
  for one in (_result(), _report(), Reports(accuracy=_report()), _set()):
    with pytest.raises(ImportError, match="to_pandas\\(\\) needs pandas: pip install pandas"):
      one.to_pandas()
