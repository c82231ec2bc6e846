"""The lock of a run folder; the rules of going on are tested in `tests/end_to_end_test.py`."""

import errno
import fcntl
import re

import pytest

from ddjax import errors
from ddjax.api import get_config
from ddjax.stages.run_folder import FolderInUseError, RunFolder, RunFolderError, default_workdir


def test_a_folder_in_use_is_an_error_of_its_own(tmp_path):
  with RunFolder(tmp_path / "run"), pytest.raises(FolderInUseError, match="is at work in .*run"):
    RunFolder(tmp_path / "run").__enter__()
  assert not (tmp_path / "run").exists()  # nothing was written
  with RunFolder(tmp_path / "run"):
    pass
  assert issubclass(FolderInUseError, RunFolderError) and issubclass(
    FolderInUseError, errors.EXPECTED
  )


def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
  def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", flock)
  with RunFolder(tmp_path / "run"):
    assert "cannot be locked on this disk (No locks available)" in caplog.text


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(RunFolderError, match="Cannot write to workdir .*file/run") as caught:
    RunFolder(tmp_path / "file" / "run").__enter__()
  assert not isinstance(caught.value, FolderInUseError)


def test_advice_stands_apart_from_the_problem(tmp_path):
  with RunFolder(tmp_path / "run") as folder:
    folder.claim({"task": "distill", "ridge": 1.0}, "data")
    with pytest.raises(RunFolderError, match="ridge: 1.0 -> 2.0.*--overwrite to start") as caught:
      folder.claim({"task": "distill", "ridge": 2.0}, "data")
  assert str(caught.value) == f"{caught.value.problem} {caught.value.advice}"
  assert "--" not in caught.value.problem
  assert str(RunFolderError("No folder.")) == "No folder."


@pytest.mark.parametrize(
  ("distilled", "name"),
  [
    ("runs/dm-digits-ipc1-seed0", "of-dm-digits-ipc1-seed0"),
    ("runs/dm/distilled", "of-dm"),
    ("../a b/res (1).pt#space=pixels, other", "of-res-1-.pt-and-1-more"),
    ("runs/" + "x" * 300, "of-" + "x" * 60),
  ],
)
def test_the_folder_of_an_evaluation_names_the_set(distilled, name):
  config = get_config("configs/evaluate.py:digits,audit")
  config.distilled = distilled
  made = default_workdir(config, ["distilled"]).name
  assert re.fullmatch(rf"evaluate-digits-dc-audit-{re.escape(name)}-seed0-[0-9a-f]+", made)
  config.distilled = distilled.replace("r", "s", 1) if "r" in distilled else "y" + distilled
  assert default_workdir(config, ["distilled"]).name != made  # another set, another folder
