"""Names of configs that ddjax carries, paths of others, and what is said of wrong ones."""

import pathlib
import subprocess
import sys

import pytest

from ddjax.api import get_config
from ddjax.config import find
from ddjax.config.compare import plain

ROOT = pathlib.Path(__file__).parents[2]


def test_a_name_is_a_file_that_ddjax_carries_wherever_one_stands(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert find.find_config("kip:cifar10,ipc=10") == f"{ROOT / 'configs' / 'kip.py'}:cifar10,ipc=10"
  assert find.find_config("kip") == str(ROOT / "configs" / "kip.py")
  config = get_config("kip:mnist,ipc=1")
  assert config.method == "kip" and config.data.name == "mnist" and config.synthetic.ipc == 1


def test_all_files_are_carried():
  assert {path.name for path in find.carried().values()} == {
    path.name for path in (ROOT / "configs").glob("*.py")
  }
  lines = {name: find.first_line(path) for name, path in find.carried().items()}
  assert lines["kip"].startswith("KIP: distilled sets")
  assert all(len(line) > 20 for line in lines.values())


def test_in_an_installed_package_they_lie_inside(tmp_path, monkeypatch):
  (tmp_path / "ddjax" / "configs").mkdir(parents=True)
  (tmp_path / "ddjax" / "configs" / "mine.py").write_text('"""My line."""\n')
  monkeypatch.setattr(find.ddjax, "__file__", str(tmp_path / "ddjax" / "__init__.py"))
  assert find.carried() == {"mine": (tmp_path / "ddjax" / "configs" / "mine.py").resolve()}


def test_a_path_stays_as_it_is(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "kip.py").write_text("")
  for text in ("kip.py", "kip.py:digits", f"{tmp_path}/kip.py:digits,ipc=1"):
    assert find.find_config(text) == text
  assert find.find_config("kip").startswith(str(ROOT))  # a name is never the file beside one


@pytest.mark.parametrize(
  "text, error, message",
  [
    ("kpi:digits", ValueError, "Unknown config 'kpi'. Did you mean 'kip'"),
    ("configs/kop.py:digits", FileNotFoundError, "No config file 'configs/kop.py'.*'kip'"),
    ("nowhere/kip", FileNotFoundError, "No config file 'nowhere/kip'.*'kip'"),
    ("mine", ValueError, "Unknown config 'mine'. Did you mean the file 'mine.py'"),
  ],
)
def test_a_wrong_name_is_one_sentence_with_the_nearest(tmp_path, monkeypatch, text, error, message):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.py").write_text("")
  with pytest.raises(error, match=message):
    find.find_config(text)


def test_presets_of_other_files_are_read_without_the_checkout_on_the_path():
  for name, other in (
    ("kernels", "kernel_ablation.py:digits,seeds=1"),
    ("privacy", "privacy.py:digits,splits=64"),
  ):
    config = plain(get_config(f"study:{name}"))
    assert config == plain(get_config(f"configs/{other}")) and config["task"] == "study"


def test_the_command_line_takes_names_and_own_files_from_any_folder(tmp_path):
  (tmp_path / "mine.py").write_text(
    "from ddjax.config.read import get_config as read\n\n\n"
    "def get_config(arg=None):\n"
    "  config = read('pack:digits')\n  config.seed = 7\n  return config\n"
  )
  for name in ("pack:digits", "mine.py"):
    done = subprocess.run(
      [sys.executable, "-m", "ddjax.main", "--config", name, "--dry_run"],
      cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "task: pack" in done.stdout and ("seed: 7" in done.stdout) == (name == "mine.py")
