"""The page and the table of a folder of runs."""

import csv
from html.parser import HTMLParser
import json
import logging
import threading

import pytest

from ddjax.files.atomic import OutputError
from ddjax.overview import page
from ddjax.overview.runs import Run
from tests.overview.made_runs import make_run, make_study, report_of


class _Parsed(HTMLParser):
  """Words, links, and that what is opened is closed."""

  def __init__(self, text):
    super().__init__()
    self.words, self.links, self._open = [], [], []
    self.feed(text)
    assert not self._open

  def handle_starttag(self, tag, attrs):
    assert tag != "script"
    if tag not in ("meta", "link"):
      self._open.append(tag)
    if tag == "a":
      self.links.append(dict(attrs)["href"])

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    if self._open[-1:] != ["style"]:
      self.words += data.split()


@pytest.fixture
def folder(tmp_path):
  runs = tmp_path / "runs"
  make_run(runs / "kip <b>&", 9e8, report_of())
  make_run(runs / "dm", 8e8, steps=5, method="dm", outer={"num_steps": 9, "learning_rate": 0.5})
  make_study(runs / "study", 7e8, done=2)
  return runs


def test_the_page_lists_every_run_with_its_figures(folder):
  assert page.write_index(folder) == folder / "index.html"
  text = (folder / "index.html").read_text()
  shown = _Parsed(text)
  words = " ".join(shown.words)
  assert "3 runs: 2 finished, 1 unfinished." in words
  assert "kip <b>& kip on digits, 10 images a class, seed 3, 20 steps kip digits 10 0.875 " in words
  assert "0.875 [0.800, 0.950] ConvNet" in words and "unfinished step 5 of 9" in words
  assert "2 cells: 2 done" in words
  assert shown.links == [
    "index.csv", "kip%20%3Cb%3E%26/report.html", "dm/", "study/study.html",
  ]  # fmt: skip
  assert "prefers-color-scheme: dark" in text and "http" not in text


def test_the_table_has_a_row_a_figure_and_the_settings_that_differ(folder):
  page.write_index(folder)
  with (folder / "index.csv").open() as file:
    kip, dm, study = csv.DictReader(file)
  assert (kip["run"], kip["figure"], kip["value"], kip["low"]) == (
    "kip <b>&", "ConvNet", "0.875", "0.8",
  )  # fmt: skip
  assert (kip["outer.learning_rate"], dm["outer.learning_rate"]) == ("0.1", "0.5")
  assert (dm["state"], dm["value"], study["task"]) == ("unfinished", "", "study")
  assert "data.name" not in kip  # the same everywhere


def test_a_folder_without_runs(tmp_path):
  page.write_index(tmp_path)
  assert "No run lies here yet." in " ".join(_Parsed((tmp_path / "index.html").read_text()).words)


def test_another_page_stays_as_it_is(folder, caplog):
  (folder / "index.html").write_text("<html>mine</html>")
  assert page.write_index(folder) is None
  assert (folder / "index.html").read_text() == "<html>mine</html>"
  assert "is no page of ddjax" in caplog.text


@pytest.mark.parametrize("name, is_wanted", [("runs", True), ("work", False)])
def test_it_is_written_after_a_run_where_runs_are_kept(tmp_path, name, is_wanted):
  run = make_run(tmp_path / name / "kip", 9e8)
  with page.listed(run):
    pass
  assert (tmp_path / name / "index.html").exists() == is_wanted
  with page.listed(run, is_writer=False):
    (tmp_path / name / "index.html").unlink(missing_ok=True)
  assert not (tmp_path / name / "index.html").exists()


def test_a_page_that_is_there_is_kept_up_anywhere(tmp_path):
  make_run(tmp_path / "work" / "one", 9e8)
  page.write_index(tmp_path / "work")
  with pytest.raises(KeyboardInterrupt), page.listed(tmp_path / "work" / "two"):
    make_run(tmp_path / "work" / "two", 9e8, steps=3)
    raise KeyboardInterrupt
  assert "step 3 of 20" in (tmp_path / "work" / "index.html").read_text()


@pytest.mark.parametrize("error", [OutputError("the disk is full"), ZeroDivisionError("oh")])
def test_what_goes_wrong_is_a_warning(folder, monkeypatch, caplog, error):
  def fail(_):
    raise error

  monkeypatch.setattr(page, "write_index", fail)
  with caplog.at_level(logging.WARNING), page.listed(folder / "dm"):
    pass
  assert f"could not be written ({type(error).__name__}: {error})" in caplog.text


def test_a_run_that_left_nothing_is_not_listed(tmp_path):
  with page.listed(tmp_path / "runs" / "gone"):
    pass
  assert not (tmp_path / "runs").exists()


def test_several_may_write_at_once(folder):
  threads = [threading.Thread(target=page.write_index, args=(folder,)) for _ in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  _Parsed((folder / "index.html").read_text())
  assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
  "task, method, words",
  [("distill", "dm", "dm"), ("evaluate", "dm", "evaluate dm"), ("full_set", "full set", "full set"),
   ("pack", "pack", "pack"), ("evaluate", "", "evaluate")],
)  # fmt: skip
def test_what_a_run_did_in_a_word(tmp_path, task, method, words):
  assert page.what(Run(tmp_path, "", task, method)) == words


def test_a_run_writes_the_page_of_its_folder(tmp_path, monkeypatch):
  from ddjax.api import get_config
  from ddjax.tasks.start import start

  monkeypatch.chdir(tmp_path)
  config = get_config("kip:fake,ipc=2,smoke")
  config.update(dict(num_devices=1, evaluators=("kernel",)))
  config.trainer.tensorboard = False
  start(config)
  (run,) = page.read_runs("runs")
  assert run.state == "finished" and run.path.name == "kip-fake-ipc2-smoke-seed0"
  value = json.loads((run.path / "report.json").read_text())["reports"]["kernel"]["scalars"]
  assert f"{value['test_accuracy']:.3f}" in (tmp_path / "runs" / "index.html").read_text()
