import logging
import os

from absl import logging as absl_logging
import numpy as np
import pytest

from ddjax.data.cache import cache_dir, cached, folder_stamp

ARRAYS = {
  "images": np.arange(2000, dtype=np.uint8).reshape(10, 200),
  "names": np.array(["cat", "dog"]),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "cache"))
  return tmp_path / "cache"


def unexpected():
  raise AssertionError("made again")


def test_second_call_reads_equal_arrays(folder):
  cached("key", lambda: ARRAYS)
  again = cached("key", unexpected)
  assert again.keys() == ARRAYS.keys()
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(again[name], array)
    assert again[name].dtype == array.dtype
  assert [path.name for path in folder.iterdir()] == ["key.npz"]


def test_damage_anywhere_is_never_used(folder, caplog):
  cached("key", lambda: ARRAYS)
  path = folder / "key.npz"
  whole = path.read_bytes()
  num_rebuilt = 0
  for position in range(0, len(whole), 29):
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
    made = []
    arrays = cached("key", lambda made=made: made.append(1) or ARRAYS)
    assert arrays.keys() == ARRAYS.keys()
    np.testing.assert_array_equal(arrays["images"], ARRAYS["images"])
    np.testing.assert_array_equal(arrays["names"], ARRAYS["names"])
    num_rebuilt += len(made)
  assert num_rebuilt > 0.8 * len(whole) / 29  # the rest hits fields that no reader needs


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_half_a_file_is_made_again_with_a_warning(folder, caplog, share):
  cached("key", lambda: ARRAYS)
  path = folder / "key.npz"
  path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
  absl_logging.get_absl_logger().propagate = True
  with caplog.at_level(logging.WARNING):
    cached("key", lambda: ARRAYS)
  assert "damaged" in caplog.text and str(path) in caplog.text
  cached("key", unexpected)


def test_cache_that_cannot_be_written_costs_only_a_warning(folder, caplog):
  folder.write_text("a file where the folder should be")
  absl_logging.get_absl_logger().propagate = True
  with caplog.at_level(logging.WARNING):
    arrays = cached("key", lambda: ARRAYS)
  assert arrays is ARRAYS
  assert "Cannot write" in caplog.text and "key.npz" in caplog.text


def test_full_disk_leaves_nothing_behind(folder, monkeypatch):
  def full(file, **arrays):
    file.write(b"half a file")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", full)
  assert cached("key", lambda: ARRAYS) is ARRAYS
  assert not list(folder.iterdir())


def test_default_folder(monkeypatch):
  monkeypatch.delenv("DDJAX_CACHE_DIR")
  monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
  assert str(cache_dir()) == "/somewhere/ddjax"


def test_folder_stamp_sees_every_change(tmp_path):
  (tmp_path / "a").write_text("1")
  stamps = {folder_stamp(tmp_path)}
  assert folder_stamp(tmp_path) in stamps
  (tmp_path / "a").write_text("22")
  stamps.add(folder_stamp(tmp_path))
  os.utime(tmp_path / "a", ns=(0, 0))
  stamps.add(folder_stamp(tmp_path))
  (tmp_path / "b").write_text("")
  stamps.add(folder_stamp(tmp_path))
  assert len(stamps) == 4
