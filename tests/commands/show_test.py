"""What `ddjax show` says of a run, of a folder of runs, and of a folder that is not there."""

import pytest

from ddjax.commands import show
from tests.overview.made_runs import make_run, make_study, report_of


def test_a_run_with_its_figures_and_files(tmp_path):
  folder = make_run(tmp_path / "kip", 9e8, report_of(), steps=20)
  (folder / "distilled").mkdir()
  (folder / "distilled" / "distilled.npz").write_bytes(bytes(2345))
  (folder / "notes.txt").write_text("mine")
  lines = show.text(str(folder)).splitlines()
  assert lines[0] == "kip on digits, 10 images a class, seed 3, 20 steps"
  assert lines[1].startswith("State: finished; last at work ")
  assert "Time: 3.0 s (data 1.0 s, distill 2.0 s)" in lines and "Hardware: 1 x cpu" in lines
  figure = next(line for line in lines if line.startswith("accuracy ConvNet"))
  assert figure.split()[2:5] == ["0.875", "[0.800,", "0.950]"]
  assert any(line.split()[:3] == ["distilled/", "2.3", "kB"] for line in lines)
  assert f'ddjax.load("{folder}")' in "\n".join(lines)
  assert lines[-1].split() == ["notes.txt", "4", "B"]  # what has no explanation comes last


def test_a_run_that_is_not_finished_says_how_to_go_on(tmp_path):
  said = show.text(str(make_run(tmp_path / "kip", 9e8, steps=7)))
  assert "State: unfinished (step 7 of 20)" in said
  assert "The command that began it goes on where it was left." in said and "Time:" not in said


def test_a_damaged_run_is_shown_all_the_same(tmp_path):
  folder = make_run(tmp_path / "kip", 9e8, report_of())
  (folder / "report.json").write_text("{")
  said = show.text(str(folder))
  assert (
    said.startswith("kip\nState: damaged (report.json cannot be read") and "config.json" in said
  )


def test_a_folder_of_runs_is_a_table_and_gets_its_page(tmp_path):
  make_run(tmp_path / "kip", 9e8, report_of())
  make_run(tmp_path / "dm", 8e8, method="dm")
  make_study(tmp_path / "study", 7e8, done=1)
  lines = show.text(str(tmp_path)).splitlines()
  assert lines[0] == "3 runs: 2 finished, 1 unfinished."
  assert lines[2].split()[:5] == ["run", "method", "data", "ipc", "accuracy"]
  assert lines[3].split()[:7] == ["kip", "kip", "digits", "10", "0.875", "ConvNet", "[0.800,"]
  assert lines[4].startswith("dm ") and lines[4].endswith("unfinished (step 0 of 20)")
  assert lines[-1] == f"Page: {tmp_path / 'index.html'}" and (tmp_path / "index.csv").exists()


def test_a_page_of_somebody_else_is_left_alone(tmp_path):
  make_run(tmp_path / "kip", 9e8)
  (tmp_path / "index.html").write_text("mine")
  assert show.folder_text(str(tmp_path)).endswith("index.html is another page; it stays.")
  assert (tmp_path / "index.html").read_text() == "mine"


@pytest.mark.parametrize(
  "name, sentence",
  [
    ("kip-digts", "There is no folder '.*kip-digts'. Did you mean 'kip-digits'?"),
    ("zzz", "There is no folder '.*zzz'. Beside it are empty, kip-digits."),
    ("empty", "empty is no run folder, and no run lies below it."),
    ("kip-digits/config.json", "config.json is a file. Name the run folder that it lies in."),
    ("no/where", "There is no folder '.*no/where'.$"),
  ],
)
def test_another_place_is_refused_in_one_sentence(tmp_path, name, sentence):
  make_run(tmp_path / "kip-digits", 9e8)
  (tmp_path / "empty").mkdir()
  with pytest.raises(FileNotFoundError, match=sentence):
    show.text(str(tmp_path / name))


@pytest.mark.parametrize(
  "size, text",
  [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12345, "12 kB"), (999_600, "1.0 MB"),
   (3_200_000_000, "3.2 GB")],
)  # fmt: skip
def test_sizes_in_words(size, text):
  assert show.size_text(size) == text
