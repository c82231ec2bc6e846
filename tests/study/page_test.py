"""The files of a study: whole, escaped, self-contained, and of any part of a study."""

import csv
from html.parser import HTMLParser
import io
import json
import shutil
import subprocess

import pytest

from ddjax.study import page, summary
from tests.study import made


@pytest.fixture(scope="module")
def study():
  return summary.summarise(made.study(), made.CONFIG)


@pytest.fixture(scope="module")
def folder(study, tmp_path_factory):
  folder = tmp_path_factory.mktemp("study")
  page.write(folder, study)
  return folder


class _Reader(HTMLParser):
  """Collects tags with their attributes."""

  def __init__(self, text):
    super().__init__()
    self.tags = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))


def test_every_file_is_written_and_small(study, folder):
  pictures = sum(len(one["figures"]) for one in study["sections"])
  assert len(list((folder / "figures").glob("*.png"))) == pictures == 9
  assert json.loads((folder / "study.json").read_text()) == study
  whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
  assert whole < 5e6


def test_the_page_is_self_contained_and_has_alt_texts(folder):
  text = (folder / "study.html").read_text()
  tags = _Reader(text).tags
  images = [attrs for tag, attrs in tags if tag == "img"]
  assert len(images) == 9
  assert all(one["src"].startswith("data:image/png;base64,") and one["alt"] for one in images)
  assert not [tag for tag, _ in tags if tag in ("script", "iframe", "object")]
  assert all(attrs["href"].startswith(("data:", "#")) for _, attrs in tags if attrs.get("href"))
  assert "[[" not in text


def test_names_and_errors_are_escaped(folder):
  text = (folder / "study.html").read_text()
  assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_what_is_not_done_is_told(folder):
  text = (folder / "study.html").read_text()
  assert "estimated at 25 h 00 min" in text
  assert "expected to take 2 min 00 s" in text
  assert "NonFiniteLossError: the loss at step 3 is nan" in text


def test_the_csv_has_a_row_for_each_cell_and_figure(study, folder):
  rows = list(csv.DictReader(io.StringIO((folder / "study.csv").read_text())))
  counts = [len(cell["figures"]) or 1 for cell in study["cells"]]
  assert len(rows) == sum(counts)
  row = next(row for row in rows if row["method"] == "kip" and row["axis"] == "accuracy")
  assert (row["figure"], row["num_models"], row["seconds"]) == (made.NETWORK, "5", "100")
  assert float(row["low"]) < float(row["value"]) < float(row["high"])
  assert {row["state"] for row in rows} == {"done", "failed", "too dear", "waiting"}


def test_cells_of_several_versions_of_the_code_are_told(tmp_path):
  records = [made.record(reports={}, seed=seed)._replace(code=f"1.0+{seed}") for seed in (0, 1)]
  study = summary.summarise(records, {})
  page.write(tmp_path, study)
  text = (tmp_path / "study.html").read_text()
  assert "several versions of the code" in text and "1.0+0 (1 cell); 1.0+1 (1 cell)" in text
  assert "<td><code>1.0+1</code></td>" in text
  rows = list(csv.DictReader(io.StringIO((tmp_path / "study.csv").read_text())))
  assert [row["code"] for row in rows] == ["1.0+0", "1.0+1"]
  assert "several versions" not in page.render(summary.summarise(records[:1], {}), {})


def test_a_cell_whose_report_lies_beside_the_page_is_a_link(study, tmp_path):
  first, second = (cell["name"] for cell in study["cells"][:2])
  report = tmp_path / "cells" / first / "report.html"
  report.parent.mkdir(parents=True)
  report.write_text("")
  page.write(tmp_path, study)
  text = (tmp_path / "study.html").read_text()
  assert f'<a href="cells/{first}/report.html"><code>{first}</code></a>' in text
  assert f"cells/{second}/report.html" not in text


@pytest.mark.parametrize("records", [[], [made.record(state="running")]])
def test_a_study_that_has_just_begun(tmp_path, records):
  paths = page.write(tmp_path, summary.summarise(records, {}))
  assert [path.name for path in paths] == ["study.csv", "study.html", "study.json"]
  assert "Nothing of this is measured yet." in (tmp_path / "study.html").read_text()


def test_every_kind_of_figure_can_be_drawn(study, tmp_path):
  other = summary.summarise(made.transfer(), {"preset": "kernels"})
  kinds = {one["kind"] for s in (study, other) for part in s["sections"] for one in part["figures"]}
  assert kinds == set(page.DRAWINGS)
  assert "transfer-figure.png" in [path.name for path in page.write(tmp_path, other)]


def test_a_figure_that_fails_leaves_the_page(tmp_path, study, monkeypatch):
  def fail(data):
    raise RuntimeError("no ink")

  monkeypatch.setitem(page.DRAWINGS, "pareto", fail)
  paths = page.write(tmp_path, study)
  assert "pareto.png" not in [path.name for path in paths]
  assert len([tag for tag, _ in _Reader((tmp_path / "study.html").read_text()).tags
              if tag == "img"]) == 8  # fmt: skip


@pytest.mark.parametrize(
  "value, kind, main, soft",
  [
    (None, "number", "–", ""),
    (0.5, "number", "0.500", ""),
    ({"value": 0.5, "low": 0.4, "high": 0.6}, "number", "0.500", "[0.400, 0.600]"),
    ({"value": -0.5, "low": None, "high": None}, "signed", "−0.500", ""),
    ({"value": 20.4, "low": 10.0, "high": "more than 90"}, "size", "20", "[10, more than 90]"),
    ({"rank": 1, "probability": 0.987}, "rank", "1", "(0.99)"),
    (2.5e12, "flops", "2.5 TFLOP", ""),
    (90.0, "seconds", "1 min 30 s", ""),
    (0.0004, "p", "< 0.001", ""),
    (3, "count", "3", ""),
    ("[[a]]", "text", "Table 7", ""),
    ("[[a]], [[gone]]", "text", "Table 7", ""),
    ("[[gone]]", "text", "–", ""),
    ("x", "text", "x", ""),
  ],
)
def test_cells_of_tables(value, kind, main, soft):
  assert page.cell_text(value, kind, {"a": "Table 7"}) == {"main": main, "soft": soft}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [1280, 400])
def test_no_overflow_and_no_error_in_a_browser(folder, tmp_path, width):
  text = (folder / "study.html").read_text()
  script = (
    f'<iframe id="f" style="width:{width}px;height:800px" src="page.html"></iframe><script>'
    "window.onload = () => { const page = document.getElementById('f').contentDocument;"
    "const root = page.documentElement; let cut = 0;"
    "for (const box of page.querySelectorAll('.wide:has(table)'))"
    " if (box.scrollWidth > box.clientWidth) cut += 1;"
    "document.title = [root.scrollWidth, root.clientWidth, cut].join(' of '); };</script>"
  )
  (tmp_path / "page.html").write_text(text)
  (tmp_path / "frame.html").write_text(f"<!doctype html><title></title>{script}")
  command = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
    "--enable-logging=stderr", "--window-size=1400,900", "--virtual-time-budget=5000",
    "--dump-dom", f"file://{tmp_path}/frame.html",
  ]  # fmt: skip
  ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
  found, allowed, num_cut = map(
    int, ran.stdout.split("<title>")[1].split("</title>")[0].split(" of ")
  )
  assert found <= allowed <= width
  assert width < 1280 or num_cut == 0  # narrower pages scroll their tables
  assert "CONSOLE" not in ran.stderr
