import errno
import fcntl
from pathlib import Path

import pytest

from ddjax.files import locks


def test_one_process_has_the_lock_until_its_file_is_closed(tmp_path):
  with (tmp_path / "lock").open("w") as first:
    assert locks.try_to_lock(first)
    with (tmp_path / "lock").open("w") as second:
      assert not locks.try_to_lock(second)
  with (tmp_path / "lock").open("w") as second:
    assert locks.try_to_lock(second)


def _fails_with(number, monkeypatch):
  def flock(*_):
    raise OSError(number, "no locks here")

  monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("name", ["ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])
def test_a_disk_without_locks_is_a_warning(tmp_path, monkeypatch, caplog, name):
  _fails_with(getattr(errno, name), monkeypatch)
  with (tmp_path / "lock").open("w") as file:
    assert locks.try_to_lock(file)
  assert "lock cannot be locked on this disk (no locks here)" in caplog.text


def test_what_else_goes_wrong_is_raised(tmp_path, monkeypatch):
  _fails_with(errno.EIO, monkeypatch)
  with (tmp_path / "lock").open("w") as file, pytest.raises(OSError, match="no locks here"):
    locks.try_to_lock(file)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system has no table of locks")
def test_a_lock_is_seen_without_being_taken(tmp_path):
  path = tmp_path / "lock"
  assert not locks.is_held(path)
  with path.open("w") as file:
    assert not locks.is_held(path)
    assert locks.try_to_lock(file)
    assert locks.is_held(path)
    assert not locks.is_held(tmp_path)
  assert not locks.is_held(path)


def test_without_a_table_no_lock_is_seen(tmp_path, monkeypatch):
  def missing(self, *_):
    raise FileNotFoundError(self)

  with (tmp_path / "lock").open("w") as file:
    assert locks.try_to_lock(file)
    monkeypatch.setattr(Path, "read_text", missing)
    assert not locks.is_held(tmp_path / "lock")
