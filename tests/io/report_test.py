"""Reports as JSON, as a table on a terminal, and as a page."""

import html.parser
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from ddjax.io import comparisons, page, report
from ddjax.types import Report

_RUN = {
  "method": "kip",
  "dataset": "digits",
  "ipc": 10,
  "seed": 0,
  "num_replicas": 3,
  "num_steps": 300,
  "class_names": ["<zero>", "one"],
  "config": {"ridge": 1e-6},
  "versions": {"jax": "0.0"},
  "seconds": {"data": 0.5, "distill": 20.0},
  "estimates": {"seconds": {"distill": 30.0}, "flops": {"distill": 1e12}},
}


def _kernel(**changes):
  fields = dict(
    kind="kernel",
    scalars={
      "test_accuracy": np.float32(0.9875),
      "random_subset_accuracy": 0.922,
      "initial_accuracy": 0.915,
      "gain_over_random_test_accuracy": 0.0655,
      "gain_over_initial_test_accuracy": 0.001,
    },
    spread={"test_accuracy": 0.004},
    interval={
      "test_accuracy": [0.98, 0.99],
      "gain_over_random_test_accuracy": [0.05, 0.08],
      "gain_over_initial_test_accuracy": [-0.01, 0.02],
    },
    per_model={"test_accuracy": [0.98, 0.99]},
    per_class={"test_accuracy": [0.97, 1.0]},
    settings={"ridge": 1e-6, "interval_over": {"test_accuracy": "test images and replicas"}},
  )
  return Report(**(fields | changes))


class _Text(html.parser.HTMLParser):
  """Collects visible words, and checks that what is opened is closed."""

  def __init__(self, page):
    super().__init__()
    self.words, self.images, self._open = [], [], []
    self.feed(page)
    self.close()
    assert not self._open
    self.text = " ".join(" ".join(self.words).split())

  def handle_starttag(self, tag, attrs):
    if tag not in ("meta", "img"):
      self._open.append(tag)
    if tag == "img":
      self.images.append(dict(attrs))
    assert tag not in ("script", "link")

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    if self._open[-1:] != ["style"]:
      self.words.append(data)


def _write(tmp_path, reports, figures=None, run=_RUN):
  written = report.write_report(tmp_path, run, reports, figures)
  assert json.loads((tmp_path / "report.json").read_text()) == written
  return written, _Text((tmp_path / "report.html").read_text())


def test_json_has_the_layout_that_others_read():
  out = report.report_to_json(_RUN, {"kernel": _kernel()})
  assert out["run"] == _RUN
  assert out["reports"]["kernel"].keys() == set(Report._fields)
  assert out["reports"]["kernel"]["scalars"]["test_accuracy"] == pytest.approx(0.9875)
  json.dumps(out, allow_nan=False)


def test_a_figure_that_is_not_finite_becomes_null_with_its_reason():
  kernel = _kernel(
    scalars={"a": math.nan, "b": -math.inf, "c": None, "d": None},
    interval={"a": [0.0, math.nan]},
    settings={"not_measured": {"d": "too costly"}},
  )
  out = report.report_to_json({}, {"kernel": kernel})["reports"]["kernel"]
  assert out["scalars"] == dict.fromkeys("abcd")
  assert out["interval"] == {}
  reasons = out["settings"]["not_measured"]
  assert "nan" in reasons["a"] and "-inf" in reasons["b"] and reasons["c"]
  assert reasons["d"] == "too costly"


def test_comparisons_find_baselines_with_and_without_test():
  accuracy = _kernel(
    scalars={"convnet": 0.9, "random_subset_convnet": 0.8, "full_convnet": 0.99, "mlp": 0.7}
  )
  reports = report.report_to_json({}, {"kernel": _kernel(), "accuracy": accuracy})["reports"]
  kernel, convnet, mlp = comparisons.comparisons(reports)
  assert [level.label for level in kernel.baselines] == ["random subset", "step 0"]
  assert [gain.value for gain in kernel.gains] == [0.0655, 0.001]
  assert [(level.label, level.value) for level in convnet.baselines] == [
    ("random subset", 0.8),
    ("full set", 0.99),
  ]
  assert (mlp.key, mlp.baselines, mlp.gains) == ("mlp", [], [])


@pytest.mark.parametrize(
  ("interval", "words"),
  [
    ([0.01, 0.02], "higher than the random subset: the interval excludes zero"),
    ([-0.02, -0.01], "lower than the random subset: the interval excludes zero"),
    ([-0.01, 0.02], "no difference from the random subset shown: the interval includes zero"),
    ([0.0, 0.02], "no difference from the random subset shown: the interval includes zero"),
    (None, "+0.010 against the random subset, no interval"),
  ],
)
def test_gain_in_words(interval, words):
  assert comparisons.gain_in_words(comparisons.Level("random subset", 0.01, interval)) == words


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("worst_class_accuracy", "worst class accuracy"),
    ("pgd_linf_8_255", "PGD l∞ 8/255"),
    ("carlini_wagner_l2_128_255", "carlini wagner l2 128/255"),
    ("lira_tpr_at_0.1_percent_fpr", "LiRA TPR at 0.1 % FPR"),
    ("convnet(depth=2)", "convnet(depth=2)"),
  ],
)
def test_names_become_words(name, expected):
  assert comparisons.words(name) == expected


def test_summary_is_aligned():
  scalars = {"convnet": 0.5, "mlp": None}
  reports = {"kernel": _kernel(), "accuracy": _kernel(scalars=scalars, interval={})}
  lines = report.summary_text(report.report_to_json(_RUN, reports)).splitlines()
  assert lines[0] == "kip on digits, 10 images a class, seed 0, 3 distillations, 300 steps"
  header, kernel, convnet, mlp = lines[2:]
  assert kernel.split() == (
    "kernel test accuracy 0.988 [0.980, 0.990] 0.922 +0.066 [0.050, 0.080]".split()
  )
  assert kernel.index("0.988") + 5 == convnet.index("0.500") + 5 == header.index("value") + 5
  assert mlp.split() == ["accuracy", "MLP", "–"]


def test_page_shows_every_figure_and_is_self_contained(tmp_path):
  picture = tmp_path / "a.png"
  picture.write_bytes(b"\x89PNG picture")
  _, page = _write(tmp_path, {"kernel": _kernel()}, {"A caption": picture, "images": picture})
  for part in (
    "kip on digits",
    "0.988",
    "[0.980, 0.990]",
    "+0.066",
    "higher than the random subset: the interval excludes zero",
    "no difference from step 0 shown: the interval includes zero",
    "Intervals: test images and replicas.",
    "A caption",
    "Initial images, and what they became, in pixels",
    "<zero>",
    "jax 0.0",
    "distill 30 s 20 s",
    "stages with an estimate 30 s 20 s",
    "total – 20 s",
  ):
    assert part in page.text, part
  assert [image["src"][:22] for image in page.images] == ["data:image/png;base64,"] * 2


def test_a_cell_of_a_study_leads_to_its_page(tmp_path):
  link = 'href="../../study.html"'
  cell = tmp_path / "cells" / "kip-digits"
  cell.mkdir(parents=True)
  _write(cell, {"kernel": _kernel()})
  assert link not in (cell / "report.html").read_text()
  (tmp_path / "study.html").write_text("")
  _write(cell, {"kernel": _kernel()})
  assert link in (cell / "report.html").read_text()


def test_a_figure_has_its_finding_under_it_and_for_those_who_do_not_see_it(tmp_path):
  picture = tmp_path / "a.png"
  picture.write_bytes(b"\x89PNG picture")
  kernel = _kernel(settings={"confusion": [[8, 2], [0, 10]]})
  other = _kernel(settings={"confusion": [[10, 0], [0, 10]]})
  sets = {"a": {"kernel": kernel}, "b": {"kernel": other}}
  written = report.report_to_json(_RUN, {"kernel": kernel}, sets)
  shown = _Text(page.render(written, {"confusion": picture, "confusion of b": picture}))
  found = "20.0% of class <zero> are taken for class one."
  assert shown.images[0]["alt"].endswith(found) and found in shown.text
  assert shown.images[1]["alt"].endswith("No test image was taken for another class.")
  assert "How to read this" in shown.text


def test_page_names_what_was_not_measured(tmp_path):
  scalars = {"lira_auc": math.nan, "random_subset_lira_auc": 0.5, "loss_auc": 0.7}
  privacy = _kernel(
    scalars=scalars, interval={}, settings={"not_measured": {}, "headline": ["lira_auc"]}
  )
  _, page = _write(tmp_path, {"privacy": privacy})
  assert "Privacy LiRA AUC (less is better) – random subset" in page.text
  assert "not measured: the figure came out as nan" in page.text
  assert page.text.count("loss AUC") == 1  # in the table, and on no card


def test_page_of_almost_nothing(tmp_path):
  empty = Report("kernel", {}, {}, {}, {}, {}, {})
  _write(tmp_path, {"kernel": empty}, run={})
  _write(tmp_path, {}, run={})


def test_a_missing_figure_leaves_the_earlier_report(tmp_path):
  _write(tmp_path, {"kernel": _kernel()})
  before = (tmp_path / "report.json").read_bytes()
  with pytest.raises(FileNotFoundError):
    report.write_report(tmp_path, {}, {}, {"gone": tmp_path / "gone.png"})
  assert (tmp_path / "report.json").read_bytes() == before


def test_heavy_libraries_wait_for_their_use():
  program = (
    "import sys, ddjax.io.report, ddjax.plots.grids, ddjax.plots.curves, ddjax.plots.ablation,"
    " ddjax.plots.confusion, ddjax.training.metrics, ddjax.training.progress\n"
    "print(sorted({'matplotlib', 'jinja2', 'tensorboardX', 'tensorflow', 'sklearn'}"
    " & set(sys.modules)))"
  )
  out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  assert out.stdout == "[]\n"


def test_checks_and_exact_rates_of_every_set_are_in_sight(tmp_path):
  def privacy(label):
    return _kernel(
      kind="privacy",
      per_class={"auc": [0.1, 0.2], "random_subset_auc": [0.3, 0.4]},
      settings={
        "checks": [f"{label} was left out."],
        "amplified": {"gap": {"full": label}},
        "clopper_pearson": {"lira_tpr": [0.0, 0.125], "random_subset_lira_tpr": [0.0, 0.375]},
        "long": "x" * 1000,
      },
    )

  first, second = {"privacy": privacy("lira")}, {"privacy": privacy("loss")}
  sets = {"mine": first, "theirs": second}
  written = report.write_report(tmp_path, _RUN, first, None, sets)
  text = _Text((tmp_path / "report.html").read_text()).text
  assert "lira was left out." in text and "theirs: loss was left out." in text
  assert "theirs: gap: unfairness full loss" in text
  exact = "Exact intervals (Clopper, Pearson): LiRA TPR [0.000, 0.125]."
  assert f"theirs: {exact}" in text and text.count(exact) == 2
  assert "AUC of theirs" in text and "x" * 1000 not in text
  lines = report.summary_text(written).splitlines()
  assert lines.index("mine") < lines.index("privacy: lira was left out.")
  assert lines.index("theirs") < lines.index("privacy: loss was left out.")


def test_times_say_what_is_not_known_and_what_compilation_took():
  run = {
    "seconds": {"data": 1.0, "distill": 20.0},
    "estimates": {"seconds": {"data": 1.0, "distill": 15.0, "compilation": 6.0}},
    "compilation": {"seconds": 3.0, "tracing_seconds": 1.0},
  }
  assert page._times(run)[2:] == [
    ("total", "16 s", "21 s"),
    ("compilation, in the above", "6.0 s", "4.0 s"),
  ]
  run["estimates"]["seconds"]["distill"] = None  # where a backend could not count
  assert page._times(run)[1:4] == [
    ("distill", "–", "20 s"),
    ("stages with an estimate", "1.0 s", "1.0 s"),
    ("total", "–", "21 s"),
  ]


def test_sentences_are_joined_by_spaces_and_words_by_commas():
  assert page._plain(["Channels came first.", "Labels are taken as centred."]) == (
    "Channels came first. Labels are taken as centred."
  )
  assert page._plain(["loss", "entropy"]) == "loss, entropy" and page._plain([]) == "none"


def test_the_worst_class_has_its_name(tmp_path):
  settings = {"worst_class": {"worst_class_accuracy": 0, "full_worst_class_accuracy": 1}}
  written = report.report_to_json(_RUN, {"fairness": _kernel(kind="fairness", settings=settings)})
  shown = _Text(page.render(written, {})).text
  assert "worst class accuracy <zero>" in shown and "full worst class accuracy one" in shown
  assert written["reports"]["fairness"]["settings"]["worst_class"] == settings["worst_class"]


def _sets():
  """Two sets of which the second alone has a kernel, each with networks."""

  def accuracy(value, interval, over_random):
    return _kernel(
      kind="accuracy",
      scalars={
        "mlp": value,
        "random_subset_mlp": 0.5,
        "gain_over_random_mlp": over_random,
        "relative_mlp": None,
      },
      interval={"mlp": interval, "random_subset_mlp": [0.45, 0.55]},
      per_class={"mlp": [value, value]},
      settings={"headline": ["mlp"], "not_measured": {"relative_mlp": "no full set"}},
    )

  first = {"accuracy": accuracy(0.75, [0.7, 0.8], 0.25)}
  second = {"kernel": _kernel(), "accuracy": accuracy(0.625, [0.6, 0.65], 0.125)}
  facts = {"sets": {"dm-1": {"method": "dm"}, "kip-1": {"method": "kip"}}, "method": "dm, kip"}
  return first, {"dm-1": first, "kip-1": second}, _RUN | facts


def test_sets_side_by_side_have_their_names_and_differences(tmp_path):
  first, sets, run = _sets()
  picture = tmp_path / "a.png"
  picture.write_bytes(b"\x89PNG picture")
  names = {"set_images of dm-1": picture, "set_images of kip-1": picture}
  written = report.write_report(tmp_path, run, first, names, sets)
  shown = _Text((tmp_path / "report.html").read_text()).text
  half = math.hypot(0.05, 0.025)
  interval = comparisons.format_interval([-0.125 - half, -0.125 + half])
  for part in (
    "dm-1 beside kip-1, on digits",
    "MLP dm-1 0.750 kip-1 0.625 random subset 0.500",  # a card: the subsets are the same
    f"−0.125 {interval} kip-1: lower than dm-1: the interval excludes zero",
    "+0.250 dm-1: +0.250 against the random subset, no interval",
    "figure dm-1 95 % interval std models kip-1 random subset",
    f"0.625 [0.600, 0.650] difference −0.125 {interval} gain over random +0.125",
    "Kernel ridge regression How to read this",
    "figure kip-1 95 % interval",
    "The images of the set, in pixels: kip-1.",
  ):
    assert part in shown, part
  lines = report.summary_text(written).splitlines()
  assert lines[0] == "dm-1 beside kip-1, on digits" and lines[-1] == "2 more figures in the report."
  assert not any("relative" in line for line in lines)
