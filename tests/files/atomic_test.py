"""Files are whole or absent, whatever stops the writer."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ddjax.files import atomic


@pytest.fixture
def small_disk():
  """Files may not grow beyond 4 kB: writes fail as on a full disk."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
  yield
  resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_writes_and_makes_folders(tmp_path):
  path = tmp_path / "a" / "b.txt"
  atomic.write_text(path, "größer")
  assert path.read_bytes() == "größer".encode()
  assert os.listdir(path.parent) == ["b.txt"]


def test_permissions_are_those_of_a_plain_file(tmp_path):
  (tmp_path / "plain").write_text("")
  atomic.write_text(tmp_path / "ours", "")
  assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_full_disk_leaves_the_earlier_file(tmp_path, small_disk):
  path = tmp_path / "file"
  atomic.write_bytes(path, b"old")
  with pytest.raises(atomic.OutputError, match=f"{path}.*earlier file"):
    atomic.write_bytes(path, bytes(100_000))
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["file"]


def test_error_of_the_caller_leaves_the_earlier_file(tmp_path):
  path = tmp_path / "file"
  atomic.write_bytes(path, b"old")
  with pytest.raises(KeyError), atomic.replacing(path) as file:
    file.write(b"new")
    raise KeyError("caller")
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["file"]


def test_unwritable_folder_is_named(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(atomic.OutputError, match="file/report.json"):
    atomic.write_json(tmp_path / "file" / "report.json", {})


def test_kill_leaves_a_whole_file(tmp_path):
  path = tmp_path / "file"
  program = (
    "import sys; from ddjax.files import atomic\n"
    "for i in range(10**9): atomic.write_bytes(sys.argv[1], bytes([i % 256]) * 3_000_000)"
  )
  for delay in (0.003, 0.011, 0.027):
    path.unlink(missing_ok=True)
    writer = subprocess.Popen([sys.executable, "-c", program, path], cwd=os.getcwd())
    while not path.exists() and writer.poll() is None:
      time.sleep(0.002)
    time.sleep(delay)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    content = path.read_bytes()
    assert len(content) == 3_000_000 and len(set(content)) == 1


def test_npz_is_the_same_every_time_and_refuses_objects(tmp_path):
  arrays = {"x": np.arange(6.0).reshape(2, 3), "y": np.array("text")}
  assert atomic.npz_bytes(arrays) == atomic.npz_bytes(arrays)
  atomic.write_npz(tmp_path / "a.npz", arrays)
  with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
    np.testing.assert_array_equal(file["x"], arrays["x"])
  with pytest.raises(ValueError, match="'z'"):
    atomic.npz_bytes({"z": np.array([{}])})


def test_json_of_arrays_tuples_paths_and_nan(tmp_path):
  value = {"a": np.float32(0.5), 1: (np.int64(2), [np.nan, np.inf]), "path": tmp_path, "b": True}
  atomic.write_json(tmp_path / "a.json", value)
  read = json.loads((tmp_path / "a.json").read_text())
  assert read == {"a": 0.5, "1": [2, [None, None]], "path": str(tmp_path), "b": True}
  with pytest.raises(TypeError, match="object"):
    atomic.json_safe({"a": object()})
